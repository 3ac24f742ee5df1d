"""Ready pipelines, one YAML file each."""

from __future__ import annotations

from pathlib import Path

from fabloom.hooks import hookimpl


@hookimpl
def fabloom_pipelines() -> list[Path]:
    """Every pipeline in this folder."""
    return sorted(Path(__file__).parent.glob("*.yaml"))
