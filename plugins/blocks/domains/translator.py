"""What stands between two domains: whatever brings an image of one over to the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.plugins.blocks.grey import GreyMap

from .given import Given

CLEAN, DEFECT = 0, 1
"""The domains, as in the column `domain` of a set."""
NAMES = ["clean", "defect"]
HELD = "held_out"
"""Tensor of a model: clean images uint8 [M,C,H,W] that it did not learn from."""


class Translator(Protocol):
    """One for grey levels that `grey` maps to [-1, 1]; where it `draws`, noise of the shape `hidden` has a part in what it gives."""

    @property
    def grey(self) -> GreyMap: ...
    @property
    def given(self) -> Given: ...
    @property
    def draws(self) -> bool: ...
    @property
    def hidden(self) -> tuple[int, int, int]: ...

    def translate(self, x: Tensor, source: int, targets: Sequence[int], fresh: Tensor | None = None) -> list[Tensor]:
        """x [B,C,H,W] of domain `source` as it would be in each of `targets`, all that is not the domain's the same in all of them.

        What is `given` of x is in all of them as it was.

        `fresh` [B,*hidden] is noise that has a part in what the images have in common, where the translator `draws`.
        """
        ...


def held_out(model: Model) -> NDArray[np.uint8]:
    """Clean images that a model did not learn from [M,C,H,W]."""
    found: NDArray[np.uint8] = model.state(HELD)[""].numpy()
    return found


def domains_of(images: ImageSet) -> NDArray[np.int8]:
    """Domain of every image. Raises DataError for a set that does not say."""
    if images.domain is None:
        raise DataError(
            f"set {images.key[:12]} does not say which images have a defect: load it from folders clean/ and defect/, or with clean: and "
            "defect: patterns"
        )
    return np.asarray(images.domain)


def check_images(model: Model, images: ImageSet) -> None:
    """Raise DataError for images that a model does not know."""
    wanted, given = list(model.config["image"]), list(images.images.shape[1:])
    if wanted != given:
        raise DataError(
            f"model {model.key[:12]} translates images {wanted} (channels, height, width), set {images.key[:12]} has {given}: "
            "load them in that size, larger ones in tiles (images.load tile)"
        )
    Given.of(model).check(images)


def levels(grey: GreyMap, values: Tensor) -> NDArray[np.uint8]:
    """Images [B,C,H,W] of -1 to 1 as grey levels."""
    return grey.inverse(values.clamp(-1, 1).cpu()).numpy()


def stacked(grey: GreyMap, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Grey levels [B,C,H,W] as what a network takes."""
    return grey.forward(pixels).to(device)
