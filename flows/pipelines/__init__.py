"""Ready pipelines: one YAML file each, and three that are built from what is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fabloom.hooks import hookimpl
from fabloom.pipeline import Pipeline

from .closed_loop import closed_loop
from .one_shot_leaderboard import one_shot_leaderboard
from .worth_it import worth_it


@hookimpl
def fabloom_pipelines() -> list[Path | Callable[..., Pipeline]]:
    """Every file in this folder, the leaderboard of the one-shot methods, the comparison by number of real images, and the loop."""
    return [*sorted(Path(__file__).parent.glob("*.yaml")), one_shot_leaderboard, worth_it, closed_loop]
