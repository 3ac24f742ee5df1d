"""The page of a run, and the same numbers as markdown."""
