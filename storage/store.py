"""The local store under the name that it had first; kept for what imports it from here."""

from __future__ import annotations

from .backends.local import LocalStore as Store

__all__ = ["Store"]
