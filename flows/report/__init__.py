"""The page of a run, and the same numbers as markdown."""

from __future__ import annotations

from .markdown import markdown_summary
from .page import write_page

__all__ = ["markdown_summary", "write_page"]
