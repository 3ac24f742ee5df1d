"""Artifacts as files that other software opens: `export_artifact` is the command in Python."""

from __future__ import annotations

from .job import export_artifact

__all__ = ["export_artifact"]
