"""What the page shows of an artifact, by kind: samples, curves, weights, offline data, reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fabloom.flows.report.draw.charts import curve, intervals
from fabloom.flows.report.draw.markup import code, data_table, facts, size, table, text
from fabloom.flows.report.draw.pictures import heat_map, png_data_uri, sample_sheet, statistics
from fabloom.kinds import Artifact, ImageSet, Report

from .numbers import Comparison, comparisons, words

Manifest = Mapping[str, Any]
FIRST, SOME = 3, 12
"""Charts of intervals that are open under a comparison, and most of them in all."""
ROWS = 8
"""Metrics that are open in a comparison of many more."""


def report(artifact: Report) -> str:
    """Comparisons, tables, pictures and notes: all of a report."""
    blocks = comparisons(artifact.metrics)
    parts = [comparison(block) for block in blocks if block.compares]
    single = "".join(f"<div>{comparison(block)}</div>" for block in blocks if not block.compares)
    parts += [f'<div class="beside">{single}</div>'] if single else []
    parts += [f"<h4>{text(words(title))}</h4>{data_table(t.columns, t.rows)}" for title, t in artifact.tables.items()]
    parts += [picture(title, pixels) for title, pixels in artifact.pictures.items()]
    if artifact.notes:
        parts.append(
            '<h4>To read this rightly</h4><ul class="notes">' + "".join(f"<li>{text(note)}</li>" for note in artifact.notes) + "</ul>"
        )
    return "".join(parts)


def comparison(block: Comparison) -> str:
    """One table, and for each metric with intervals a chart of them."""
    columns = [words(c) for c in block.columns]
    title = f"<h4>{text(words(block.title))}</h4>" if block.title else ""
    kinds = ["", "n first" if block.compares else "n", *["n"] * (len(columns) - 1)]
    rows = [
        [f'<span title="{text(row)}">{text(words(row))}</span>', *(text(e) if e else "–" for e in cells)]
        for row, cells in block.rows.items()
    ]
    charts: list[str] = []
    for row, cells in block.rows.items() if block.compares else ():
        drawn = intervals([(name, e) for name, e in zip(columns, cells, strict=True) if e is not None])
        if drawn and len(charts) < SOME:
            charts.append(f"<figure>{drawn}<figcaption>{text(words(row))}</figcaption></figure>")
    tiles = [f'<div class="tiles">{"".join(part)}</div>' for part in (charts[:FIRST], charts[FIRST:]) if part]
    more = [f"<details><summary>The other intervals as charts</summary>{tile}</details>" for tile in tiles[1:]]
    shown = ROWS if len(rows) > ROWS + 3 else len(rows)
    folded = table(["metric", *columns], rows[shown:], kinds)
    rest = f"<details><summary>{len(rows) - shown} more metrics</summary>{folded}</details>" if shown < len(rows) else ""
    return title + table(["metric", *columns], rows[:shown], kinds) + rest + "".join([*tiles[:1], *more])


def picture(title: str, pixels: Any) -> str:
    """A picture of a report, enlarged by whole pixels; the error in its place where it cannot be drawn."""
    height, width = pixels.shape[:2]
    shown = max(width, min(1072, width * max(1, 720 // width)))
    return (
        f'<figure><img class="pixels" style="max-width:{shown}px" width="{width}" height="{height}" alt="{text(title)}" '
        f'src="{png_data_uri(pixels)}"><figcaption>{text(title)}</figcaption></figure>'
    )


def image_set(name: str, artifact: ImageSet, most: int) -> str:
    """Statistics, and at most that many samples plain and with the outlines of their masks."""
    marked = artifact.masks is not None
    sheet = sample_sheet(artifact.images, artifact.masks, 8 if marked else 16, most)
    columns = min(8 if marked else 16, sheet.shown)
    limit = max(columns * 132, 132) if columns < 4 else 2000
    frame = f'viewBox="0 0 {sheet.width} {sheet.height}" style="max-width:{limit}px" role="img"'
    target = f"sheet-{text(name)}"
    plain = (
        f'<svg class="pixels" {frame} aria-label="samples of {text(name)}">'
        f'<image id="{target}" width="{sheet.width}" height="{sheet.height}" href="{sheet.uri}"/></svg>'
    )
    low, high = sheet.grey
    how = f"The first {sheet.shown}. Contrast is stretched for the whole sheet: grey {low} is shown black, {high} white."
    if sheet.shrunk > 1:
        how += f" Averaged down {sheet.shrunk} times for this page."
    body = f"<figure>{plain}<figcaption>{how}</figcaption></figure>"
    if marked:
        drawn = f'<use href="#{target}"/><path class="outline" d="{sheet.outlines}"/>'
        lines = f'<svg class="pixels" {frame} aria-label="the same with masks">{drawn}</svg>'
        caption = "The same with their masks as outlines." if sheet.outlines else "The same with their masks: none of these has a defect."
        body = f'<div class="pair">{body}<figure>{lines}<figcaption>{caption}</figcaption></figure></div>'
    plainly = {name: value for name, value in artifact.attrs.items() if name != "class_names" and not isinstance(value, Mapping)}
    nested = {name: value for name, value in artifact.attrs.items() if isinstance(value, Mapping)}
    more = "".join(f"<details><summary>{text(words(name))}</summary>{facts(dict(value))}</details>" for name, value in nested.items())
    return facts({**statistics(artifact), **plainly}) + body + more


def defect_map(name: str, artifact: ImageSet) -> str:
    """Where the masks of a set are, as a heat map; '' without masks."""
    if artifact.masks is None:
        return ""
    heat = heat_map(artifact.masks)
    if heat.peak == 0:
        return f"<figure><b>{text(name)}</b><figcaption>No mask of this set has a defect.</figcaption></figure>"
    return (
        f'<figure><b>{text(name)}</b><img class="pixels" style="width:100%" width="{heat.width}" height="{heat.height}" '
        f'alt="where the defects of {text(name)} are" src="{heat.uri}"><div class="scale"></div>'
        f'<div class="ends"><span>0</span><span>{heat.peak:.1%}</span></div>'
        f"<figcaption>Share of {heat.masks:,} masks that cover a pixel.</figcaption></figure>"
    )


def model(artifact: Artifact, manifest: Manifest) -> str:
    """Role, number of parameters, size in the store, and the configuration."""
    shapes = [entry["shape"] for entry in manifest["arrays"].values()]
    config = dict(artifact.attrs.get("config", {}))
    summary = {
        "role": config.pop("role", "not said"),
        "values": f"{sum(math.prod(shape) for shape in shapes):,} in {len(shapes):,} tensors",
        "in the store": size(stored_bytes(manifest)),
    }
    rest = facts(config)
    return facts(summary) + (f"<details><summary>Configuration</summary>{rest}</details>" if rest else "")


def attributes(artifact: Artifact, manifest: Manifest) -> str:
    """Attributes, arrays and size of an artifact of any kind."""
    count = max((entry["shape"][0] for entry in manifest["arrays"].values() if entry["shape"]), default=0)
    taken = stored_bytes(manifest)
    each = f", {size(taken / count)} a row" if count else ""
    arrays = [
        [code(name), text(" × ".join(map(str, entry["shape"])) or "one value"), code(entry["dtype"])]
        for name, entry in manifest["arrays"].items()
    ]
    return facts({"in the store": f"{size(taken)}{each}", **dict(artifact.attrs)}) + table(["array", "shape", "type"], arrays)


def stored_bytes(manifest: Manifest) -> int:
    """Bytes of all files of an artifact."""
    return sum(int(entry[0]) for entry in manifest["files"].values())


def curves(manifest: Manifest) -> str:
    """One chart for each logged scalar; '' where nothing was logged."""
    logged = sorted((manifest.get("curves") or {}).items(), key=lambda item: ("loss" not in item[0], item[0]))
    drawn = [(name, curve(name, points)) for name, points in logged]
    charts = [f"<figure>{svg}<figcaption>{text(name)}</figcaption></figure>" for name, svg in drawn if svg]
    return f'<div class="tiles">{"".join(charts)}</div>' if charts else ""
