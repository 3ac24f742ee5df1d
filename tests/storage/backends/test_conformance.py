"""Our stores against the kit that third parties get; the example store's is among its own tests."""

from __future__ import annotations

from pathlib import Path

from fabloom.kinds.store import Store
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, StoreConformance


class TestLocal(StoreConformance):
    def open(self, place: Path, *, read_only: bool = False) -> Store:
        return LocalStore(place, read_only=read_only)


class TestMemory(StoreConformance):
    def open(self, place: Path, *, read_only: bool = False) -> Store:
        known = self.__dict__.setdefault("known", {})
        store = known.setdefault(place, MemoryStore())
        return store.opened_read_only() if read_only else store
