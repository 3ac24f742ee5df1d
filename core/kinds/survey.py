"""Looking over all that a store holds. A store far away has `ages` and `manifests_of` of its own, which take fewer requests, or several at
a time; any other is asked for one key after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fabloom.errors import FabloomError

from .store import Store

Found = dict[str, Any] | FabloomError | OSError
"""A manifest, or why it cannot be read: damaged, or removed meanwhile."""


def ages(store: Store) -> Iterator[tuple[str, float]]:
    """Committed keys with the Unix time of their commit, sorted by key; what is removed meanwhile is left out."""
    own = getattr(store, "ages", None)
    if own is not None:
        yield from own()
        return
    for key in store.keys():
        try:
            yield key, store.committed_at(key)
        except (FabloomError, OSError):
            continue


def manifests(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, Found]]:
    """Each key with its manifest, in the order given."""
    own = getattr(store, "manifests_of", None)
    if own is not None:
        yield from own(keys)
        return
    for key in keys:
        try:
            yield key, store.manifest(key)
        except (FabloomError, OSError) as error:
            yield key, error
