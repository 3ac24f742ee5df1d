"""An interval against the margin that it must lie beyond, as inline SVG: what a gate asks of a difference, and what was measured."""

from __future__ import annotations

from fabloom.flows.report.numbers import number

from .charts import ticks
from .markup import text

WIDTH, HEIGHT, EDGE = 560, 92, 14
TOP, BOTTOM, MIDDLE = 22, 62, 42


def margin(what: str, value: float, interval: tuple[float, float], bound: float, *, below: bool, passed: bool) -> str:
    """A bar over the interval with a dot at the value, a dashed line at `bound`, and the side washed on which the whole bar must lie.

    0 is on the axis, as a line of its own: beyond it, or not, is the first thing that a reader asks of a difference.
    """
    ends = (*interval, value, bound, 0.0)
    room = 0.12 * (max(ends) - min(ends)) or 0.5
    low, high = min(ends) - room, max(ends) + room

    def across(place: float) -> float:
        return EDGE + (place - low) / (high - low) * (WIDTH - 2 * EDGE)

    edge, zero = across(bound), across(0.0)
    start, end = (EDGE, edge) if below else (edge, WIDTH - EDGE)
    side = f"{'below' if below else 'above'} {bound:g}"
    anchor = "end" if edge > WIDTH / 2 else "start"
    shift = -6 if anchor == "end" else 6
    parts = [f'<rect class="wanted" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" height="{BOTTOM - TOP}"/>']
    for tick in ticks(low, high, 6):
        parts.append(f'<path class="grid" d="M{across(tick):.1f} {BOTTOM}v5"/>')
        parts.append(f'<text class="tick" x="{across(tick):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(f'<path class="grid" d="M{EDGE} {BOTTOM}H{WIDTH - EDGE}M{zero:.1f} {TOP}V{BOTTOM}"/>')
    parts.append(f'<path class="mark" d="M{edge:.1f} {TOP - 6}V{BOTTOM}"/>')
    parts.append(f'<text class="tick" x="{edge + shift:.1f}" y="{TOP - 8}" text-anchor="{anchor}">wanted: {text(side)}</text>')
    kind = "passed" if passed else "refused"
    parts.append(f'<path class="bar {kind}" d="M{across(interval[0]):.1f} {MIDDLE}H{across(interval[1]):.1f}"/>')
    parts.append(f'<circle class="dot {kind}" cx="{across(value):.1f}" cy="{MIDDLE}" r="5"/>')
    label = text(f"{what}: {number(value)} from {number(interval[0])} to {number(interval[1])}, wanted {side}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
