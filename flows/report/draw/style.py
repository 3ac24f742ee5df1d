"""The style sheet of the pages: system fonts, light and dark, readable on a phone and on paper. It is `templates/page.css`."""

from __future__ import annotations

from pathlib import Path

CSS = (Path(__file__).parents[1] / "templates" / "page.css").read_text(encoding="utf-8")
