"""Defects of generated images: how many each has, where they lie, and over how many lines they are spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds import Table
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.difference import Real, Rule
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.references import References
from fabloom.plugins.blocks.registration import Placement

from .scores import Metrics, Summary

HELD = 0.02
"""Least share of all defects that a line must hold to count."""


@dataclass(frozen=True)
class Defects:
    """Accepted components of every image [N], their centres (y, x) [K,2] where the reference has that place, how far each image is off
    [N] (inf if unlike), in pixels, whether it could be judged [N], and their pixels [N,H,W] where the reference has that place.
    """

    counts: NDArray[np.int64]
    centres: Real
    shifts: Real
    judged: NDArray[np.bool_]
    masks: NDArray[np.bool_]

    @classmethod
    def find(cls, images: Real, pictures: Iterable[Real], clean: References, rule: Rule, placed: Sequence[Placement], off: bool) -> Defects:
        """In grey images [N,H,W] that lie so, each against its clean picture [H,W]; with `off` wherever they lie."""
        counts, centres, masks = np.zeros(len(images), np.int64), [], np.zeros(images.shape, bool)
        judged = np.array([off or one.distance <= 1 or clean.moves(one) for one in placed])
        for row, (image, picture, place) in enumerate(zip(images, pictures, placed, strict=True)):
            if judged[row]:
                its = rule if clean.shared is not None and not clean.moves(place) else rule.against(clean.held(picture, place))
                masks[row] = its.find(image).defect
                parts, counts[row] = ndimage.label(masks[row], EIGHT)
                found = np.array(ndimage.center_of_mass(masks[row], parts, range(1, counts[row] + 1))).reshape(-1, 2)
                centres.append(found - (place.shift if clean.moves(place) else (0, 0)))
                if clean.moves(place):
                    masks[row] = ndimage.shift(masks[row], -np.round(place.shift), order=0)
        distances = np.array([one.distance for one in placed])
        return cls(counts, np.concatenate([np.zeros((0, 2)), *centres]), distances, judged, masks)

    def by_line(self, clean: Real) -> dict[int, int] | None:
        """Defects in each line or space between two; None without a periodic structure.

        Cells of one period across the strongest spatial frequency, centred where defects are; 0 is the first that holds any.
        """
        lattice = Lattice.fit(clean)
        if not lattice.frequencies:
            return None
        if not len(self.centres):
            return {}
        turns = (self.centres + 0.5) @ np.array(lattice.frequencies[0])
        offset = float(np.angle(np.exp(2j * np.pi * turns).mean())) / (2 * np.pi)
        cells, held = np.unique(np.rint(turns - offset).astype(int), return_counts=True)
        return {int(cell - cells[0]): int(many) for cell, many in zip(cells, held, strict=True)}


def metrics(found: Defects, own: int | None, lines: dict[int, int] | None, summary: Summary) -> Metrics:
    """Numbers of the report, of the images that could be judged; `own` is the reference's count."""
    total, counts = len(found.centres), found.counts[found.judged]
    spread = None if lines is None else sum(many >= HELD * total for many in lines.values())
    return {
        **summary.mean("count", counts.astype(np.float64)),
        "count_sd": float(counts.std()),
        "count_reference": own,
        **{f"share_{name}": float((counts == n).mean()) for n, name in enumerate(("none", "one"))},
        "share_more": float((counts > 1).mean()),
        "lines": spread,
        "off_reference_share": float((found.shifts > 1).mean()),
        "judged_share": float(found.judged.mean()),
    }


def tables(found: Defects, lines: dict[int, int] | None) -> dict[str, Table]:
    """How many images have how many defects, and how many defects each line has."""
    total, counts = max(len(found.centres), 1), found.counts[found.judged]
    images = [[n, many, round(many / len(counts), 4)] for n, many in enumerate(np.bincount(counts).tolist())]
    made = {"Defects an image": Table(["defects", "images", "share"], images)}
    if lines:
        rows = [[line, many, round(many / total, 4)] for line, many in lines.items()]
        made["Defects by line"] = Table(["line, from the first that holds any", "defects", "share"], rows)
    return made
