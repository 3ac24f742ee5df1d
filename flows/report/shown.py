"""What the artifacts of a run have to show on its page: their exhibits, one grey range for all sets, and the galleries of images."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fabloom.flows.report.draw.cases import ROOM, View, grey_range, trimmed, view
from fabloom.flows.report.draw.pictures import grey_ends, sample_tiles
from fabloom.kinds import Exhibit
from fabloom.method import PlannedStep

FEW = 8
"""Samples of a set where there are many sets."""
OTHERS, OTHERS_ROOM = 24, 500_000
"""Images of a gallery that is not the last, and characters of the page that all of these may take."""


@dataclass(frozen=True)
class Shown:
    """What a step's artifact has to show: its exhibits, and why there are no more of them ('' where all are there)."""

    step: PlannedStep
    exhibits: tuple[Exhibit, ...]
    problem: str = ""

    def of(self, section: str) -> tuple[Exhibit, ...]:
        """Those for a section of the page."""
        return tuple(exhibit for exhibit in self.exhibits if exhibit.section == section)

    @property
    def breaks_in(self) -> str:
        """The section where the problem is told: that of the last exhibit before it."""
        return (self.exhibits[-1].section if self.exhibits else "data") if self.problem else ""


def common_grey(shown: Sequence[Shown]) -> dict[str, tuple[int, int]]:
    """Grey levels by step that are black and white in all sets of the page, so that sets can be compared by eye.

    A set that spans less than a quarter of them keeps its own, since it would be flat; so does a lone one. Neither is named.
    """
    ends: dict[str, tuple[int, int]] = {}
    for one in shown:
        for exhibit in one.exhibits:
            with contextlib.suppress(Exception):  # damaged: told where it is drawn
                if exhibit.gallery is not None:
                    ends[one.step.name] = grey_range(exhibit.gallery)
                elif exhibit.samples is not None:
                    ends[one.step.name] = grey_ends(sample_tiles(exhibit.samples, FEW)[0])
    if len(ends) < 2:
        return {}
    low, high = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
    return {name: (low, high) for name, (first, last) in ends.items() if 4 * (last - first) >= high - low}


def views(shown: Sequence[Shown], grey: Mapping[str, tuple[int, int]]) -> tuple[dict[str, View], dict[str, str]]:
    """How the galleries of all reports are shown: the last one whole, of others the first images, in the room that is left.

    And what is wrong with those that cannot be drawn.
    """
    found = [(one.step.name, exhibit.gallery) for one in shown for exhibit in one.exhibits if exhibit.gallery is not None]
    drawn: dict[str, View] = {}
    problems: dict[str, str] = {}
    for index, (name, gallery) in enumerate(found):
        last = index == len(found) - 1
        try:
            given = gallery if last else trimmed(gallery, OTHERS)
            drawn[name] = view(name, given, ROOM if last else OTHERS_ROOM // (len(found) - 1), grey.get(name))
        except Exception as error:
            problems[name] = f"These images cannot be shown. {type(error).__name__}: {error}"
    return drawn, problems
