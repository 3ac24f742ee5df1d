"""Flips and shifts of the test images: what a segmenter that knows one orientation and one position alone does not survive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import DataError

from .augmentation import mirrored

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Move:
    """A flip along `axes`, or a shift right and down by `shift` pixels with the border mirrored in."""

    name: str
    axes: tuple[int, ...] = ()
    shift: int = 0

    def of(self, values: NDArray[Pixel]) -> NDArray[Pixel]:
        """Images [N,C,H,W] or masks [N,H,W], moved."""
        if not self.shift:
            return np.ascontiguousarray(np.flip(values, self.axes))
        for axis in (-2, -1):
            size = values.shape[axis]
            values = np.take(values, mirrored(torch.arange(size) - self.shift, size).numpy(), axis)
        return values


IDENTITY = Move("identity")
FLIPS = (Move("flip_x", (-1,)), Move("flip_y", (-2,)), Move("flip_xy", (-2, -1)))
WORDS = {"identity": "as they are", "flip_x": "mirrored left-right", "flip_y": "mirrored top-bottom", "flip_xy": "turned by 180°"}


def in_words(name: str) -> str:
    """A move's name for reading."""
    return WORDS.get(name) or f"shifted by {name.removeprefix('shift_')} pixels"


def moves(shifts: Sequence[int], height: int, width: int) -> tuple[Move, ...]:
    """Identity, flips, and a move for each shift. Raises DataError for a shift that no mirrored border can fill."""
    for shift in shifts:
        if shift >= min(height, width):
            raise DataError(f"shifts holds {shift}, which must stay below the side of the {height} x {width} test images")
    return (IDENTITY, *FLIPS, *(Move(f"shift_{shift}", shift=shift) for shift in dict.fromkeys(shifts)))
