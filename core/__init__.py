"""fabloom: generative models for semiconductor inspection as typed, measured, resumable pipelines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabloom.flows.api import RunResult, open_store, run

    from .artifacts import Artifact, ImageSet, LazyArray, Model, OfflineData, Report, RowSpec, Table
    from .context import Context
    from .errors import DamagedArtifact, DataError, EnvironmentProblem, FabloomError, Interrupted, PipelineError, StepFailed, UserError
    from .execute import StepResult
    from .hooks import hookimpl
    from .method import Method, task
    from .network import Network
    from .params import Params, Source
    from .pipeline import Pipeline, Step
    from .plan import PlannedStep
    from .progress import Messenger

__version__ = "0.1.0"
__all__ = [
    "Artifact", "Context", "DamagedArtifact", "DataError", "EnvironmentProblem", "FabloomError", "ImageSet", "Interrupted",
    "LazyArray", "Messenger", "Method", "Model", "Network", "OfflineData", "Params", "Pipeline", "PipelineError", "PlannedStep", "Report",
    "RowSpec", "RunResult", "Source", "Step", "StepFailed", "StepResult", "Table", "UserError", "hookimpl", "open_store", "run", "task",
]  # fmt: skip

_HOMES = {
    "artifacts": ("Artifact", "ImageSet", "LazyArray", "Model", "OfflineData", "Report", "RowSpec", "Table"),
    "context": ("Context",),
    "errors": (
        "DamagedArtifact", "DataError", "EnvironmentProblem", "FabloomError", "Interrupted", "PipelineError", "StepFailed", "UserError",
    ),
    "execute": ("StepResult",),
    "hooks": ("hookimpl",),
    "method": ("Method", "task"),
    "network": ("Network",),
    "params": ("Params", "Source"),
    "pipeline": ("Pipeline", "Step"),
    "plan": ("PlannedStep",),
    "progress": ("Messenger",),
    "flows.api": ("RunResult", "open_store", "run"),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Each name is fetched from its module on first use: importing pydantic alone would take half of what `fabloom --help` may."""
    if name not in _HOME:
        raise AttributeError(f"module 'fabloom' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"fabloom.{_HOME[name]}"), name)
    globals()[name] = value
    return value
