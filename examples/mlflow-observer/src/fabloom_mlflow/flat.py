"""Nested values as the flat names that MLflow wants."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

UNSAFE = re.compile(r"[^\w\-. /]", re.ASCII)
"""Characters that MLflow refuses in the name of a parameter or metric on some platform; each becomes '_'."""


def flat(name: str) -> str:
    """The name as MLflow takes it."""
    return UNSAFE.sub("_", name)


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that is no mapping or list.

    >>> list(leaves({"dice": {"mean": 0.5, "interval": [0.4, 0.6]}}))
    [('dice.mean', 0.5), ('dice.interval.0', 0.4), ('dice.interval.1', 0.6)]
    """
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield flat(name), value
        return
    for key, item in items:
        yield from leaves(item, f"{name}.{key}" if name else key)


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among nested metrics, by dotted name; texts, booleans and None are left out."""
    found = leaves(metrics)
    return {name: float(v) for name, v in found if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)}


def texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as text, by dotted name; what is no text is written as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in leaves(params)}
