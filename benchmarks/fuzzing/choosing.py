"""Which cases are tried: of each kind the special ones, then drawn ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from fuzzing import lines, manifests, names, pipelines
from fuzzing.world import Case, World

KINDS = ("yaml", "line", "manifest", "name")
SHARES = {"yaml": 0.4, "line": 0.25, "manifest": 0.25, "name": 0.1}


def cases(world: World, count: int, chance: random.Random, kind: str | None = None) -> list[Case]:
    """So many cases: of each kind the special ones, as far as they go into its share, then drawn ones."""
    special: dict[str, Callable[[], Iterator[Case]]] = {
        "yaml": pipelines.special,
        "line": lambda: lines.special(world),
        "manifest": lambda: manifests.special(world),
        "name": lambda: names.special(world),
    }
    others: dict[str, Callable[[], Iterator[Case]]] = {
        "yaml": lambda: pipelines.drawn(chance),
        "line": lambda: lines.drawn(world, chance),
        "manifest": lambda: manifests.drawn(world, chance),
        "name": lambda: names.drawn(chance),
    }
    found: list[Case] = []
    for one in (kind,) if kind else KINDS:
        share = count if kind else round(count * SHARES[one])
        first = [case for case in special[one]() if world.heavy or not case.heavy]
        rest = (case for case in others[one]() if world.heavy or not case.heavy)
        chosen = first if len(first) <= share * 2 // 3 else chance.sample(first, share * 2 // 3)
        found += [*chosen, *itertools.islice(rest, share - len(chosen))]
    return found
