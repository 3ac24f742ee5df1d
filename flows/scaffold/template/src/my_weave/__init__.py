"""my-weave: what this package adds to fabloom. Only the hooks live here; they import nothing heavy."""

from __future__ import annotations

from pathlib import Path

from fabloom import Method, hookimpl

from .method import MyWeave


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The methods of this package."""
    return [MyWeave]


@hookimpl
def fabloom_pipelines() -> list[Path]:
    """Its pipelines, one YAML file each."""
    return sorted(Path(__file__).parent.glob("pipelines/*.yaml"))
