"""Judged images by name: thumbnails that open on a click, in an order and a choice of the reader's, without a script.

Radio buttons carry what the reader chose, and style rules after them hide cards or give them another `order`; a card that the address
names (`#case-…`) covers the page. All of it works where scripts are off, and the page forbids them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from markupsafe import Markup

from fabloom.flows.report.numbers import number, words
from fabloom.kinds.gallery import Outcome
from fabloom.kinds.metric import is_number

from .encoding import data_uris, score_uris
from .pictures import short_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabloom.kinds import Gallery

ROOM = 3_200_000
"""Characters of the page that the largest gallery may take: images, outlines, maps of scores and text."""
STRIP = 4
"""Images of each sort at the head of the page."""
CLASSES = 12
"""Classes that a reader can choose among."""
LINES = {"truth": "truth", "found": "predicted", "unknown": "cannot tell"}


@dataclass(frozen=True)
class Case:
    """One image as the page shows it. `paths` are the outlines by sort, `places` where it stands in each order of `View.orders`."""

    id: str
    name: str
    outcome: str
    image: str
    score: str
    paths: dict[str, Markup]
    values: list[tuple[str, str]]
    iou: str
    places: list[int]
    sort: int
    before: str
    after: str


@dataclass(frozen=True)
class Choice:
    """One of the things that a reader may choose."""

    id: str
    label: str
    picks: str = ""


@dataclass(frozen=True)
class View:
    """A gallery as the page shows it."""

    id: str
    width: int
    height: int
    cases: list[Case]
    outcomes: list[Choice]
    classes: list[Choice]
    orders: list[Choice]
    modes: list[Choice]
    caption: str
    strips: list[tuple[str, list[Case], str]]


def view(name: str, gallery: Gallery, room: int = ROOM, grey: tuple[int, int] | None = None) -> View:
    """The gallery of the step `name`, within about `room` characters. `grey` are the levels shown black and white."""
    count = len(gallery)
    low, high = grey or grey_range(gallery)
    pixels = stretched(gallery, low, high)
    images, by = data_uris(list(pixels), room * 6 // 10)
    scores = score_uris(list(gallery.scores), room * 15 // 100)
    orders = _orders(gallery)
    ranks = [_ranks(column) for _, column in orders]
    kinds = _classes(gallery)
    ids = [f"case-{name}-{row}" for row in range(count)]
    cases = []
    for row in range(count):
        values = [(words(label), number(column[row])) for label, column in gallery.values.items()]
        cases.append(
            Case(
                ids[row], gallery.names[row], gallery.outcomes[row], images[row], scores[row],
                {sort: _path(sort, getattr(gallery, sort)[row], room * 25 // (300 * count)) for sort in LINES},
                values, number(gallery.values["iou"][row]) if "iou" in gallery.values else "", [rank[row] for rank in ranks],
                kinds.index(gallery.values["class"][row]) if kinds else -1, ids[row - 1], ids[(row + 1) % count],
            )
        )  # fmt: skip
    seen = [outcome for outcome in get_args(Outcome) if outcome in gallery.outcomes]
    picked = [Choice(f"pick-{name}-o{i}", f"{o} {gallery.outcomes.count(o)}", o.replace(" ", "-")) for i, o in enumerate(seen)]
    sorts = [Choice(f"pick-{name}-k{i}", str(kind), f"k{i}") for i, kind in enumerate(kinds)]
    listed = [Choice(f"pick-{name}-s{i}", label) for i, (label, _) in enumerate(orders)]
    modes = [Choice(f"pick-{name}-m{i}", label) for i, label in enumerate(("outlines", "images", "score maps"))]
    height, width = gallery.images.shape[2:]
    caption = _caption(gallery, low, high, by)
    return View(name, width, height, cases, picked, sorts if len(sorts) > 1 else [], listed, modes, caption, _strips(gallery, cases))


def trimmed(gallery: Gallery, most: int) -> Gallery:
    """The first `most` images of a gallery."""
    arrays = {name: getattr(gallery, name)[:most] for name in ("names", "images", "outcomes", "truth", "found", "unknown", "scores")}
    return replace(gallery, **arrays, values={name: column[:most] for name, column in gallery.values.items()})


def _path(sort: str, mask: NDArray[np.bool_], most: int) -> Markup:
    path, by = short_outlines(mask, most)
    scale = f' transform="scale({by})"' if by > 1 else ""
    return Markup(f'<path class="outline {sort}"{scale} d="{path}"/>') if path else Markup("")  # noqa: S704  letters and digits


def grey_range(*galleries: Gallery) -> tuple[int, int]:
    """The levels that are shown black and white where galleries are compared: from the 0.5 to the 99.5 percentile of all of them."""
    ends = [np.percentile(gallery.images, (0.5, 99.5)) for gallery in galleries]
    return int(min(low for low, _ in ends)), int(max(high for _, high in ends))


def stretched(gallery: Gallery, low: int, high: int) -> NDArray[np.uint8]:
    """Images [N,H,W,C] with `low` black and `high` white."""
    scale = 255.0 / max(high - low, 1)
    made: NDArray[np.uint8] = np.clip((gallery.images.transpose(0, 2, 3, 1) - float(low)) * scale, 0, 255).round().astype(np.uint8)
    return made


def _orders(gallery: Gallery) -> list[tuple[str, Sequence[Any]]]:
    """(label, what to sort by, smallest first): as given, by name, and by every value that is a number and not the same everywhere."""
    found: list[tuple[str, Sequence[Any]]] = [("worst first", range(len(gallery))), ("name", [str(n) for n in gallery.names])]
    for label, column in gallery.values.items():
        if all(map(is_number, column)) and len(set(column)) > 1:
            found.append((words(label), column if label == "iou" else [-value for value in column]))
    return found


def _ranks(column: Sequence[Any]) -> list[int]:
    ranks = [0] * len(column)
    for place, row in enumerate(sorted(range(len(column)), key=lambda row: column[row])):
        ranks[row] = place
    return ranks


def _classes(gallery: Gallery) -> list[Any]:
    kinds = list(dict.fromkeys(gallery.values.get("class", ())))
    return sorted(kinds, key=str) if len(kinds) <= CLASSES else []


def _caption(gallery: Gallery, low: int, high: int, by: int) -> str:
    count = len(gallery)
    told = f"All {count}" if count == gallery.of else f"{count} of {gallery.of:,}: the worst, and of the others evenly spread ones"
    told += f". Grey {low} is shown black, {high} white, in all of them alike."
    if gallery.shrunk * by > 1:
        told += f" Averaged down {gallery.shrunk * by} times for this page."
    return told


def _strips(gallery: Gallery, cases: Sequence[Case]) -> list[tuple[str, list[Case], str]]:
    """(title, images, what to say where there are none) at the head of the page: failures first."""
    missed, partly, alarms = (gallery.rows(outcome) for outcome in ("missed", "partly found", "false alarm"))
    found = sorted(gallery.rows("found") + gallery.rows("found with false alarm"))
    middle = max((len(found) - STRIP) // 2, 0)
    strips = [
        ("Missed", missed[:STRIP], "no defect image missed"),
        *([("Partly found", partly[:STRIP], "")] if partly else []),
        ("False alarms", alarms[:STRIP], "no false alarm on a clean image"),
        (
            "Found, lowest IoU" if not missed else "Found, typical",
            found[:STRIP] if not missed else found[middle : middle + STRIP],
            "none found",
        ),
    ]
    return [(title, [cases[row] for row in rows], none) for title, rows, none in strips]
