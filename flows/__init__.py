"""Putting the parts together: Prefect flow, ready pipelines, report page, command line."""
