"""Pipelines for screening circuit boards: a YAML file, and one that is built from what is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom import hookimpl

if TYPE_CHECKING:
    from fabloom import Pipeline


@hookimpl
def fabloom_pipelines() -> list[Path | Callable[[Any], Pipeline]]:
    """Every file in the folder `pipelines`, named by its stem, and a function that is called when its pipeline is asked for."""
    from .building import pcb_screening_one_shot

    return [*sorted((Path(__file__).parent / "pipelines").glob("*.yaml")), pcb_screening_one_shot]
