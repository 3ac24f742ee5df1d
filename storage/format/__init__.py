"""Bytes on disk: plain zarr v3, written and read by a hot path of our own."""
