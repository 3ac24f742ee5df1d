"""Defect masks from the difference to a clean reference image."""
