"""Putting the parts together: Prefect flow, ready pipelines, report page, command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabloom.flows.run.prefect.flow import run_pipeline

__all__ = ["run_pipeline"]


def __getattr__(name: str) -> Any:
    """The flow that deployments point at, imported on first use: Prefect takes seconds."""
    if name == "run_pipeline":
        from fabloom.flows.run.prefect.flow import run_pipeline

        return run_pipeline
    raise AttributeError(f"module 'fabloom.flows' has no attribute '{name}'")
