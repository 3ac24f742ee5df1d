"""What lies in the working folder is never imported by a Python that this process starts, however it is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SAFE = "PYTHONSAFEPATH"
"""As `python -P`, for those that are started by somebody else's code."""


@contextmanager
def without_working_folder() -> Iterator[None]:
    """Processes that begin meanwhile import nothing from the folder that they begin in."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        put_back(before)


def put_back(before: str | None) -> None:
    """What the variable was, in this process."""
    if before is None:
        os.environ.pop(SAFE, None)
    else:
        os.environ[SAFE] = before
