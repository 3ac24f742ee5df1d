"""An artifact kind of its own, `LineEdges`, a task that makes one and a task that reads one."""

from __future__ import annotations

from fabloom import Artifact, Method, hookimpl

from .kind import LineEdges

__all__ = ["LineEdges"]


@hookimpl
def fabloom_kinds() -> list[type[Artifact]]:
    """The kind: a store hands its artifacts out as this class."""
    return [LineEdges]


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The tasks that write and read it."""
    from .method import LineEdgeMetrology

    return [LineEdgeMetrology]
