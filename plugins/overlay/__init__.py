"""Methods of overlay maps."""
