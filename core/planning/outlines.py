"""How much the steps of a plan will write and hold, where parameters and inputs tell: `Method.expect`, from the first step to the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fabloom.errors import FabloomError
from fabloom.kinds.store import Store
from fabloom.method import PlannedStep
from fabloom.method.outline import Outline

from .expectation import sized


def outlines(steps: Sequence[PlannedStep], store: Store) -> dict[str, Outline]:
    """What is known of the artifact of each step, by name: of one in the store from its manifest, else as its method expects it.

    `steps` are those of a plan, in its order. A step of which nothing is known is left out, and so is one whose method fails to say.
    """
    known: dict[str, Outline | None] = {}  # by key; each is looked for once, however many inputs name it
    for step in steps:
        if _given(store, step.key, known) is None:
            known[step.key] = _expected(step, {port: _given(store, key, known) for port, key in _ports(step)})
    return {step.name: found for step in steps if (found := known[step.key]) is not None}


def room(steps: Iterable[PlannedStep], found: Mapping[str, Outline], store: Store) -> list[str]:
    """What is to be said before these steps run: how much they write at most, that the disk has less, and which step needs more memory than
    there is; [] where nothing is known.
    """
    steps, memory = list(steps), _memory()
    sizes = {step.name: found[step.name].size if step.name in found else None for step in steps}
    total = sum(size or 0 for size in sizes.values())
    held = {step.name: found[step.name].memory or 0 for step in steps if step.name in found}
    lines = [
        f"Step '{name}' holds {sized(size)} of memory at least, and this machine has {sized(memory)}: take fewer or smaller images."
        for name, size in held.items()
        if memory is not None and size > memory
    ]
    if not total:
        return lines
    open_ = sum(size is None for size in sizes.values())
    rest = f"; of {open_} it is not known" if open_ else ""
    lines = [*lines, f"By their parameters {len(sizes) - open_} of these steps write up to {sized(total)}{rest}."]
    free = _free(store)
    if free is not None and free < total:
        lines.append(f"The disk of the store has {sized(free)} left: make room, or use --store on another disk.")
    return lines


def _memory() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _free(store: Store) -> int | None:
    """Bytes that are free where the store is; None for one elsewhere."""
    if "://" in store.url:
        return None
    place = Path(store.url)
    try:
        return shutil.disk_usage(next(one for one in (place, *place.absolute().parents) if one.is_dir())).free
    except (OSError, StopIteration, ValueError):
        return None


def given(store: Store, step: PlannedStep) -> dict[str, Outline]:
    """What `Method.expect` is told of the inputs of a step that are in the store."""
    found = {port: _stored(store, key) for port, key in _ports(step)}
    return {port: one for port, one in found.items() if one is not None}


def _ports(step: PlannedStep) -> list[tuple[str, str]]:
    ports = []
    for port, keys in step.inputs.items():
        ports += [(port, keys)] if isinstance(keys, str) else [(f"{port}[{place}]", key) for place, key in enumerate(keys)]
    return ports


def _given(store: Store, key: str, known: dict[str, Outline | None]) -> Outline | None:
    if key not in known:
        known[key] = _stored(store, key)
    return known[key]


def _stored(store: Store, key: str) -> Outline | None:
    """Of an artifact that is there; None for one that is not, and for a damaged one, which the step itself will tell."""
    try:
        if not store.has(key):
            return None
        arrays = store.manifest(key)["arrays"]
        return Outline({name: (tuple(entry["shape"]), entry["dtype"]) for name, entry in arrays.items()}, _Attributes(store, key))
    except (FabloomError, OSError, KeyError, TypeError):
        return None


class _Attributes(Mapping[str, Any]):
    """Attributes of an artifact, opened when a method asks: a store elsewhere fetches one to open it. A damaged one has none."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key

    @cached_property
    def _read(self) -> Mapping[str, Any]:
        try:
            return self._store.get(self._key).attrs
        except (FabloomError, OSError):
            return {}

    def __getitem__(self, name: str) -> Any:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def _expected(step: PlannedStep, inputs: Mapping[str, Outline | None]) -> Outline | None:
    try:
        return step.spec.method.expect(step, {port: one for port, one in inputs.items() if one is not None})
    except Exception:  # a guess that cannot be made takes no plan with it; the conformance kit tells its author
        return None
