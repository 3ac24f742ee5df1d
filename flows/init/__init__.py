"""`fabloom init`: from a folder of images to a pipeline for them. Methods look (`Method.survey`), here is decided, refused and written."""
