"""Drawings and markup of the page, as plain text."""
