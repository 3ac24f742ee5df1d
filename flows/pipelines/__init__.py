"""Ready pipelines: one YAML file each, and one that is built from what is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fabloom.hooks import hookimpl
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

from .one_shot_leaderboard import one_shot_leaderboard


@hookimpl
def fabloom_pipelines() -> list[Path | Callable[[Registry], Pipeline]]:
    """Every file in this folder, and the leaderboard of the one-shot methods."""
    return [*sorted(Path(__file__).parent.glob("*.yaml")), one_shot_leaderboard]
