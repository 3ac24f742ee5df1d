"""What refs and runs name, with everything that it was made from: looked at again as long as something is being removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fabloom.errors import UserError
from fabloom.storage.gc import inputs_in

from . import pins, refs
from .bucket import Entry, together

if TYPE_CHECKING:
    from .store import ObjectStore


class Wanted:
    """The keys of an `ObjectStore` that may not go. What was once found stays found."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._told: list[Entry] | None = None
        self._keys: set[str] = set()
        self.pinned: set[str] = set()
        """What living runs had named when it was last looked."""

    def look(self) -> set[str]:
        """The keys as of now: two listings, and a reading only where these show a change.

        A log only grows and a pin is written once, so what is listed the same says the same. Raises DamagedArtifact where a pin, a ref or
        a manifest cannot be read: nothing may be removed on its word.
        """
        bucket = self.store.bucket
        told = [*bucket.list(refs.ROOM), *bucket.list(pins.ROOM)]
        if told != self._told:
            self.pinned = pins.living(bucket)
            self.keep(self.pinned.union(*(self.store.refs.history(name) for name in self.store.refs.names())))
            self._told = told
        return self._keys

    def keep(self, keys: Iterable[str]) -> None:
        """Add keys, and everything that they were made from."""
        fringe = set(keys) - self._keys
        while fringe:
            self._keys |= fringe
            fringe = set[str]().union(*together(self._inputs, sorted(fringe))) - self._keys

    def _inputs(self, key: str) -> set[str]:
        try:
            return inputs_in(self.store.manifest(key))
        except UserError:  # it is not there, or not yet
            return set()
