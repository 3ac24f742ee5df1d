"""fabloom: generative models for semiconductor inspection as typed, measured, resumable pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .artifacts import Artifact, ImageSet, LazyArray, Model, OfflineData, Report, RowSpec, Table
from .context import Context
from .errors import DamagedArtifact, DataError, EnvironmentProblem, FabloomError, Interrupted, PipelineError, StepFailed, UserError
from .hooks import hookimpl
from .method import Method, task
from .params import Params, Source
from .pipeline import Pipeline, Step

if TYPE_CHECKING:
    from fabloom.flows.api import open_store, run

__version__ = "0.1.0"
__all__ = [
    "Artifact", "Context", "DamagedArtifact", "DataError", "EnvironmentProblem", "FabloomError", "ImageSet", "Interrupted",
    "LazyArray", "Method", "Model", "OfflineData", "Params", "Pipeline", "PipelineError", "Report", "RowSpec", "Source", "Step",
    "StepFailed", "Table", "UserError", "hookimpl", "open_store", "run", "task",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """The door to store and engine, opened on first use so that `import fabloom` stays light."""
    if name in ("run", "open_store"):
        from fabloom.flows import api

        return getattr(api, name)
    raise AttributeError(f"module 'fabloom' has no attribute '{name}'")
