"""What a notebook shows of an object. How it looks is the business of what lies above the core, and is found by an entry point."""

from __future__ import annotations

GROUP = "fabloom.notebook"
"""The entry point of it is called `html` and leads to a function from an object to a piece of HTML."""


def html(shown: object) -> str | None:
    """The object as HTML; None where nothing draws it, or it cannot be drawn: a notebook then shows its `repr`."""
    from importlib.metadata import entry_points

    point = next(iter(entry_points(group=GROUP, name="html")), None)
    if point is None:
        return None
    try:
        drawn: str = point.load()(shown)
    except Exception:  # of a damaged artifact its name is still shown
        return None
    return drawn
