"""Folders of images as engineers have them, written by code that knows nothing of fabloom's reader."""
