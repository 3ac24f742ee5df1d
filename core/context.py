"""`Context` under the name that it had first: `fabloom.method` is the room."""

from __future__ import annotations

from .method import Context

__all__ = ["Context"]
