"""Running a pipeline: the Python door, and Prefect."""
