"""Metrics of other plugins: how one is written, and how `quality.evaluate` reads it.

A metric is an ordinary task that returns a Report, so its code version, parameters and seed are in its key. That report holds
`values`, float64 [N], one for each image, and the attribute `metric`: what they were computed on and how they are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Report, Table
from fabloom.kinds.metric import Better
from fabloom.method import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
OWN = {"images", "defects", "places", "diversity", "patches", "copies", "noise", "denoised", "sliced_wasserstein"}
OWN_PREFIXES = ("lpips", "sifid")
"""Groups of `quality.evaluate` itself, which a leaderboard reads by name."""
TOWARDS: dict[bool | None, Better | None] = {True: "up", False: "down", None: None}
BEST = {True: "higher is better", False: "lower is better", None: "best near the reference pair's"}


class Head(BaseModel):
    """The attribute `metric` of a joining report: the keys of the sets, the rows that were compared, and how values are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    meaning: str
    unit: str
    higher_is_better: bool | None
    pair: float | None
    anchors: dict[str, float]
    images: str
    reference: str
    row: int
    clean_row: int | None
    form: Literal[1] = 1


@dataclass(frozen=True)
class ReferencePair:
    """What images are compared with: uint8 images [C,H,W] and their rows in the reference set; no clean one may exist."""

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None
    row: int
    clean_row: int | None

    @classmethod
    def of(cls, reference: ImageSet, row: int | None = None, clean_row: int | None = None) -> ReferencePair:
        """By the rule of `quality.evaluate`: the chosen rows, else the only image with a defect and the first clean one of its place.

        Raises DataError where the set leaves open which image is meant.
        """
        from .comparison import clean_row_of, reference_row

        first = reference_row(reference, row)
        second = clean_row_of(reference, clean_row, first)
        return cls(reference.images[first], None if second is None else reference.images[second], first, second)


def metric_report(
    ctx: Context,
    *,
    name: str,
    meaning: str,
    values: Sequence[float] | NDArray[Any],
    images: ImageSet,
    reference: ImageSet,
    rows: ReferencePair,
    pair: float | None = None,
    anchors: Mapping[str, float] | None = None,
    higher_is_better: bool | None = None,
    unit: str = "",
    tables: Mapping[str, Table] | None = None,
    pictures: Mapping[str, NDArray[np.uint8]] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Write the report of a metric that `quality.evaluate` can take under `metrics`.

    `values` [N] is the metric of each image, in their order; `pair` that of the clean image held against the reference image,
    the unit of ratios; `anchors` are values to read it against. `rows` says which images of `reference` were compared,
    `meaning` is one sentence, and `higher_is_better` is None where the pair's value is the goal.
    Raises DataError for a name that is taken or not lower case, for another number of values, and for NaN or infinity.
    """
    import numpy as np

    numbers = np.asarray(values, np.float64)
    head = Head(
        name=name,
        meaning=meaning,
        unit=unit,
        higher_is_better=higher_is_better,
        pair=None if pair is None else float(pair),
        anchors={title: float(value) for title, value in (anchors or {}).items()},
        images=images.key,
        reference=reference.key,
        row=rows.row,
        clean_row=rows.clean_row,
    )
    check(head, numbers, len(images))
    report = Report.write(ctx, {name: _own(head, numbers)}, tables=tables, pictures=pictures, notes=[f"{name}: {reading(head)}", *notes])
    ctx.staging.put("values", numbers)
    ctx.staging.attrs["metric"] = head.model_dump()
    return report


def _own(head: Head, values: NDArray[np.float64]) -> dict[str, Any]:
    """What the report says by itself, before it joins."""
    mean, better = float(values.mean()), TOWARDS[head.higher_is_better]

    def control(value: float | None) -> Metric:
        return Metric(value, unit=head.unit, better=better, role="control", of="mean")

    return {
        "mean": Metric(mean, unit=head.unit, better=better, role="headline"),
        "sd": Metric(float(values.std()), unit=head.unit),
        "pair": control(head.pair),
        "anchors": {name: control(value) for name, value in head.anchors.items()},
        **({"ratio": mean / head.pair} if head.pair else {}),
    }


def check(head: Head, values: NDArray[np.float64], count: int) -> None:
    """Raise DataError unless the metric can stand beside the scores of `quality.evaluate` on `count` images."""
    import numpy as np

    what = f"metric '{head.name}'"
    if not NAME.fullmatch(head.name):
        raise DataError(f"{what}: a name is lower case letters, digits and '_', 40 at most, and begins with a letter")
    if head.name in OWN or head.name.startswith(OWN_PREFIXES):
        raise DataError(f"{what}: quality.evaluate has a score of that name; choose another")
    if values.shape != (count,):
        raise DataError(f"{what} must have one value for each of {count} images, shape ({count},), not {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"{what} is {values[row]} for image {row}; a metric is finite for every image, or refuses the set")
    for place, number in {"pair": head.pair, **head.anchors}.items():
        if number is not None and not math.isfinite(number):
            raise DataError(f"{what}: its anchor '{place}' is {number}; leave out what is undefined")


def reading(head: Head) -> str:
    """How the values are read, in a sentence or two."""
    meaning = head.meaning.rstrip(".")
    return f"{meaning}{f', in {head.unit}' if head.unit else ''}; {BEST[head.higher_is_better]}."


@dataclass(frozen=True)
class Joined:
    """A metric as read from a report: one value [N] for each image."""

    head: Head
    values: NDArray[np.float64]
    key: str

    @classmethod
    def read(cls, report: Report) -> Joined:
        """Raises DataError for a report that is no metric report."""
        import numpy as np

        where = f"metrics: report {report.key[:12]}"
        found = report.attrs.get("metric")
        if found is None:
            raise DataError(
                f"{where} is no metric report; give reports of tasks that write them with fabloom.plugins.quality.metric_report"
            )
        try:
            head = Head.model_validate(found)
            values = np.asarray(report.array("values")[...], np.float64)
        except (ValidationError, KeyError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            why = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}" if first else str(error.args[0])
            raise DataError(f"{where} has another form than fabloom.plugins.quality.metric_report writes ({why})") from error
        return cls(head, values, report.key)


def read_metrics(reports: Sequence[Report], images: ImageSet, reference: ImageSet, row: int, clean_row: int | None) -> list[Joined]:
    """The metrics of these reports, checked to be of these sets and rows. Raises DataError."""
    found = [Joined.read(report) for report in reports]
    names = [one.head.name for one in found]
    for one in found:
        head, what = one.head, f"metrics: '{one.head.name}' (report {one.key[:12]})"
        for port, wanted in (("images", images), ("reference", reference)):
            if getattr(head, port) != wanted.key:
                raise DataError(
                    f"{what} was computed on {port} {getattr(head, port)[:12]}, but quality.evaluate is given {wanted.key[:12]}; "
                    f"give both steps the same `{port}`"
                )
        if (head.row, head.clean_row) != (row, clean_row):
            raise DataError(
                f"{what} compares with rows {head.row} and {head.clean_row} of the reference set (image, clean image), quality.evaluate "
                f"with {row} and {clean_row}; give both the same `reference_row` and `clean_row`"
            )
        if names.count(head.name) > 1:
            raise DataError(f"{what} is given {names.count(head.name)} times; give each metric once")
        check(head, one.values, len(images))
    return found
