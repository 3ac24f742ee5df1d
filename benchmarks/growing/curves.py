"""Costs by size: medians of CPU seconds, the exponents of their growth, what they say for a size that nobody measured, a picture."""

from __future__ import annotations

import math
import resource
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Measured = dict[str, dict[int, float]]
"""Of each curve, by name, the CPU seconds at each size."""
LONG, MOST = 0.02, 6.0
"""Seconds of one measurement: what takes less is repeated until then. Seconds after which no further round begins."""


@dataclass(frozen=True)
class Curve:
    """What is measured. `target` is the size that it is carried on to, 0 where fixed costs still hide the growth at
    the sizes that are measured, or where there is none to tell; `each` says that the seconds are those of one call at that size."""

    what: str
    axis: str
    target: float
    each: bool = False


CURVES: dict[str, Curve] = {
    "keys": Curve("the keys of a store", "artifacts", 1e6),
    "listing": Curve("`fabloom artifacts`: every manifest read", "artifacts", 1e6),
    "unreferenced": Curve("`gc --unreferenced`: what no ref reaches", "artifacts", 1e6),
    "verify": Curve("`verify`: every byte hashed", "artifacts", 1e6),
    "has": Curve("is this key there?", "artifacts", 1e6, each=True),
    "resolve": Curve("12 characters to a key", "artifacts", 0, each=True),
    "commit": Curve("commit of one small artifact", "artifacts", 1e6, each=True),
    "plan of 100": Curve("plan of 100 steps, and what of them is there", "artifacts", 1e6, each=True),
    "ref read": Curve("where a ref points", "promotions in its log", 1e4, each=True),
    "ref set": Curve("a promotion", "promotions in its log", 1e4, each=True),
    "write": Curve("rows of 64 bytes written and committed", "rows", 1e9),
    "in order": Curve("all of them read in order", "rows", 1e9),
    "open": Curve("the set opened, first row read", "rows", 0, each=True),
    "batch": Curve("256 random rows", "rows", 1e9, each=True),
    "plan": Curve("plan, YAML and checks included", "steps", 1e5),
    "run": Curve("steps of some ms run and committed, inline", "steps", 1e5),
    "reuse": Curve("the same steps again, all reused", "steps", 0),
    "processes": Curve("one step in a process of its own", "workers", 0, each=True),
    "dask": Curve("one step beside a dask worker", "workers", 0, each=True),
    "bucket keys": Curve("the keys of a bucket", "artifacts in a bucket", 1e6),
    "bucket has": Curve("is this key in the bucket?", "artifacts in a bucket", 1e6, each=True),
    "bucket resolve": Curve("12 characters to a key of the bucket", "artifacts in a bucket", 0, each=True),
    "bucket commit": Curve("commit of one small artifact to the bucket", "artifacts in a bucket", 1e6, each=True),
}  # fmt: skip


def spent() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def median(run: Callable[[], Any], rounds: int, *, once: bool = False) -> float:
    """CPU seconds of one call: the median over rounds, each of as many calls as take `LONG`; of one each where it cannot be repeated."""
    taken, start = [], spent()
    for _ in range(rounds):
        began, calls = spent(), 0
        while calls == 0 or (not once and spent() - began < LONG):
            run()
            calls += 1
        taken.append((spent() - began) / calls)
        if spent() - start > MOST:
            break
    return statistics.median(taken)


def sizes(largest: int, smallest: int = 10) -> list[int]:
    """Powers of ten up to the largest."""
    return [10**power for power in range(round(math.log10(smallest)), round(math.log10(largest)) + 1)]


def exponent(points: Mapping[int, float]) -> float:
    """Slope of log cost over log size, by least squares: 0 where size does not matter, 1 where twice the size costs twice."""
    import numpy as np

    found = {size: cost for size, cost in points.items() if cost > 0}
    if len(found) < 2:
        return math.nan
    return float(np.polyfit(np.log10(list(found)), np.log10(list(found.values())), 1)[0])


def tail(points: Mapping[int, float]) -> float:
    """The same of the last decade or two alone, where fixed costs do not hide the growth."""
    return exponent(dict(sorted(points.items())[-3:])) if len(points) > 3 else exponent(points)


def carried(points: Mapping[int, float], target: float) -> float:
    """The cost at a size that was not measured: the last one, carried on with the exponent of the tail."""
    last = max(points)
    return points[last] * float(target / last) ** max(0.0, tail(points))


def told(seconds: float) -> str:
    """Seconds for reading."""
    if math.isnan(seconds):
        return "–"
    for limit, unit, divisor in ((1e-3, "µs", 1e-6), (1, "ms", 1e-3), (120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


def size_told(size: float) -> str:
    """10, 1,000, 10⁶."""
    power = round(math.log10(size))
    return f"10{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}" if power > 5 else f"{size:,.0f}"


def tables(measured: Measured) -> Iterable[str]:
    """A table of Markdown for each axis: the costs at each size, the exponents, and what they say for the target."""
    for axis in dict.fromkeys(CURVES[name].axis for name in measured):
        shown = {name: points for name, points in measured.items() if CURVES[name].axis == axis}
        columns = sorted({size for points in shown.values() for size in points})
        head = ["CPU seconds", *map(size_told, columns), "exponent", "its tail", "carried on"]
        lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
        for name, points in shown.items():
            curve = CURVES[name]
            cells = [told(points[size]) if size in points else "" for size in columns]
            onward = f"{told(carried(points, curve.target))} at {size_told(curve.target)}" if curve.target else ""
            row = [curve.what, *cells, f"{exponent(points):.2f}", f"{tail(points):.2f}", onward]
            lines.append("| " + " | ".join(row) + " |")
        yield f"{axis}\n\n" + "\n".join(lines)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 470, 62, 250, 18, 44
DRAWN = ("verify", "listing", "unreferenced", "keys", "bucket keys", "write", "in order", "plan", "reuse", "ref set", "commit", "has")
"""Curves of the picture."""


def drawing(measured: Measured) -> str:
    """The curves by the logarithms of both, each with its name and exponent at its end; dashed: what grows as the size."""
    shown = {name: measured[name] for name in DRAWN if name in measured}
    every = [(size, cost) for points in shown.values() for size, cost in points.items() if cost > 0]
    first, last = 1, max(2, math.ceil(math.log10(max(size for size, _ in every))))
    low, high = (edge(math.log10(pick(cost for _, cost in every))) for edge, pick in ((math.floor, min), (math.ceil, max)))

    def x(size: float) -> float:
        return LEFT + (math.log10(size) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(cost) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = ["<title>CPU seconds over the number of artifacts, rows, steps or promotions, both by their logarithms</title>"]
    for power in range(low, high + 1):
        parts.append(f'<path class="room" d="M{LEFT} {y(10**power):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="small" x="{LEFT - 8}" y="{y(10**power) + 4:.1f}" text-anchor="end">{told(10.0**power)}</text>')
    for power in range(first, last + 1):
        parts.append(f'<path class="room" d="M{x(10**power):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="small" x="{x(10**power):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    parts.append(f'<text class="small" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">artifacts, rows, steps or promotions</text>')
    ends = []
    for name, points in shown.items():
        path = " ".join(f"{'L' if n else 'M'}{x(size):.1f} {y(cost):.1f}" for n, (size, cost) in enumerate(sorted(points.items())))
        parts.append(f'<path class="line" d="{path}"/>')
        parts += [f'<circle class="tip" cx="{x(size):.1f}" cy="{y(cost):.1f}" r="2.4"/>' for size, cost in points.items()]
        size = max(points)
        ends.append((y(points[size]), x(size), f"{name.replace('bucket keys', 'keys of a bucket')}, {tail(points):.2f}"))
    parts += _labels(sorted(ends))
    frame = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>', *parts, "</svg>"]) + "\n"


def _labels(ends: Sequence[tuple[float, float, str]]) -> list[str]:
    """Names at the right, none over another, each with a thin line to the end of its curve."""
    places: list[float] = []
    for height, _, _ in ends:
        places.append(max(height + 4, places[-1] + 16 if places else TOP + 8))
    over = max(0.0, places[-1] - (HEIGHT - BOTTOM)) if places else 0.0
    found = []
    for place, (height, across, label) in zip(places, ends, strict=True):
        at = WIDTH - RIGHT + 26
        found.append(f'<path class="room" d="M{across + 4:.1f} {height:.1f}L{at - 6} {place - over - 4:.1f}"/>')
        found.append(f'<text class="small" x="{at}" y="{place - over:.1f}">{escape(label)}</text>')
    return found
