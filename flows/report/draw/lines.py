"""A `Chart` as inline SVG: lines with their bands over numbers, with axes that say what they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fabloom.flows.report.numbers import number
from fabloom.kinds import Chart
from fabloom.kinds.metric import is_number

from .charts import ticks
from .markup import text

WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 22, 40
COLOURS, DASHES = 4, 3
"""Of lines: the first four are drawn through, the next four dashed in the same colours, the next dotted; then they begin again."""

Point = Sequence[float]


def lines(chart: Chart) -> str:
    """The chart under the names of its lines, to 0 and 1 where all is a share; '' without two finite points."""
    series = {name: [p for p in points if all(map(is_number, p))] for name, points in chart.series.items()}
    every = [point for points in series.values() for point in points]
    if len(every) < 2:
        return ""
    across, steps = _across(chart, [point[0] for point in every])
    low, high = _ends([value for point in every for value in point[1:]])

    def height(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks(low, high):
        y = height(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick:.6g}</text>')
    for value, label in steps:
        x = across(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{label}</text>')
    if chart.mark is not None:
        parts.append(f'<path class="mark" d="M{across(chart.mark):.1f} {TOP}V{HEIGHT - BOTTOM}"><title>{number(chart.mark)}</title></path>')
    for index, (name, points) in enumerate(series.items()):
        parts.append(_line(_style(index), name, points, across, height))
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{text(chart.x)}</text>')
    parts.append(f'<text class="tick" x="4" y="12">{text(chart.y)}</text>')
    label = text(f"{chart.y} over {chart.x}: {', '.join(series)}")
    keys = "".join(f'<span class="series {_style(index)}">{text(name)}</span>' for index, name in enumerate(series))
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
    return f'<div class="keys">{keys}</div><svg class="chart" {frame}>{"".join(parts)}</svg>'


def _style(index: int) -> str:
    return f"s{index % COLOURS}" + (f" d{dash}" if (dash := index // COLOURS % DASHES) else "")


def _line(style: str, name: str, points: Sequence[Point], across: Callable[[float], float], height: Callable[[float], float]) -> str:
    """A band where the points have one, the line, and a dot for each point."""
    banded = [point for point in points if len(point) == 4]
    edge = [(p[0], p[2]) for p in banded] + [(p[0], p[3]) for p in reversed(banded)]
    band = f'<polygon class="band {style}" points="{_path(edge, across, height)}"/>' if len(banded) > 1 else ""
    dots = "".join(f'<circle class="{style}" cx="{across(p[0]):.1f}" cy="{height(p[1]):.1f}" r="2"/>' for p in points)
    shape = _path([(p[0], p[1]) for p in points], across, height)
    return f'<g><title>{text(name)}</title>{band}<polyline class="line {style}" points="{shape}"/>{dots}</g>'


def _path(points: Sequence[tuple[float, float]], across: Callable[[float], float], height: Callable[[float], float]) -> str:
    return " ".join(f"{across(x):.1f},{height(y):.1f}" for x, y in points)


def _across(chart: Chart, xs: Sequence[float]) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Where an x is drawn, and the values that are written under the axis. By the logarithm, what is 0 stands at the left edge."""
    positive = [x for x in xs if x > 0]
    if not chart.wide or not positive:
        low, high = _ends([*xs, *([chart.mark] if chart.mark is not None else [])])
        return lambda x: LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT), [(v, f"{v:.6g}") for v in ticks(low, high)]
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    last = max(last, first + 1)
    floor = first - (1 if min(xs) <= 0 else 0)

    def place(x: float) -> float:
        at = floor if x <= 0 else math.log10(x)
        return LEFT + (at - floor) / (last - floor) * (WIDTH - LEFT - RIGHT)

    written = [(10.0**e, f"{10.0**e:.6g}") for e in range(first, last + 1)]
    return place, [(0.0, "0"), *written] if floor < first else written


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The axis for values: 0 to 1 for shares of which some are large, else a little more than they span."""
    low, high = min(values), max(values)
    if low >= 0 and high <= 1 and high > 0.5:
        return 0.0, 1.0
    room = 0.05 * (high - low) or 0.5
    return low - room if low < 0 or low > room else min(low, 0.0), high + room
