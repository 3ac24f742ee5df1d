"""The public doors of `judge.quality`: LPIPS, and metrics of other plugins that join its scores."""

from __future__ import annotations

from .judge.quality import ReferencePair, lpips, metric_report

__all__ = ["ReferencePair", "lpips", "metric_report"]
