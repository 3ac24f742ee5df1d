"""The artifact store: plain zarr v3 under content keys, with an atomic commit."""
