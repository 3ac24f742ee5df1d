"""How long a step will take, how much it will write and hold in memory, from what earlier artifacts of its task say of theirs.

A guess about circumstances, which are in no key. It is made where an earlier step of the same task and version had the same parameters,
or others in nothing but how often its loop turns: the cost of a loop is proportional to its turns, that of a width or a size is not.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from fabloom.kinds.store import Store
from fabloom.kinds.survey import ages, manifests
from fabloom.method import PlannedStep
from fabloom.method.outline import Outline

WORK = ("steps", "count", "epochs")
"""Parameters that say how often a loop turns."""
LOOKED_AT, READ, LATEST = 4096, 128, 5
"""Artifacts whose age is looked at, the newest of them whose manifest is read, and how many of a task's count: a plan stays fast."""


@dataclass(frozen=True)
class Expectation:
    """Seconds that a step is expected to run, bytes to write and to hold in memory; None where nothing is known. `runs` say so."""

    seconds: float | None = None
    size: int | None = None
    runs: int = 0
    memory: int | None = None


def expectations(
    steps: Sequence[PlannedStep], store: Store, threads: int, outlined: Mapping[str, Outline] | None = None
) -> dict[str, Expectation]:
    """What to expect of each of these steps, by name, on this kind of machine with so many threads.

    Where `outlined` says what a step will write (see `outlines`), what an earlier one of more or fewer rows took counts in proportion.
    """
    if not steps:
        return {}
    past, known = list(_past(store, {step.task for step in steps})), outlined or {}
    return {step.name: _expected(step, past, threads, known.get(step.name)) for step in steps}


def told(found: Iterable[Expectation]) -> str:
    """The whole of it, as 'about 120 s for 3 steps, unknown for 1'; '' where nothing is known."""
    known = [one.seconds for one in found]
    sure = [seconds for seconds in known if seconds is not None]
    if not sure:
        return ""
    rest = f", unknown for {len(known) - len(sure)}" if len(sure) < len(known) else ""
    return f"about {rough(sum(sure))} for {len(sure)} step{'s' if len(sure) > 1 else ''}{rest}"


def rough(seconds: float) -> str:
    """'8 s', '3 min', '2.5 h': no finer than is known."""
    if seconds < 99.5:
        return f"{max(seconds, 0.1):.1g} s" if seconds < 1 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def sized(count: float) -> str:
    """'820 bytes', '12 MB', '3.4 GB': two digits that count."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.95 * bytes_:
            value = count / bytes_
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"
    return f"{count:.0f} bytes"


def _past(store: Store, tasks: set[str]) -> Iterable[dict[str, Any]]:
    """Manifests of these tasks, newest first."""
    made = sorted(((at, key) for key, at in islice(ages(store), LOOKED_AT)), reverse=True)[:READ]
    for _, manifest in manifests(store, [key for _, key in made]):
        if isinstance(manifest, dict) and manifest["preimage"].get("task") in tasks:
            yield manifest


def _expected(step: PlannedStep, past: Iterable[Mapping[str, Any]], threads: int, outline: Outline | None) -> Expectation:
    here = f"{sys.platform}-{platform.machine()}"
    seconds, sizes, memory = [], [], []
    for manifest in past:
        asked = manifest["preimage"]
        if (asked["task"], asked["version"]) != (step.task, step.spec.version):
            continue
        factor = _turns(step.preimage["params"], asked["params"])
        if factor is None:
            continue
        written = sum(size for size, _ in manifest.get("files", {}).values())
        grows = step.spec.output.kind in ("ImageSet", "OfflineData")  # their rows are counted; a model's size is not
        of_inputs = _more(outline, manifest) if grows and factor == 1 else 1.0
        factor *= of_inputs
        sizes.append(written * (factor if grows else 1))
        same = manifest.get("made_with", {}).get("platform") == here and manifest.get("threads") == threads
        if same and manifest.get("seconds"):
            seconds.append(manifest["seconds"] * factor)
        alike = 0.5 < of_inputs < 2  # of more rows it is another; turns of a loop follow one another: more of them hold no more
        if manifest.get("memory") and alike:
            memory.append(int(manifest["memory"]))
    return Expectation(
        median(seconds[:LATEST]) if seconds else None,
        round(median(sizes[:LATEST])) if sizes else None,
        len(seconds[:LATEST]),
        max(memory[:LATEST]) if memory else None,
    )


def _more(outline: Outline | None, manifest: Mapping[str, Any]) -> float:
    """How many times as large the arrays will be as those of an earlier artifact of equal parameters: its inputs were others."""
    if outline is None:
        return 1.0
    had = {name: (tuple(entry["shape"]), entry["dtype"]) for name, entry in manifest.get("arrays", {}).items() if name in outline.arrays}
    now, before = Outline({name: outline.arrays[name] for name in had}).size, Outline(had).size
    return now / before if now and before else 1.0


def _turns(wanted: Mapping[str, Any], had: Mapping[str, Any]) -> float | None:
    """How many times as often the wanted loop turns; None where the parameters differ in anything else. Files may be others."""
    factor = 1.0
    if set(wanted) != set(had):
        return None
    for name, value in wanted.items():
        before = had[name]
        if value == before or (isinstance(value, Mapping) and "source" in value):
            continue
        if name not in WORK or not all(type(one) is int and one > 0 for one in (value, before)):
            return None
        factor *= value / before
    return factor
