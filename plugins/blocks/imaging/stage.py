"""One picture, clean or with one defect, and the mask of what the defect changes, whatever the tool that takes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .params import Drawn

Real = NDArray[np.float64]
BLOCK = 20
"""Images among which the share of defects is exact."""
MIN_AREA = 8
"""Fewest mask pixels of a defect."""
TRIES = 100


@dataclass(frozen=True)
class Picture:
    """One image with its truth: `label` counts the structure's class names, `clean` has the grey levels without defect and noise."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    label: int
    clean: Real


class View(Protocol):
    """What the tool sees in one image before the noise: everything but the defect is drawn."""

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of defect that this image may have."""
        ...

    def clean(self) -> Real:
        """Grey levels [size, size] without a defect, not rounded and not clipped."""
        ...

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """The same with one defect of this kind, its size and place drawn from `rng`; drawn again where its mask does not fit."""
        ...


class Stage(ABC):
    """What the images of a set share: a kind of pattern under a tool."""

    params: Drawn

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, `clean` first, then every kind of defect."""

    @abstractmethod
    def view(self, rng: np.random.Generator) -> View:
        """One image before the noise."""

    @abstractmethod
    def expose(self, grey: Real, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture: noise added, rounded, clipped to 0..255."""

    def facts(self) -> dict[str, Any]:
        """What a set should say of its tool beside the parameters."""
        return {}

    def draw(self, seed: int, index: int) -> Picture:
        """Image `index`: a function of the stage, the seed and the index alone.

        The mask is 1 where the noise-free image with the defect differs from the same image without it by more than `mask_share` of
        the contrast. A defect has at least 8 such pixels and none in the outermost frame of the image.
        """
        params = self.params
        rng = np.random.default_rng((seed, 0, index))
        view = self.view(rng)
        clean = view.clean()
        if not has_defect(seed, index, params.defect_share):
            return Picture(self.expose(clean, rng), np.zeros(clean.shape, np.uint8), 0, clean)
        kind = view.kinds[int(rng.integers(len(view.kinds)))]
        for _ in range(TRIES):
            grey = view.spoilt(kind, rng)
            mask = np.abs(grey - clean) > params.mask_share * (params.grey_high - params.grey_low)
            if mask.sum() >= MIN_AREA and mask.sum() == mask[1:-1, 1:-1].sum():
                label = self.class_names.index(kind)
                return Picture(self.expose(grey, rng), mask.astype(np.uint8), label, clean)
        raise DataError(
            f"no '{kind}' of {params.defect_low} to {params.defect_high} changes {MIN_AREA} pixels inside the image by "
            f"{params.mask_share:.0%} of the contrast; raise defect_high or size, or lower mask_share"
        )

    def reference(self, picture: Picture, seed: int, index: int) -> NDArray[np.uint8]:
        """Image `index` without its defect, under a noise of its own."""
        return self.expose(picture.clean, np.random.default_rng((seed, 3, index)))


def has_defect(seed: int, index: int, share: float) -> bool:
    """Whether image `index` carries a defect: systematic over blocks of 20, in shuffled order within a block.

    Every full block holds floor or ceil of 20 share defects, any number of blocks the rounded share of their images.
    """
    block, place = divmod(index, BLOCK)
    offset = np.random.default_rng((seed, 1)).random()
    wanted = floor((block + 1) * BLOCK * share + offset) - floor(block * BLOCK * share + offset)
    rank = np.random.default_rng((seed, 2, block)).permutation(BLOCK)[place]
    return bool(rank < wanted)
