"""Where the dies of a pattern lie: a zone is drawn for each, and is True where its middle falls into the pattern's shape.

Shapes follow the words of Wu et al. (IEEE Trans. Semicond. Manuf. 28, 2015) for the classes of WM-811K; their extents are ours. Lengths are
in radii of the wafer, with a lower bound in dies so that coarse maps show them too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

import numpy as np

from .types import Pattern
from .wafer import Bool, Real, Wafer

Draw = np.random.Generator


def _outline(angle: Real, rng: Draw) -> Real:
    """How far out the edge of a blob lies at an angle, 1 on average: no cluster is a circle."""
    found = np.ones_like(angle)
    for order, (size, phase) in enumerate(zip(rng.normal(0, 0.05, 3), rng.uniform(0, 2 * pi, 3), strict=True), start=2):
        found += size * np.cos(order * angle + phase)
    return found


def center(wafer: Wafer, rng: Draw) -> Bool:
    """A blob over the middle."""
    distance, angle = wafer.around(*rng.uniform(-0.08, 0.08, 2))
    return distance < rng.uniform(0.2, 0.35) * _outline(angle, rng)


def donut(wafer: Wafer, rng: Draw) -> Bool:
    """A ring around the middle, which is free."""
    distance, angle = wafer.around(*rng.uniform(-0.08, 0.08, 2))
    inner = rng.uniform(0.25, 0.4)
    scaled = distance / _outline(angle, rng)
    return (scaled > inner) & (scaled < inner + max(rng.uniform(0.18, 0.28), 2 * wafer.die))


def edge_loc(wafer: Wafer, rng: Draw) -> Bool:
    """Half an ellipse that sits on the edge, over 50 to 110 degrees of it."""
    distance, angle = wafer.around(0, 0)
    depth = max(rng.uniform(0.15, 0.28), 2 * wafer.die)
    off = np.abs((angle - rng.uniform(-pi, pi) + pi) % (2 * pi) - pi)
    found: Bool = ((wafer.edge - distance) / depth) ** 2 + (off / np.deg2rad(rng.uniform(25, 55))) ** 2 < 1
    return found


def edge_ring(wafer: Wafer, rng: Draw) -> Bool:
    """All along the edge."""
    distance, _ = wafer.around(0, 0)
    return distance > wafer.edge - max(rng.uniform(0.08, 0.18), 1.5 * wafer.die)


def loc(wafer: Wafer, rng: Draw) -> Bool:
    """An oblong blob between middle and edge."""
    away, where = rng.uniform(0.42, 0.6), rng.uniform(0, 2 * pi)
    distance, angle = wafer.around(away * sin(where), away * cos(where))
    turned, stretch = angle - rng.uniform(0, pi), rng.uniform(1, 1.8)
    scaled = distance * np.hypot(np.cos(turned) / stretch, np.sin(turned) * stretch)
    return scaled < max(rng.uniform(0.13, 0.22), 1.5 * wafer.die) * _outline(angle, rng)


def scratch(wafer: Wafer, rng: Draw) -> Bool:
    """A line of about one die, straight or bent, 0.6 to 1.4 radii long, that runs inwards, so that most of it is on the wafer."""
    away, where = rng.uniform(0.2, 0.85), rng.uniform(0, 2 * pi)
    heading = where + pi + rng.uniform(-1, 1)
    way = np.arange(0, rng.uniform(0.6, 1.4), wafer.die / 4)
    turned = heading + rng.uniform(-1, 1) * way
    y = away * sin(where) + np.cumsum(np.sin(turned)) * wafer.die / 4
    x = away * cos(where) + np.cumsum(np.cos(turned)) * wafer.die / 4
    ys, xs = wafer.middles
    near = np.full(ys.shape, np.inf)
    for point in zip(y, x, strict=True):
        np.minimum(near, np.hypot(ys - point[0], xs - point[1]), out=near)
    return near < 0.6 * wafer.die


def everywhere(wafer: Wafer, rng: Draw) -> Bool:
    """The whole wafer."""
    return np.ones_like(wafer.dies)


ZONES: dict[Pattern, Callable[[Wafer, Draw], Bool]] = {
    "Center": center,
    "Donut": donut,
    "Edge-Loc": edge_loc,
    "Edge-Ring": edge_ring,
    "Loc": loc,
    "Near-full": everywhere,
    "Scratch": scratch,
    "Random": everywhere,
}
DENSITIES: dict[Pattern, tuple[float, float]] = {"Near-full": (0.85, 0.98), "Random": (0.2, 0.45)}
"""Shares of the dies that patterns of the whole wafer make fail: what tells them from each other and from a wafer without a pattern."""
