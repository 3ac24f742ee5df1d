"""Saying in time that a public name is going to go; docs/stability.md has the policy."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

NOTICE = 2
"""Minor versions for which a name warns at least, before it goes."""

P = ParamSpec("P")
R = TypeVar("R")


class FabloomDeprecationWarning(DeprecationWarning):
    """A public name of fabloom that goes with a later version is being used."""


def deprecated(name: str, *, instead: str, since: str, removed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a public function: calling it warns, with what to use instead and when it goes; the warning names the caller's line.

    `since` and `removed` are versions of the contract, as in "1.2" and "1.4". Raises ValueError for less notice than the policy gives.
    """
    first, last = _version(since), _version(removed)
    if (last[0] == first[0] and last[1] - first[1] < NOTICE) or last <= first:
        raise ValueError(f"'{name}' warns since {since} and goes with {removed}; it must warn for {NOTICE} minor versions at least")
    message = f"'{name}' is deprecated since version {since} of fabloom's contract and goes with {removed}. Use {instead} instead."

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def warning(*args: P.args, **kwargs: P.kwargs) -> R:
            warnings.warn(message, FabloomDeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return warning

    return mark


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise ValueError(f"'{text}' is no version; write it as 1.2")
    return int(major), int(minor)
