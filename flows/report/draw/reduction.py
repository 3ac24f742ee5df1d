"""A DAG that is too large to be drawn whole, reduced to groups of steps, so that the page is never late for its picture.

Three attempts, each smaller than the one before: every step; the steps of a task that are equally far along; bands of steps that are
about equally far along. None of them can close a circle: an arrow between two groups always leads to one that is further along.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter

Boxes = Mapping[str, tuple[Sequence[str], str]]
"""{id: ((name, task, state), style)}; the style is a step's status, or 'stored'."""
Edges = Sequence[tuple[str, str, str]]
"""(from, to, what flows)."""

MOST_BOXES, MOST_PIECES = 60, 600
"""Boxes, and pieces of arrows from one layer to the next, up to which a picture can be read and laid out in 0.3 CPU s."""
BANDS = 12
"""The last resort: 12 boxes have at most 286 pieces of arrows between them."""
WORST = ("failed", "stopped", "skipped", "ran", "reused", "stored")


def reduced(boxes: Boxes, edges: Edges) -> tuple[Boxes, Edges, str]:
    """What to draw, and in words what it leaves out: '' where it is everything."""
    if _fits(boxes, edges):
        return boxes, edges, ""
    order = _order(boxes, edges)
    ranks = _ranks(boxes, edges, order)
    grouped = _grouped(boxes, edges, order, lambda name: (_task(boxes, name), ranks[name]))
    if _fits(*grouped):
        return *grouped, _told(boxes, grouped[0], "of one task that are equally far along")
    band = max(ranks.values()) // BANDS + 1
    grouped = _grouped(boxes, edges, order, lambda name: ranks[name] // band)
    return *grouped, _told(boxes, grouped[0], "that are about equally far along")


def _told(boxes: Boxes, groups: Boxes, which: str) -> str:
    return (
        f"These {len(boxes):,} boxes and their arrows are too many for one picture, so each of the {len(groups)} boxes drawn here stands "
        f"for all steps {which}. The table below holds every step."
    )


def _fits(boxes: Boxes, edges: Edges) -> bool:
    if len(boxes) > MOST_BOXES:
        return False
    above, depth = _above(boxes, edges), dict.fromkeys(boxes, 0)
    for name in _order(boxes, edges):
        depth[name] = max((depth[one] + 1 for one in above[name]), default=0)
    return sum(depth[name] - depth[one] for name in boxes for one in above[name]) <= MOST_PIECES


def _above(boxes: Boxes, edges: Edges) -> dict[str, set[str]]:
    """What each box is made from."""
    above: dict[str, set[str]] = {name: set() for name in boxes}
    for start, end, _ in edges:
        above[end].add(start)
    return above


def _order(boxes: Boxes, edges: Edges) -> list[str]:
    """Names such that every arrow points on."""
    return list(TopologicalSorter(_above(boxes, edges)).static_order())


def _task(boxes: Boxes, name: str) -> str:
    return boxes[name][0][1]


def _ranks(boxes: Boxes, edges: Edges, order: Sequence[str]) -> dict[str, int]:
    """How far along each step is: the most changes of task on a way to it, so that a chain of one task is one group."""
    above, ranks = _above(boxes, edges), dict[str, int]()
    for name in order:
        ranks[name] = max((ranks[one] + (_task(boxes, one) != _task(boxes, name)) for one in above[name]), default=0)
    return ranks


def _grouped(boxes: Boxes, edges: Edges, order: Sequence[str], group_of: Callable[[str], object]) -> tuple[Boxes, Edges]:
    """A box for each group, and the arrows between groups."""
    members: dict[object, list[str]] = defaultdict(list)
    for name in order:
        members[group_of(name)].append(name)
    ids = {name: f"group {number}" for number, names in enumerate(members.values()) for name in names}
    drawn = {ids[names[0]]: _box(boxes, names) for names in members.values()}
    arrows = dict.fromkeys((ids[start], ids[end], what) for start, end, what in edges if ids[start] != ids[end])
    after = {name: place for place, name in enumerate(_order(drawn, list(arrows)))}
    return dict(sorted(drawn.items(), key=lambda one: after[one[0]])), list(arrows)


def _box(boxes: Boxes, names: Sequence[str]) -> tuple[Sequence[str], str]:
    """Names, tasks and what became of the steps of a group; it looks like the worst of them."""
    if len(names) == 1:
        return boxes[names[0]]
    tasks = Counter(_task(boxes, name) for name in names)
    styles = Counter(boxes[name][1] for name in names)
    first, *others = (task for task, _ in tasks.most_common())
    state = ", ".join(f"{styles[style]:,} {style}" for style in WORST if styles[style])
    title = f"{len(names):,} steps" if set(styles) != {"stored"} else f"{len(names):,} artifacts"
    return (title, f"{first} and {len(others)} other tasks" if others else first, state), min(styles, key=WORST.index)
