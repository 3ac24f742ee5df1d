"""DeepPCB, a public data set of printed circuit boards, as a task of fabloom."""

from __future__ import annotations

from fabloom import Method, hookimpl


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this distribution."""
    from .method import DeepPcb

    return [DeepPcb]
