"""What generated overlay maps are worth: scores, the cheap rivals beside them, and the report."""
