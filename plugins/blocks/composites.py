"""Images with something pasted in or painted over, which a one-shot method makes look like its training image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect

from .pyramid import Size


@dataclass(frozen=True)
class Composites:
    """Images uint8 [N,C,H,W] to be repaired, and how much of each pixel may change, [N,1,H,W] in 0..1."""

    images: Tensor
    weights: Tensor

    @classmethod
    def read(cls, given: ImageSet, size: Size, channels: int, margin: int) -> Composites:
        """Those rows of a set that have a mask. Raises DataError for no masks, another size or other channels."""
        if given.masks is None:
            raise DataError(f"composite set {given.key[:12]} has no masks: they say where something was pasted in")
        if given.images.shape[2:] != size:
            height, width = given.images.shape[2:]
            raise DataError(f"the composites are {height} x {width}, the model's images {size[0]} x {size[1]}; both need one size")
        masks = torch.from_numpy(is_defect(given.masks[...]))
        rows = masks.flatten(1).any(1)
        if not rows.any():
            raise DataError(f"all masks of composite set {given.key[:12]} are empty: nothing to repair")
        pixels = np.asarray(given.images[...])[rows.numpy()]
        if len(pixels[0]) > channels == 1 and (pixels == pixels[:, :1]).all():
            pixels = pixels[:, :1]
        if pixels.shape[1] != channels:
            raise DataError(f"the composites have {pixels.shape[1]} channels, the training image {channels}")
        return cls(torch.from_numpy(pixels), softened(masks[rows].float()[:, None], margin))

    def rows(self, numbers: range) -> tuple[Tensor, Tensor]:
        """Images and weights of the samples of these numbers; they start again where there are fewer composites."""
        index = torch.tensor(numbers) % len(self.images)
        return self.images[index], self.weights[index]

    def blended(self, made: Tensor, numbers: range) -> NDArray[np.uint8]:
        """What was made of them, uint8 [B,C,H,W], where they may change, and themselves elsewhere."""
        pixels, weights = self.rows(numbers)
        mixed: NDArray[np.uint8] = (weights * made.cpu().float() + (1 - weights) * pixels).round().to(torch.uint8).numpy()
        return mixed


def softened(masks: Tensor, margin: int) -> Tensor:
    """Masks [N,1,H,W] widened by `margin` pixels, then blurred over as many: 1 in the mask, 0 from 2 `margin` pixels on."""
    if margin == 0:
        return masks
    side = 2 * margin + 1
    widened = ndimage.maximum_filter(masks.numpy(), (1, 1, side, side))
    return torch.from_numpy(ndimage.gaussian_filter(widened, margin / 2, axes=(2, 3), radius=margin, mode="nearest"))
