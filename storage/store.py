"""The local store under the name that it had first; `fabloom.kinds.store.Store` is the contract, `storage/backends/` has the stores."""

from __future__ import annotations

from .backends.local import LocalStore as Store

__all__ = ["Store"]
