"""What the page shows of an artifact: its kind's exhibits, drawn one by one; and the curves of a training from its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabloom.flows.report.draw.charts import curve, intervals
from fabloom.flows.report.draw.encoding import data_uri
from fabloom.flows.report.draw.lines import lines
from fabloom.flows.report.draw.markup import data_table, facts, table, text
from fabloom.flows.report.draw.pictures import SHEET_ROOM, SHOWN, heat_map, sample_sheet
from fabloom.kinds import Exhibit

from .numbers import Comparison, comparisons, told, words

Manifest = Mapping[str, Any]
FIRST, SOME = 3, 12
"""Charts of intervals that are open under a comparison, and most of them in all."""
LONG = 12
"""Rows of a table that is open."""
ROWS = 8
"""Metrics that are open in a comparison of many more."""


PICTURE_ROOM = 300_000
"""Characters of the page that a picture may take."""


@dataclass(frozen=True)
class Room:
    """What a page has for a set of samples: their number, characters, and the grey levels that are black and white; None: the set's own."""

    samples: int = SHOWN
    sheet: int = SHEET_ROOM
    grey: tuple[int, int] | None = None


USUAL = Room()


def drawn(name: str, exhibit: Exhibit, room: Room = USUAL) -> str:
    """An exhibit of the step `name` as HTML, but for its gallery, which has a section of its own."""
    parts = []
    if exhibit.picture is not None:
        parts.append(picture(exhibit.title, exhibit.picture, exhibit.caption))
    if exhibit.samples is not None:
        parts.append(samples(name, exhibit, room))
    if exhibit.heat is not None:
        parts.append(heat(name, exhibit))
    if exhibit.gallery is not None:
        parts.append(f'<p class="soft">{len(exhibit.gallery)} test images by name: the page of the run shows them.</p>')
    parts.append(metrics(exhibit.metrics) if exhibit.metrics else "")
    if exhibit.chart is not None and (plot := lines(exhibit.chart)):
        parts.append(f'<figure class="plot"><figcaption>{text(words(exhibit.title))}</figcaption>{plot}</figure>')
    parts.append(data_table(exhibit.table.columns, exhibit.table.rows) if exhibit.table else "")
    parts.append(facts(exhibit.facts))
    parts.append(f'<ul class="notes">{"".join(f"<li>{text(note)}</li>" for note in exhibit.notes)}</ul>' if exhibit.notes else "")
    framed = any(part is not None for part in (exhibit.picture, exhibit.heat, exhibit.chart))  # title and caption are in the figure
    if exhibit.caption and not framed and exhibit.samples is None:
        parts.append(f'<p class="soft">{text(exhibit.caption)}</p>')
    body = "".join(parts)
    if exhibit.folded or (exhibit.table is not None and exhibit.title and len(exhibit.table.rows) > LONG):
        return f"<details><summary>{text(words(exhibit.title or name))}</summary>{body}</details>"
    return f"<h4>{text(words(exhibit.title))}</h4>{body}" if exhibit.title and not framed else body


def metrics(given: Mapping[str, Any]) -> str:
    """Comparisons first, then single facts, beside each other."""
    blocks = comparisons(given)
    compared = [comparison(block) for block in blocks if block.compares]
    single = "".join(f"<div>{comparison(block)}</div>" for block in blocks if not block.compares)
    return "".join([*compared, f'<div class="beside">{single}</div>' if single else ""])


def comparison(block: Comparison) -> str:
    """One table, and for each metric with intervals a chart of them."""
    columns = [words(c) for c in block.columns]
    title = f"<h4>{text(words(block.title))}</h4>" if block.title else ""
    kinds = ["", "n first" if block.compares else "n", *["n"] * (len(columns) - 1)]
    rows = [
        [f'<span title="{text(row)}">{text(block.label(row))}</span>', *(text(told(metric)) for metric in cells)]
        for row, cells in block.rows.items()
    ]
    charts: list[str] = []
    for row, cells in block.rows.items() if block.compares else ():
        chart = intervals([(name, metric) for name, metric in zip(columns, cells, strict=True) if metric is not None])
        if chart and len(charts) < SOME:
            charts.append(f"<figure>{chart}<figcaption>{text(block.label(row))}</figcaption></figure>")
    tiles = [f'<div class="tiles">{"".join(part)}</div>' for part in (charts[:FIRST], charts[FIRST:]) if part]
    more = [f"<details><summary>The other intervals as charts</summary>{tile}</details>" for tile in tiles[1:]]
    shown = ROWS if len(rows) > ROWS + 3 else len(rows)
    folded = table(["metric", *columns], rows[shown:], kinds)
    rest = f"<details><summary>{len(rows) - shown} more metrics</summary>{folded}</details>" if shown < len(rows) else ""
    told_ = "".join(f"<dt>{text(label)}</dt><dd>{text(meaning)}</dd>" for label, meaning in block.meanings.items())
    meant = f'<details class="meant"><summary>What these numbers mean</summary><dl>{told_}</dl></details>' if told_ else ""
    return title + table(["metric", *columns], rows[:shown], kinds) + rest + meant + "".join([*tiles[:1], *more])


def picture(title: str, pixels: Any, caption: str = "") -> str:
    """A picture under its title, enlarged by whole pixels."""
    height, width = pixels.shape[:2]
    shown = max(width, min(1072, width * max(1, 720 // width)))
    return (
        f'<figure><img class="pixels" style="max-width:{shown}px" width="{width}" height="{height}" alt="{text(title)}" '
        f'src="{data_uri(pixels, PICTURE_ROOM)}"><figcaption>{text(" – ".join(filter(None, (title, caption))))}</figcaption></figure>'
    )


def samples(name: str, exhibit: Exhibit, room: Room) -> str:
    """Samples, plain and with the outlines of their masks."""
    assert exhibit.samples is not None
    marked = exhibit.masks is not None
    sheet = sample_sheet(exhibit.samples, exhibit.masks, 8 if marked else 16, room.samples, room.grey, room.sheet)
    columns = min(8 if marked else 16, sheet.shown)
    limit = max(columns * 132, 132) if columns < 4 else 2000
    frame = f'viewBox="0 0 {sheet.width} {sheet.height}" style="max-width:{limit}px" role="img"'
    target = f"sheet-{text(name)}"
    plain = (
        f'<svg class="pixels" {frame} aria-label="samples of {text(name)}">'
        f'<image id="{target}" width="{sheet.width}" height="{sheet.height}" href="{sheet.uri}"/></svg>'
    )
    low, high = sheet.grey
    together = "as in the other sets of this page" if room.grey else "stretched for the whole sheet"
    how = f"The first {sheet.shown}. Contrast is {together}: grey {low} is shown black, {high} white."
    if sheet.shrunk > 1:
        how += f" Averaged down {sheet.shrunk} times for this page."
    how = " ".join(filter(None, (exhibit.caption, how)))
    body = f"<figure>{plain}<figcaption>{text(how)}</figcaption></figure>"
    if not marked:
        return body
    outlined = f'<use href="#{target}"/><path class="outline" d="{sheet.outlines}"/>'
    marks = f'<svg class="pixels" {frame} aria-label="the same with masks">{outlined}</svg>'
    caption = "The same with their masks as outlines." if sheet.outlines else "The same with their masks: none of these has a defect."
    return f'<div class="pair">{body}<figure>{marks}<figcaption>{caption}</figcaption></figure></div>'


def heat(name: str, exhibit: Exhibit) -> str:
    """A map of values in colour, with its scale; the caption alone where all are 0."""
    assert exhibit.heat is not None
    title, drawn = exhibit.title or name, heat_map(exhibit.heat)
    if drawn.peak == 0:
        return f"<figure><b>{text(title)}</b><figcaption>{text(exhibit.caption)}</figcaption></figure>"
    return (
        f'<figure><b>{text(title)}</b><img class="pixels" style="width:100%" width="{drawn.width}" height="{drawn.height}" '
        f'alt="map of {text(title)}" src="{drawn.uri}"><div class="scale"></div>'
        f'<div class="ends"><span>0</span><span>{drawn.peak:.1%}</span></div>'
        f"<figcaption>{text(exhibit.caption)}</figcaption></figure>"
    )


def curves(manifest: Manifest) -> str:
    """One chart for each logged scalar; '' where nothing was logged."""
    logged = sorted((manifest.get("curves") or {}).items(), key=lambda item: ("loss" not in item[0], item[0]))
    charts = [(name, curve(name, points)) for name, points in logged]
    figures = [f"<figure>{svg}<figcaption>{text(name)}</figcaption></figure>" for name, svg in charts if svg]
    return f'<div class="tiles">{"".join(figures)}</div>' if figures else ""
