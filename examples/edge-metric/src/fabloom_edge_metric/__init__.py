"""A metric for `quality.evaluate`: do generated lines have edges as rough as real ones?"""

from __future__ import annotations

from fabloom import Method, hookimpl


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this distribution."""
    from .method import EdgeRoughness

    return [EdgeRoughness]
