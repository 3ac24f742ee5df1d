"""Where cut-out defects fit on a clean image: where it looks as it does around them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.ground import Size
from fabloom.plugins.blocks.transplants import SPREAD, VISIBLE, Defect, matching, showing

from .residuals import Residual

Real = NDArray[np.float64]
Spots = NDArray[np.intp]
TURNS = 8
"""Ways to turn and mirror a defect."""
NOWHERE = np.empty((0, 2), np.intp)
REMEMBERED = 512
"""Lists of places that are kept."""


@dataclass
class Places:
    """Where defects fit, by defect, turn and clean image; the last ones asked for are remembered.

    `grey` gives the grey picture [H,W] of a clean image in which places are compared (`ground.grey_of`). `size` is what a defect must fit
    into. A defect that fits nowhere goes, unturned, wherever it shows; not so with `forced` off.
    """

    defects: Sequence[Residual]
    grey: Callable[[int], Real]
    size: Size
    mirror: bool
    forced: bool = True
    _known: OrderedDict[tuple[int, int, int], tuple[Residual, Spots]] = field(default_factory=OrderedDict)

    def fit(self, number: int, clean: int, draw: np.random.Generator) -> tuple[Residual, Spots]:
        """A defect, turned at random in a way in which it fits, and the first rows and columns [P,2] of its box where it does; none where
        it fits nowhere and is not forced to.
        """
        turns = draw.permutation(TURNS).tolist() if self.mirror else [0]
        for turn in turns:
            piece, spots = self._of(number, turn, clean)
            if len(spots):
                return piece, spots
        return self.defects[number], NOWHERE

    def _of(self, number: int, turn: int, clean: int) -> tuple[Residual, Spots]:
        asked = number, turn, clean
        if asked not in self._known:
            piece = self.defects[number].turned(turn)
            holds = piece.box[0] <= self.size[0] and piece.box[1] <= self.size[1]
            self._known[asked] = piece, spots_of(piece, self.grey(clean), forced=self.forced and turn == 0) if holds else NOWHERE
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(asked)
        return self._known[asked]


def spots_of(piece: Residual, grey: Real, *, forced: bool) -> Spots:
    """Where a grey clean image [H,W] looks as around the defect [P,2]; with `forced`, and too few of those, wherever it shows."""
    rows, columns = np.nonzero(alike(grey, piece))
    boxes = set(zip(rows // piece.box[0], columns // piece.box[1], strict=True))
    if len(boxes) >= SPREAD or (boxes and not forced):
        return np.stack([rows, columns], 1)
    if not forced:
        return NOWHERE
    visible = showing(grey, Defect(piece.change, 0, 0))
    rows, columns = np.nonzero(visible >= min(VISIBLE, float(visible.max(initial=0))))
    return np.stack([rows, columns], 1)


def alike(grey: Real, piece: Residual) -> NDArray[np.bool_]:
    """First rows and columns of the box at which an image [H,W] looks as around the defect; so near the border that its surroundings
    reach beyond it, as in its box.
    """
    found = matching(grey, piece.around, piece.at, piece.box)
    boxed = piece.around[piece.at[0] : piece.at[0] + piece.box[0], piece.at[1] : piece.at[1] + piece.box[1]]
    near = matching(grey, boxed, (0, 0), piece.box)
    # whether it looks more alike a pixel beside cannot be told at the borders of what either of the two sees
    near[[0, -1]] = near[:, [0, -1]] = False
    spans = [slice(at + 1, side - (whole - at)) for at, side, whole in zip(piece.at, grey.shape, piece.around.shape, strict=True)]
    near[spans[0], spans[1]] = found[spans[0], spans[1]]
    return near


def within(spots: Spots, window: tuple[int, int], size: Size, box: Size) -> Spots:
    """The places [P,2] at which a box lies in the window."""
    first = np.array(window)
    last = first + np.array(size) - np.array(box)
    found: Spots = spots[((spots >= first) & (spots <= last)).all(1)]
    return found


def box_at(spot: tuple[int, int], box: Size) -> tuple[slice, slice]:
    """Rows and columns of a box."""
    return slice(spot[0], spot[0] + box[0]), slice(spot[1], spot[1] + box[1])
