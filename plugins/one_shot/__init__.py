"""One image in, many out."""
