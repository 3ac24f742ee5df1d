"""Names of what a wafer map may show: eight patterns, and the 38 types of map that they make alone and together.

Patterns are those of WM-811K (Wu et al., IEEE Trans. Semicond. Manuf. 28, 2015), in the order of MixedWM38's columns (Wang et al., same
journal 33, 2020), whose mixed types follow from two rules: a wafer has one pattern of its middle and one of its edge at most, and a
pattern of the whole wafer leaves no room for another.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final, Literal

Pattern = Literal["Center", "Donut", "Edge-Loc", "Edge-Ring", "Loc", "Near-full", "Scratch", "Random"]
NONE: Final = "none"
"""The class of a map without a pattern, whose fails are random ones: the clean class, always the first."""
CODES: Final[dict[Pattern, str]] = {
    "Center": "C",
    "Donut": "D",
    "Edge-Loc": "EL",
    "Edge-Ring": "ER",
    "Loc": "L",
    "Near-full": "NF",
    "Scratch": "S",
    "Random": "R",
}
"""Each pattern's short name, of which names of mixed types are made; in the order of the columns of MixedWM38."""
RIVALS: Final = ({"Center", "Donut"}, {"Edge-Loc", "Edge-Ring"})
"""Patterns that lie in the same place."""
WHOLE: Final = {"Near-full", "Random"}
"""Patterns that take the whole wafer."""
MOST_MIXED: Final = 4


def go_together(patterns: tuple[Pattern, ...]) -> bool:
    """Whether one wafer may have all of these patterns."""
    kinds = set(patterns)
    return len(kinds) == 1 or not (kinds & WHOLE or any(kinds >= rivals for rivals in RIVALS))


def mixed(patterns: tuple[Pattern, ...], number: int) -> dict[str, tuple[Pattern, ...]]:
    """Types that `number` of these patterns make, by name (C+EL), in the order of the columns."""
    known = [pattern for pattern in CODES if pattern in patterns]
    return {"+".join(CODES[one] for one in chosen): chosen for chosen in combinations(known, number) if go_together(chosen)}


def types_of(patterns: tuple[Pattern, ...], most: int) -> dict[str, tuple[Pattern, ...]]:
    """Name of each type that up to `most` of these patterns make, and its patterns: none, single ones, twos, threes, fours."""
    single: dict[str, tuple[Pattern, ...]] = {pattern: (pattern,) for pattern in CODES if pattern in patterns}
    several = [mixed(patterns, number) for number in range(2, most + 1)]
    return {NONE: (), **single, **{name: members for found in several for name, members in found.items()}}


TYPES: Final = types_of(tuple(CODES), MOST_MIXED)
"""All 38: 1 without a pattern, 8 single, 13 of two, 12 of three and 4 of four."""
