"""Artifacts as files that other software opens."""
