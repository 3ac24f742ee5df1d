"""The DAG of a run as SVG, from top to bottom: layers, few crossings, and arrows that go around the boxes.

The usual four stages (Sugiyama, Tagawa and Toda, 1981): a layer for each node, dummies where an arrow passes a layer, an order
within the layers by the mean place of the neighbours, then coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .markup import text

BOX_WIDTH, BOX_HEIGHT = 208, 58
GAP, LANE, RISE = 26, 14, 38
PAGE, LEAST = 1072, 0.6
"""Width of the page, and the smallest scale at which the boxes can be read; a wider graph scrolls."""
SWEEPS = 12
CROSSING = 400


@dataclass
class Node:
    """A box with its lines of text, or, without any, a place where an arrow passes a layer. `x` is its middle."""

    lines: tuple[str, ...] = ()
    style: str = ""
    layer: int = 0
    x: float = 0.0
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Room it takes in its layer."""
        return BOX_WIDTH if self.lines else LANE


def draw(boxes: Mapping[str, tuple[Sequence[str], str]], edges: Sequence[tuple[str, str, str]]) -> str:
    """SVG of boxes {id: (name, task, state), style} and edges (from, to, what flows), listed so that arrows point on."""
    nodes = {name: Node(tuple(lines), style) for name, (lines, style) in boxes.items()}
    pairs = list(dict.fromkeys((a, b) for a, b, _ in edges))
    _layer(nodes, pairs)
    chains = {pair: _chain(nodes, *pair) for pair in pairs}
    _settle(nodes)
    left = min(node.x - node.width / 2 for node in nodes.values()) - 4
    width = max(node.x + node.width / 2 for node in nodes.values()) - left + 4
    height = (max(node.layer for node in nodes.values()) + 1) * (BOX_HEIGHT + RISE) - RISE + 8
    parts = [_arrow(nodes, chains[pair], ", ".join(what for a, b, what in edges if (a, b) == pair)) for pair in pairs]
    parts += [_box(name, node) for name, node in nodes.items() if node.lines]
    shape = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    head = f'<defs><marker id="head" {shape}><path d="M0 0L8 4L0 8z"/></marker></defs>'
    floor = f";min-width:{LEAST * width:.0f}px" if LEAST * width > PAGE else ""
    return (
        f'<svg class="graph" viewBox="{left:.0f} -4 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px{floor}" role="img" '
        f'aria-label="The steps of the run and what flows between them">{head}{"".join(parts)}</svg>'
    )


def _layer(nodes: dict[str, Node], pairs: Sequence[tuple[str, str]]) -> None:
    """As early as the arrows allow; then what has no more inputs than outputs is moved down to where it is used."""
    for name, node in nodes.items():
        node.layer = max((nodes[a].layer + 1 for a, b in pairs if b == name), default=0)
    for name in reversed(nodes):
        users = [nodes[b].layer for a, b in pairs if a == name]
        if users and sum(b == name for _, b in pairs) <= len(users):
            nodes[name].layer = min(users) - 1


def _chain(nodes: dict[str, Node], start: str, end: str) -> list[str]:
    """The nodes an arrow goes through; makes the dummies."""
    chain = [start]
    for layer in range(nodes[start].layer + 1, nodes[end].layer):
        chain.append(f"\0{start}\0{end}\0{layer}")
        nodes[chain[-1]] = Node(layer=layer)
    chain.append(end)
    for a, b in itertools.pairwise(chain):
        nodes[a].below.append(b)
        nodes[b].above.append(a)
    return chain


def _settle(nodes: dict[str, Node]) -> None:
    """Place every node: from three first orders, the one with the shortest arrows, where a crossing counts as much as `CROSSING`."""
    found: list[tuple[float, dict[str, float]]] = []
    for names in (list(nodes), list(reversed(nodes)), sorted(nodes, key=lambda name: len(nodes[name].above))):
        _arrange(nodes, _ordered(nodes, names))
        place = {name: node.x for name, node in nodes.items()}
        sideways = sum(abs(node.x - place[below]) for node in nodes.values() for below in node.below)
        found.append((_crossings(nodes, place) * CROSSING + sideways, place))
    for name, x in min(found, key=lambda one: one[0])[1].items():
        nodes[name].x = x


def _ordered(nodes: Mapping[str, Node], names: Sequence[str]) -> list[list[str]]:
    """Names by layer, neighbours near each other: of all orders that the sweeps pass through, the one with the fewest crossings."""
    depth = max(node.layer for node in nodes.values()) + 1
    layers = [[name for name in names if nodes[name].layer == level] for level in range(depth)]
    place = {name: index - (len(layer) - 1) / 2 for layer in layers for index, name in enumerate(layer)}
    best, fewest = [list(layer) for layer in layers], _crossings(nodes, place)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wish = {name: _mean([place[n] for n in (nodes[name].above if down else nodes[name].below)], place[name]) for name in layer}
            layer.sort(key=wish.__getitem__)
            place.update({name: index - (len(layer) - 1) / 2 for index, name in enumerate(layer)})
        crossings = _crossings(nodes, place)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(nodes: Mapping[str, Node], place: Mapping[str, float]) -> int:
    """Pairs of arrows that cross between two layers."""
    arrows: dict[int, list[tuple[float, float]]] = {}
    for name, node in nodes.items():
        arrows.setdefault(node.layer, []).extend((place[name], place[below]) for below in node.below)
    pairs = itertools.chain.from_iterable(itertools.combinations(layer, 2) for layer in arrows.values())
    return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in pairs)


def _arrange(nodes: Mapping[str, Node], layers: Sequence[Sequence[str]]) -> None:
    """Places across the page: near the neighbours, never closer than the boxes allow."""
    for layer in layers:
        _spread(nodes, layer, dict.fromkeys(layer, 0.0))
    for sweep in range(4 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _spread(nodes, layer, {name: _wish(nodes, nodes[name], straight=sweep > SWEEPS) for name in layer})


def _wish(nodes: Mapping[str, Node], node: Node, *, straight: bool) -> float:
    """The mean place of the neighbours; `straight` weighs the near ones more, so that few arrows bend much and most not at all."""
    weights = {}
    for name in (*node.above, *node.below):
        passing = 8.0 if not node.lines and not nodes[name].lines else 2.0 if not node.lines or not nodes[name].lines else 1.0
        weights[name] = passing / (abs(nodes[name].x - node.x) + BOX_WIDTH / 4 if straight else 1.0)
    if not weights:
        return node.x
    return sum(nodes[name].x * weight for name, weight in weights.items()) / sum(weights.values())


def _spread(nodes: Mapping[str, Node], layer: Sequence[str], wish: Mapping[str, float]) -> None:
    """Put a layer's nodes where they wish to be, in order and apart: the mean of pushing right and pushing left."""
    right: list[float] = []
    left: list[float] = []
    for index, name in enumerate(layer):
        right.append(wish[name] if index == 0 else max(wish[name], right[-1] + _apart(nodes[layer[index - 1]], nodes[name])))
    for index in range(len(layer) - 1, -1, -1):
        name = layer[index]
        left.append(wish[name] if index == len(layer) - 1 else min(wish[name], left[-1] - _apart(nodes[name], nodes[layer[index + 1]])))
    for name, a, b in zip(layer, right, reversed(left), strict=True):
        nodes[name].x = (a + b) / 2


def _apart(a: Node, b: Node) -> float:
    return (a.width + b.width) / 2 + GAP


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _top(node: Node) -> float:
    return node.layer * (BOX_HEIGHT + RISE)


def _arrow(nodes: Mapping[str, Node], chain: Sequence[str], what: str) -> str:
    """Bends between the layers, straight beside the boxes; several arrows leave and reach a box at places of their own."""
    source, target = nodes[chain[0]], nodes[chain[-1]]
    x = source.x + _port(nodes, source.below, chain[1])
    path = [f"M{x:.1f} {_top(source) + BOX_HEIGHT}"]
    y = _top(source) + BOX_HEIGHT
    for name in chain[1:]:
        node = nodes[name]
        across = node.x if node is not target else target.x + _port(nodes, target.above, chain[-2])
        reach = _top(node) - (2 if node is target else 0)
        path.append(f"C{x:.1f} {y + RISE * 0.6:.1f} {across:.1f} {reach - RISE * 0.6:.1f} {across:.1f} {reach:.1f}")
        x, y = across, reach
        if node is not target:
            y += BOX_HEIGHT
            path.append(f"V{y:.1f}")
    return f'<path class="edge" marker-end="url(#head)" d="{"".join(path)}"><title>{text(what)}</title></path>'


def _port(nodes: Mapping[str, Node], neighbours: Sequence[str], name: str) -> float:
    """Where on the edge of a box the arrow from or to a neighbour is."""
    if len(neighbours) < 2:
        return 0.0
    place = sorted(neighbours, key=lambda n: nodes[n].x).index(name)
    return (place / (len(neighbours) - 1) - 0.5) * min(BOX_WIDTH * 0.6, 24 * (len(neighbours) - 1))


def _box(name: str, node: Node) -> str:
    x, y = node.x - BOX_WIDTH / 2, _top(node)
    lines = "".join(
        f'<text class="{style}" x="{x + 12:.1f}" y="{y + below}">{text(line if len(line) <= 28 else line[:27] + "…")}</text>'
        for style, below, line in zip(("name", "task", "state"), (19, 35, 50), node.lines, strict=False)
    )
    return (
        f'<g class="node {text(node.style)}"><title>{text(" · ".join((name, *node.lines[1:])))}</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7"/>'
        f'<path class="mark" d="M{x + 3:.1f} {y + 9:.1f}V{y + BOX_HEIGHT - 9:.1f}"/>{lines}</g>'
    )
