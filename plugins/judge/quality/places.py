"""Do defects lie where the reference's lies, more often than chance?

Chance: each of the generated defects as it is, moved to every place in the frame at which the structure looks the same: whole periods
across lines and any way along them, lattice vectors of an array, anywhere without a structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.difference import Real
from fabloom.plugins.blocks.lattice import Lattice

from .scores import Metrics, Summary

HALF = 0.5
"""Two defects are at one place where this share of the smaller one lies in the other."""
OFF = 0.5
"""Pixels by which a move may miss a period."""


@dataclass(frozen=True)
class Places:
    """Sums over the defects of each image [N]: how many, how many at the reference's place, their overlap with it, both by chance too."""

    many: Real
    same: Real
    overlap: Real
    same_chance: Real
    overlap_chance: Real

    @classmethod
    def of(cls, masks: NDArray[np.bool_], reference: NDArray[np.bool_], clean: Real) -> Places:
        """Of masks [N,H,W] that lie as the reference's [H,W] and a clean picture [H,W] of it do."""
        frequencies = Lattice.fit(clean).frequencies
        found = np.zeros((5, len(masks)))
        for row, mask in enumerate(masks):
            parts, _ = ndimage.label(mask, EIGHT)
            for index, box in enumerate(ndimage.find_objects(parts), start=1):
                found[:, row] += (1, *placed(parts[box] == index, (box[0].start, box[1].start), reference, frequencies))
        return cls(*found)

    @property
    def images(self) -> int:
        """Images with a defect."""
        return int((self.many > 0).sum())


def placed(
    defect: NDArray[np.bool_], at: tuple[int, int], reference: NDArray[np.bool_], frequencies: Sequence[tuple[float, float]]
) -> tuple[float, float, float, float]:
    """(at the reference's place, overlap with it, and both by chance) of a defect [h,w] that begins at (row, column)."""
    shared = np.rint(signal.correlate(reference.astype(float), defect.astype(float), "valid"))
    area, whole = int(defect.sum()), int(reference.sum())
    same, overlap = shared >= HALF * min(area, whole), shared / (area + whole - shared)
    allowed = moves(shared.shape, at, frequencies)
    return float(same[at]), float(overlap[at]), float(same[allowed].mean()), float(overlap[allowed].mean())


def moves(places: tuple[int, ...], at: tuple[int, int], frequencies: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """The places [h,w] at which the structure looks as it does at one of them."""
    down, right = (np.arange(side) - own for side, own in zip(places, at, strict=True))
    allowed = np.ones(places, bool)
    for fy, fx in frequencies:
        turns = fy * down[:, None] + fx * right[None]
        allowed &= np.abs(turns - np.rint(turns)) <= OFF * np.hypot(fy, fx)
    return allowed


def metrics(found: Places, summary: Summary) -> Metrics:
    """Shares with their intervals over images; what is above chance has one of its own, of the same resamples."""
    named = {"same_place": found.same, "same_place_chance": found.same_chance, "same_place_above_chance": found.same - found.same_chance}
    named |= {"overlap": found.overlap, "overlap_chance": found.overlap_chance}
    named |= {"overlap_above_chance": found.overlap - found.overlap_chance}
    return {"images": found.images, **{name: summary.share(top, found.many) for name, top in named.items()}}
