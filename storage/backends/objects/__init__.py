"""A store in an object store that speaks S3."""
