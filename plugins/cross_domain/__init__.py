"""Methods that learn from which images have a defect, and from nothing else, what a defect is."""
