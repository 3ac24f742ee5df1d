"""Parameters of `reference-difference`: the rule that a pixel is a defect, shared with every method that labels."""

from __future__ import annotations

from fabloom.plugins.blocks.labels import LabelParams

__all__ = ["LabelParams"]
