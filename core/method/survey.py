"""What a method found in a folder of files, as `fabloom init` asks it: facts, and no decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALIKE = 0.5
"""Least likeness of images that show the same structure."""
REGISTERED = 1.0
"""Pixels by which registered images are shifted at most."""
SAME = 0.9
"""A flip under which the structure looks the same keeps this share of the likeness."""


@dataclass(frozen=True)
class Structure:
    """What the pixels of some images show.

    `period` in pixels, the pitch of an array or of lines, in `directions` (0 none, 1 lines, 2 an array). `likeness` is the median
    correlation of two images after the shift that aligns them best, `shift` the median of that shift in pixels; for images with a
    reference of their own both are to that reference. None where there is nothing to compare. `flip_x` and `flip_y` are what is left of
    the likeness when one is mirrored left-right or top-bottom (1: looks the same). `repeat_x` and `repeat_y` are the smallest cyclic
    shifts in pixels under which registered images look the same, 0 for none. `steps` are those between neighbouring sites, (down, right)
    in pixels: two of an array, one across lines. `edge` is by how many pixels edges lie elsewhere than in the images' own references all
    over, 0 where they do not.
    """

    period: float | None
    directions: int
    likeness: float | None
    shift: float | None
    flip_x: float
    flip_y: float
    repeat_x: int = 0
    repeat_y: int = 0
    edge: int = 0
    steps: tuple[tuple[float, float], ...] = ()

    @property
    def registered(self) -> bool:
        """Whether the images show the same structure at the same pixels."""
        return self.alike and self.shift is not None and self.shift <= REGISTERED

    @property
    def alike(self) -> bool:
        """Whether the images show the same structure, shifted perhaps."""
        return self.likeness is not None and self.likeness >= ALIKE

    @property
    def mirrors_x(self) -> bool:
        """Whether it looks the same mirrored left-right."""
        return self.flip_x >= SAME

    @property
    def mirrors_y(self) -> bool:
        """Whether it looks the same mirrored top-bottom."""
        return self.flip_y >= SAME


@dataclass(frozen=True)
class Survey:
    """A folder as the task `task` would load it with `params`, and what is in it.

    `sizes` counts images by (height, width), the most frequent first. `clean` and `defect` count images of which that is known; `masks`
    those of which somebody drew where the defects are, and in a set with masks the clean ones; `references` those with a clean picture
    of the same place. `hidden` is the share of the pixels that differ in colour from what is usual there whose grey does not.
    `spots` is the area in pixels of the largest place in which a clean image differs from the others, 0 where there is none.
    `extent` is the side in pixels that nine of ten drawn defects stay below. `notes` are what a reader must know of the files:
    skipped ones, odd ones. `given` counts the last channels that say where an image has anything, 255, or nothing, 0, as where a wafer
    has dies; sizes are then in dies, and the task takes the parameters of wafer-map.load. `counts` are the images of each of `classes`,
    where that is known of all. `sources` counts the lots, or others, that images come from; 0: not told.
    """

    task: str
    params: Mapping[str, Any]
    layout: str
    images: int
    sizes: Mapping[tuple[int, int], int]
    channels: int
    bits: int
    clean: int = 0
    defect: int = 0
    masks: int = 0
    references: int = 0
    classes: tuple[str, ...] = ()
    extent: int | None = None
    hidden: float = 0.0
    spots: int = 0
    structure: Structure | None = None
    notes: tuple[str, ...] = ()
    given: int = 0
    counts: tuple[int, ...] = ()
    sources: int = 0

    @property
    def unknown(self) -> int:
        """Images of which nobody said whether they have a defect."""
        return self.images - self.clean - self.defect
