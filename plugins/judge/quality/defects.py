"""Defects of generated images: how many each has, where they lie, and over how many lines they are spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds import Table
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.difference import Real, Rule, blur
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.registration import Register

from .scores import Metrics, Summary

HELD = 0.02
"""Least share of all defects that a line must hold to count."""


@dataclass(frozen=True)
class Defects:
    """Accepted components of every image [N], their centres (y, x) [K,2], and how far each is off [N] (inf if unlike), in pixels."""

    counts: NDArray[np.int64]
    centres: Real
    shifts: Real

    @classmethod
    def find(cls, images: Real, clean: Real, rule: Rule) -> Defects:
        """In grey images [N,H,W], by what differs from the clean one [H,W]."""
        counts, centres = np.zeros(len(images), np.int64), []
        for row, image in enumerate(images):
            parts, counts[row] = ndimage.label(rule.find(image).defect, EIGHT)
            centres += ndimage.center_of_mass(parts > 0, parts, range(1, counts[row] + 1))
        register = Register.of(blur(clean), clean)
        shifts = np.array([register.place(blur(image)).distance for image in images])
        return cls(counts, np.array(centres, np.float64).reshape(-1, 2), shifts)

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


def metrics(found: Defects, own: Defects, lines: dict[int, int] | None, summary: Summary) -> Metrics:
    """Numbers of the report; `own` are the reference's."""
    total = len(found.centres)
    spread = None if lines is None else sum(many >= HELD * total for many in lines.values())
    return {
        **summary.mean("count", found.counts.astype(np.float64)),
        "count_sd": float(found.counts.std()),
        "count_reference": int(own.counts[0]),
        **{f"share_{name}": float((found.counts == n).mean()) for n, name in enumerate(("none", "one"))},
        "share_more": float((found.counts > 1).mean()),
        "lines": spread,
        "off_reference_share": float((found.shifts > 1).mean()),
    }


def tables(found: Defects, lines: dict[int, int] | None) -> dict[str, Table]:
    """How many images have how many defects, and how many defects each line has."""
    total = max(len(found.centres), 1)
    images = [[n, many, round(many / len(found.counts), 4)] for n, many in enumerate(np.bincount(found.counts).tolist())]
    made = {"Defects an image": Table(["defects", "images", "share"], images)}
    if lines:
        rows = [[line, many, round(many / total, 4)] for line, many in lines.items()]
        made["Defects by line"] = Table(["line, from the first that holds any", "defects", "share"], rows)
    return made
