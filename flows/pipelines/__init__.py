"""Ready pipelines: one YAML file each, and four that are built from what is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fabloom.hooks import hookimpl
from fabloom.pipeline import Pipeline

from .closed_loop import closed_loop
from .one_shot_leaderboard import one_shot_leaderboard
from .one_step_leaderboard import one_step_leaderboard
from .worth_it import worth_it


@hookimpl
def fabloom_pipelines() -> list[Path | Callable[..., Pipeline]]:
    """Every file in this folder, the leaderboards of one-shot and one-step methods, worth by number of real images, and the loop."""
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return [*files, one_shot_leaderboard, one_step_leaderboard, worth_it, closed_loop]
