"""One table for each of the SinSEMI paper: what is published, and beside it what was measured here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabloom.kinds import Table

from . import published
from .params import Entry, Setting
from .published import Published, Spread
from .scores import GUIDED_NET, Quality, Segmentation

UNIT = "× 100 (in brackets: over the reference pair's)"
COUNTS, DISTANCES, SEGMENTATION = "1 Defects an image", f"2 Distance to the training image, {UNIT}", "3 Segmenter on real images"
NOT_INSTALLED, NO_VARIANT = "not installed", "no such variant"
TITLES = {"steps": f"4 Steps a scale, {UNIT}", "guidance": f"5 Guidance strength, {UNIT}"}


@dataclass(frozen=True)
class Row:
    """One method's scores: `segmenter` are those of the U-Net that was trained on its images alone."""

    entry: Entry
    quality: Quality
    segmenter: Segmentation


@dataclass(frozen=True)
class AblationRow:
    """One setting's scores."""

    setting: Setting
    quality: Quality


def others(rows: Sequence[Row]) -> Iterator[tuple[Published, str]]:
    """Published rows that nothing here stands for, and why."""
    here = {(row.entry.method, row.entry.variant) for row in rows}
    methods = {method for method, _ in here}
    missing = (row for row in published.ROWS if (row.method, row.variant) not in here)
    return ((row, NO_VARIANT if row.method in methods else NOT_INSTALLED) for row in missing)


def text(figure: Spread | None) -> str | None:
    """A published figure as printed."""
    return None if figure is None else str(figure)


def share(value: float | None) -> str | None:
    """'12 %'."""
    return None if value is None else f"{value:.0%}".replace("%", " %")


def with_ratio(figure: Spread | None, pair: float) -> str | None:
    """'2.6 ± 1 (1.08)': a published figure and its ratio to the published reference pair."""
    return None if figure is None else f"{figure} ({figure.mean / pair:.2f})"


def counts(rows: Sequence[Row]) -> Table:
    """Table 1."""
    columns = ["method", "published", "ours", "images with exactly one", "lines that hold defects", "images off the reference"]
    columns += ["at the reference's place (by chance)"]
    body: list[list[Any]] = []
    for row in rows:
        known, q = published.find(row.entry.method, row.entry.variant), row.quality
        body.append(
            [
                row.entry.title,
                text(known.count if known else None),
                q.count.interval(),
                share(q.single_share),
                q.lines,
                share(q.off_share),
                at(q),
            ]
        )
    return Table(columns, body + [[known.title, text(known.count), why, *[None] * 4] for known, why in others(rows)])


def at(quality: Quality) -> str | None:
    """'12 % [8, 17] (4 %)': the defects that lie where the reference's does, and how many would by chance; None where nobody looked."""
    s, chance = quality.same_place, share(quality.chance)
    if s.value is None or chance is None:
        return None
    return f"{share(s.value)}{'' if s.low is None or s.high is None else f' [{100 * s.low:.0f}, {100 * s.high:.0f}]'} ({chance})"


def unguided_nets(found: Sequence[Quality]) -> list[str]:
    """LPIPS trunks that guidance does not optimise, where all of them were measured."""
    return sorted(set.intersection(*(set(q.lpips) for q in found)) - {GUIDED_NET}, reverse=True)


def pair_of(found: Sequence[Quality], which: str) -> str | None:
    """The reference pair's own distance, which every report measures alike."""
    known = [d.pair for d in (_distance(q, which) for q in found) if d.pair is not None]
    return f"{known[0]:.2f} (1.00)" if known else None


def _distance(quality: Quality, which: str) -> Any:
    return {"sifid": quality.sifid, "sifid-like": quality.sifid_like}.get(which) or quality.lpips[which]


def distances(rows: Sequence[Row]) -> Table:
    """Table 2. The first row is the paper's baseline: the image with the defect against the one without."""
    found = [row.quality for row in rows]
    measured = measured_columns(found)
    columns = [
        "method",
        "SIFID, published",
        "LPIPS squeeze, published",
        *(f"{title}, ours" for title in measured.values()),
        "noise over the clean image's",
        "copies",
    ]
    pair = [f"{published.PAIR_SIFID:g} (1.00)", f"{published.PAIR_LPIPS:g} (1.00)"]
    body: list[list[Any]] = [["reference pair", *pair, *(pair_of(found, which) for which in measured), None, None]]
    for row in rows:
        known = published.find(row.entry.method, row.entry.variant)
        body.append(
            [
                row.entry.title, *printed(known), *(_distance(row.quality, which).told() for which in measured),
                row.quality.noise.interval(), share(row.quality.copies),
            ]
        )  # fmt: skip
    blank = [None] * (len(measured) + 1)
    body += [[known.title, *printed(known), why, *blank] for known, why in others(rows)]
    return Table(columns, body)


def printed(known: Published | None) -> list[str | None]:
    """SIFID and LPIPS as published, with their ratios to the published pair."""
    if known is None:
        return [None, None]
    return [with_ratio(known.sifid, published.PAIR_SIFID), with_ratio(known.lpips, published.PAIR_LPIPS)]


def measured_columns(found: Sequence[Quality]) -> Mapping[str, str]:
    """The distances that all reports hold, and their titles."""
    columns = {}
    if all(q.sifid.x100.value is not None for q in found):
        columns["sifid"] = "SIFID"
    elif all(q.sifid_like.x100.value is not None for q in found):
        columns["sifid-like"] = "SIFID of another network"
    if all(GUIDED_NET in q.lpips for q in found):
        columns[GUIDED_NET] = "LPIPS squeeze"
    return columns | {net: f"LPIPS {net}" for net in unguided_nets(found)}


def segmentation(rows: Sequence[Row], baseline: Segmentation, nothing: Segmentation) -> Table:
    """Table 3: the paper's protocol, and beside it what it hides."""
    columns = ["trained on", "IoU, published", "IoU, paper's protocol", "IoU of defect images", "the same, moved"]
    columns += ["defects found, moved", "false alarms, moved"]

    def measured(s: Segmentation) -> list[str | None]:
        return [s.paper.spread(), s.defect.interval(), s.moved.interval(), s.detection.interval(), s.false_alarms.interval()]

    body: list[list[Any]] = [
        ["nothing (predicts no defect)", None, *measured(nothing)],
        ["variations of the real pair", str(published.BASELINE_IOU), *measured(baseline)],
    ]
    for row in rows:
        known = published.find(row.entry.method, row.entry.variant)
        body.append([row.entry.title, text(known.iou if known else None), *measured(row.segmenter)])
    return Table(columns, body + [[known.title, text(known.iou), why, None, None, None, None] for known, why in others(rows)])


def ablations(rows: Sequence[AblationRow]) -> dict[str, Table]:
    """Tables 4 and 5, and one for every other ablation that a method declares."""
    names = dict.fromkeys(row.setting.ablation for row in rows)
    return {TITLES.get(name, f"Ablation: {name}"): ablation(name, [r for r in rows if r.setting.ablation == name]) for name in names}


def ablation(name: str, rows: Sequence[AblationRow]) -> Table:
    """One ablation: the scores that guidance optimises, and beside them those that it does not."""
    found = [row.quality for row in rows]
    measured = measured_columns(found)
    fixed = any(row.setting.beside for row in rows)
    columns = ["method", name, *["with"] * fixed, "SIFID, published", "LPIPS squeeze, published"]
    columns += [*(f"{title}, ours" for title in measured.values()), "diversity", "defects an image"]
    body: list[list[Any]] = []
    for row in rows:
        s, q = row.setting, row.quality
        start = [s.method, s.value, *[s.beside or None] * fixed, *printed(published.setting(s.method, name, s.value))]
        body.append([*start, *(_distance(q, which).told() for which in measured), q.diversity.interval(), q.count.interval()])
    return Table(columns, body)
