"""Charts as inline SVG: curves over steps, lines with bands, estimates with their intervals. Colours come from the page's style."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from fabloom.flows.report.numbers import number, told
from fabloom.kinds.metric import Metric, is_number

from .markup import text

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 10, 24
SMOOTH = 25
"""Curves with more points than this also show a running mean over that many parts of their length."""


def curve(name: str, points: Sequence[Sequence[float]]) -> str:
    """A curve of [step, value] points; logarithmic where every value is positive. '' without two finite points."""
    sound = [(float(p[0]), float(p[1])) for p in points if len(p) == 2 and is_number(p[0]) and is_number(p[1])]
    if len(sound) < 2:
        return ""
    log = all(value > 0 for _, value in sound)
    ys = [math.log10(value) if log else value for _, value in sound]
    low, high = min(ys), max(ys)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    first, last = sound[0][0], max(sound[-1][0], sound[0][0] + 1)

    def place(step: float, y: float) -> str:
        return f"{LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT):.1f},{_height(y, low, high):.1f}"

    parts = [_grid(low, high, log)]
    raw = " ".join(place(step, y) for (step, _), y in zip(sound, ys, strict=True))
    span = len(sound) // SMOOTH
    parts.append(f'<polyline class="{"raw" if span > 1 else "line"}" points="{raw}"/>')
    if span > 1:
        smooth = " ".join(place(sound[i + span // 2][0], sum(ys[i : i + span]) / span) for i in range(len(ys) - span + 1))
        parts.append(f'<polyline class="line" points="{smooth}"/>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{HEIGHT - 6}">{number(round(first))}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{number(round(last))} steps</text>')
    ends = [f"{number(value)} at step {step:.0f}" for step, value in (sound[0], sound[-1])]
    label = text(f"{name}: {ends[0]}, {ends[1]}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _height(y: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _grid(low: float, high: float, log: bool) -> str:
    parts = []
    for tick in _log_ticks(low, high) if log else ticks(low, high):
        y = _height(tick, low, high)
        text = f"{10**tick if log else tick:.6g}"
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    return "".join(parts)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round values between low and high."""
    raw = (high - low) / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
    start = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(start, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Exponents of decades where there are two or more, else of 1-2-5 values, else of round ones."""
    decades = [float(e) for e in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
    if len(decades) > 6:
        return decades[:: -(-len(decades) // 5)]
    if len(decades) >= 3:
        return decades
    fine = [e + math.log10(m) for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    inside = [tick for tick in fine if low - 1e-9 <= tick <= high + 1e-9]
    return inside if len(inside) >= 2 else [math.log10(v) for v in ticks(10**low, 10**high) if v > 0]


NAMED, ROW = 54, 38
"""Characters of a name on one line, and the height of a metric with one."""


def intervals(entries: Sequence[tuple[str, Metric]]) -> str:
    """Under each metric's name a dot, and a bar over its interval; '' if none of them has an interval.

    The first is in the accent colour where it is a result, or held against controls.
    """
    known = [(name, metric) for name, metric in entries if metric.known]
    if not any(metric.interval for _, metric in known):
        return ""
    ends: list[float] = [bound for _, metric in known for bound in (metric.value, *(metric.interval or ()))]
    low, high = min(0.0, *ends), max(ends)
    if 0.5 <= high <= 1 and low >= 0:
        high = 1.0  # most of what is compared is a share, and a share is read against 1
    if high - low < 1e-12:
        high = low + 1
    leads = known[0][1].role == "headline" or any(metric.role == "control" for _, metric in known)
    edge = 10
    lines = [textwrap.wrap(name, NAMED) or [name] for name, _ in known]
    tall = sum(ROW + 14 * (len(wrapped) - 1) for wrapped in lines) + 24

    def across(value: float) -> float:
        return edge + (value - low) / (high - low) * (WIDTH - edge - RIGHT)

    parts = []
    for tick in ticks(low, high):
        x = across(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} 4V{tall - 20}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{tall - 6}" text-anchor="middle">{tick:.6g}</text>')
    y = 0
    for index, ((_, metric), wrapped) in enumerate(zip(known, lines, strict=True)):
        kind = "first" if leads and index == 0 else "other"
        for line in wrapped:
            y += 14
            parts.append(f'<text class="name" x="{edge}" y="{y}">{text(line)}</text>')
        y += 10
        if metric.interval is not None:
            start, end = map(across, metric.interval)
            parts.append(f'<path class="bar {kind}" d="M{start:.1f} {y}H{end:.1f}"/>')
        parts.append(f'<circle class="dot {kind}" cx="{across(metric.value):.1f}" cy="{y}" r="4.5"/>')
        y += ROW - 24
    label = text("; ".join(f"{name}: {told(metric)}" for name, metric in known))
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {tall}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
