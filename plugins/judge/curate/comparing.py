"""The task `compare`: do misses fall from round to round, and further than without the loop?

A draw of the real images is the unit, as in `unet.worth`: arms of one draw had the same images, and all reports are of one test set, so
differences are paired by draw and by test image. Test images are resampled by source, and the choice of the draws is in the intervals as
that of the trainings is in those of `unet.evaluate` (Student's t); of one draw alone it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import Chart, Metric, Report, Table
from fabloom.kinds.metric import Role
from fabloom.method import Context
from fabloom.plugins.blocks.intervals import Interval, interval, one_sided, resampled, unanimous, unseen, with_trainings
from fabloom.plugins.blocks.metrics import Ratio

from .hardness import COLUMNS, TABLE
from .params import CompareParams

Real = NDArray[np.float64]
STREAM = "bootstrap"


@dataclass(frozen=True)
class Tried:
    """One report of `misses`: defects missed in each test image that has any [I], how many it has [I], the source of each as a number [I],
    and the share of clean images with a false alarm.
    """

    missed: Real
    defects: Real
    groups: NDArray[np.int64]
    false_alarms: float | None

    @classmethod
    def read(cls, report: Report) -> Tried:
        """Raises DataError for a report of something else."""
        table = report.tables.get(TABLE)
        if table is None or tuple(table.columns) != COLUMNS:
            raise DataError(f"report {report.key[:12]} has no table of single defects, '{TABLE}'; compare reports of curate.misses")
        image, source, found = (np.array([row[COLUMNS.index(name)] for row in table.rows]) for name in ("image", "source", "found"))
        _, first, index = np.unique(image, return_index=True, return_inverse=True)
        missed: Real = np.bincount(index, 1.0 - found).astype(np.float64)
        count: Real = np.bincount(index).astype(np.float64)
        groups = np.unique(source[first], return_inverse=True)[1].astype(np.int64)
        return cls(missed, count, groups, report.metrics["false_alarm_rate"])


@dataclass(frozen=True)
class Scale:
    """Turns missed defects into shares with intervals, all on the same resamples of the test images."""

    ctx: Context
    params: CompareParams
    start: torch.Tensor

    def mean(self, tried: Iterable[Tried], name: str) -> Interval:
        """The share that is missed, the mean over draws."""
        every = [*tried]
        ratio = Ratio(np.stack([one.missed for one in every]), np.stack([one.defects for one in every]))
        found, _ = self._of(ratio, every[0], name, (0.0, 1.0))
        return unanimous(found, ratio, every[0].groups, self.params.confidence)

    def gap(self, ours: Mapping[int, Tried], theirs: Mapping[int, Tried], name: str) -> Interval | None:
        """The share that is missed minus that of another arm, over the draws that both have; None where there is none."""
        pairs = [(ours[draw], theirs[draw]) for draw in sorted(ours) if draw in theirs]
        if not pairs:
            return None
        one = pairs[0][0]
        ratio = Ratio(np.stack([a.missed - b.missed for a, b in pairs]), np.stack([a.defects for a, _ in pairs]))
        found, samples = self._of(ratio, one, name, (-1.0, 1.0))
        return one_sided(found, samples, unseen(ratio, one.groups, self.params.confidence), 1.0)

    def _of(self, ratio: Ratio, one: Tried, name: str, bounds: tuple[float, float]) -> tuple[Interval, Real]:
        draw = self.ctx.generator(STREAM)
        draw.set_state(self.start)
        drawn = resampled({name: ratio}, one.groups, self.params.resamples, draw)
        samples = with_trainings({name: ratio}, drawn, self.ctx.generator(f"draws of {name}"))[name]
        return interval(ratio.value, samples, self.params.confidence, bounds), samples


Arms = Mapping[str, Mapping[int, Mapping[int, Tried]]]
"""What was tried, by arm, round and draw."""
At = tuple[str, int]
"""An arm and a round."""


@dataclass(frozen=True)
class Found:
    """What was measured: missed shares of each arm and round, and what is more or less than in the control."""

    arms: Arms
    means: Mapping[At, Interval]
    gaps: Mapping[At, Interval]

    def alarms(self, at: At) -> float | None:
        """Share of clean images with a false alarm, the mean over draws; None where there are no clean images."""
        known = [one.false_alarms for one in self.arms[at[0]][at[1]].values() if one.false_alarms is not None]
        return round(float(np.mean(known)), 4) if known else None


def compare(ctx: Context, params: CompareParams, misses: Sequence[Report]) -> Report:
    """Hold all reports against each other and write the report."""
    arms = read(params, misses)
    scale = Scale(ctx, params, ctx.generator(STREAM).get_state())
    means = {(arm, at): scale.mean(draws.values(), f"{arm} {at}") for arm, rounds in arms.items() for at, draws in rounds.items()}
    control = arms[params.control]
    gaps = {
        at: gap
        for at in means
        if at[0] != params.control and (gap := scale.gap(arms[at[0]][at[1]], control.get(at[1], {}), f"{at} apart")) is not None
    }
    found = Found(arms, means, gaps)
    last = (params.arm, max(arms[params.arm]))
    metrics: dict[str, Any] = {arm: summary(found, params, (arm, max(rounds))) for arm, rounds in arms.items()}
    if last in gaps:
        metrics["difference"] = {"missed_share": Metric(gaps[last].value, gaps[last].bounds, better="down")}
    some = next(iter(next(iter(control.values())).values()))
    return Report.write(
        ctx,
        {**metrics, "defects": int(some.defects.sum()), "draws": max(len(draws) for rounds in arms.values() for draws in rounds.values())},
        tables={"By round": by_round(found, params)},
        charts={"Defects missed": chart(found)},
        verdict=said(found, params, last),
        notes=NOTES,
    )


def read(params: CompareParams, misses: Sequence[Report]) -> Arms:
    """All reports by what they are about. Raises DataError where they are not as many as the cells, or not of one test set."""
    if len(misses) != len(params.cells):
        raise DataError(f"{len(misses)} reports are given, and params.cells names {len(params.cells)}")
    arms: dict[str, dict[int, dict[int, Tried]]] = {}
    for cell, report in zip(params.cells, misses, strict=True):
        arms.setdefault(cell.arm, {}).setdefault(cell.round, {})[cell.draw] = Tried.read(report)
    every = [one for rounds in arms.values() for draws in rounds.values() for one in draws.values()]
    if any(not np.array_equal(one.defects, every[0].defects) for one in every):
        raise DataError("the reports are not of one test set: they count other defects. Give curate.misses the same images in all of them")
    return arms


def summary(found: Found, params: CompareParams, at: At) -> dict[str, Any]:
    """Metrics of an arm after its last round."""
    role: Role = "headline" if at[0] == params.arm else "control"
    share, alarms = found.means[at], found.alarms(at)
    told = {"missed_share": Metric(share.value, share.bounds, better="down", role=role), "rounds": Metric(at[1])}
    return told | ({} if alarms is None else {"false_alarm_rate": Metric(alarms, better="down")})


def by_round(found: Found, params: CompareParams) -> Table:
    """A row for each arm and round."""
    order = [*found.arms]
    rows: list[list[Any]] = []
    for arm, after in sorted(found.means, key=lambda at: (at[1], order.index(at[0]))):
        at = arm, after
        gap = spelled(found.gaps[at]) if at in found.gaps else None
        rows.append([after, arm, len(found.arms[arm][after]), spelled(found.means[at]), gap, found.alarms(at)])
    return Table(["round", "arm", "draws", "missed", f"missed, minus {params.control}", "clean images with a false alarm"], rows)


def spelled(share: Interval) -> str:
    """'0.312 [0.270, 0.351]'."""
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def chart(found: Found) -> Chart:
    """Missed shares over rounds."""
    series: dict[str, list[list[float]]] = {}
    for (arm, at), share in sorted(found.means.items(), key=lambda one: one[0][1]):
        series.setdefault(arm, []).append([float(at), *(round(float(v or 0), 4) for v in (share.value, share.low, share.high))])
    return Chart("round", "share of defects missed", {arm: series[arm] for arm in found.arms})


def said(found: Found, params: CompareParams, last: At) -> str:
    """Whether misses fall against the control, in a sentence."""
    first, end, gap = found.means.get((params.arm, 0)), found.means[last], found.gaps.get(last)
    course = f"After {last[1]} round{'s' * (last[1] != 1)} {end.value:.1%} of the defects are missed"
    course += f", at first {first.value:.1%}" if first is not None else ""
    if gap is None or gap.low is None or gap.high is None:
        return f"{course}; the control has no round {last[1]} to hold it against."
    told = f"{course}; {gap.value:+.1%} [{gap.low:+.1%}, {gap.high:+.1%}] against '{params.control}'"
    if gap.low <= 0 <= gap.high:
        return f"{told}: not told apart."
    return f"{told}: the loop {'helps' if gap.high < 0 else 'hurts'}."


NOTES = (
    "Missed: single defects that no predicted region touches, as a share of all defects of the test set. The interval holds the choice of "
    "the test images and of the draws (Student's t over draws); one draw alone says nothing of others.",
    "Differences are paired: arms of one draw had the same real images and are scored on the same test images.",
    "Reports at a `rate` choose the threshold on the test images themselves, for every arm alike: it makes thresholds comparable, and is "
    "no promise of that rate elsewhere.",
)
