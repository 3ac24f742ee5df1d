"""fabloom: generative models for semiconductor inspection as typed, measured, resumable pipelines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabloom.flows.run.api import open_store, run
    from fabloom.flows.run.methods import bound_method as method
    from fabloom.flows.run.result import RunResult

    from .errors import (
        DamagedArtifact,
        DataError,
        EnvironmentProblem,
        FabloomError,
        Interrupted,
        PipelineError,
        RunFailed,
        StepFailed,
        UserError,
    )  # fmt: skip
    from .hooks import hookimpl
    from .kinds import Artifact, Exhibit, Fields, ImageSet, LazyArray, Metric, Model, OfflineData, Report, RowSpec, Table
    from .method import Context, Method, PlannedStep, StepResult, task
    from .network import Network
    from .params import Params, Source
    from .pipeline import Pipeline, Step
    from .progress import Messenger

__version__ = "0.1.0"
__all__ = [
    "Artifact", "Context", "DamagedArtifact", "DataError", "EnvironmentProblem", "Exhibit", "FabloomError", "Fields", "ImageSet",
    "Interrupted", "LazyArray", "Messenger", "Method", "Metric", "Model", "Network", "OfflineData", "Params", "Pipeline", "PipelineError",
    "PlannedStep", "Report", "RowSpec", "RunFailed", "RunResult", "Source", "Step", "StepFailed", "StepResult", "Table", "UserError",
    "hookimpl", "method", "open_store", "run", "task",
]  # fmt: skip

_HOMES = {
    "errors": (
        "DamagedArtifact", "DataError", "EnvironmentProblem", "FabloomError", "Interrupted", "PipelineError", "RunFailed", "StepFailed",
        "UserError",
    ),
    "hooks": ("hookimpl",),
    "kinds": ("Artifact", "Exhibit", "Fields", "ImageSet", "LazyArray", "Metric", "Model", "OfflineData", "Report", "RowSpec", "Table"),
    "method": ("Context", "Method", "PlannedStep", "StepResult", "task"),
    "network": ("Network",),
    "params": ("Params", "Source"),
    "pipeline": ("Pipeline", "Step"),
    "progress": ("Messenger",),
    "flows.run.api": ("open_store", "run"),
    "flows.run.methods": ("bound_method",),
    "flows.run.result": ("RunResult",),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Each name is fetched from its module on first use: importing pydantic alone would take half of what `fabloom --help` may."""
    if name == "method":  # a room that can be called
        return importlib.import_module("fabloom.method")
    if name not in _HOME:
        raise AttributeError(f"module 'fabloom' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"fabloom.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every name that may be asked for, fetched or not: what a notebook completes."""
    return sorted({*globals(), *__all__})
