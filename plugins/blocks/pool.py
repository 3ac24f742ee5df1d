"""Training images as a diffusion model sees them: pixels from -1 to 1, or latents; mirrored where that is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fabloom.kinds import ImageSet

from .codec import Codec
from .grey import GreyMap


@dataclass(frozen=True)
class Pool:
    """Pixels uint8 [N,C,H,W], or with a codec the latents of each allowed mirroring [V,N,c,h,w]: none, left-right, top-bottom, both."""

    values: Tensor
    grey: GreyMap
    flips: tuple[bool, bool]
    codec: Codec | None = None

    @classmethod
    def of(cls, images: ImageSet, flip_x: bool, flip_y: bool, codec: Codec | None, grey: GreyMap | None = None) -> Self:
        """All images of a set; `grey` is that of a teacher, else the codec's, else fitted. Raises DataError where a codec does not fit."""
        return cls.of_pixels(torch.from_numpy(np.asarray(images.images)), flip_x, flip_y, codec, grey)

    @classmethod
    def of_pixels(cls, pixels: Tensor, flip_x: bool, flip_y: bool, codec: Codec | None, grey: GreyMap | None = None) -> Self:
        """The same of uint8 [N,C,H,W]."""
        if codec is None:
            return cls(pixels, grey or GreyMap.fit(pixels.numpy()), (flip_x, flip_y))
        codec.shape((pixels.shape[1], pixels.shape[2], pixels.shape[3]))
        views = [
            codec.encode(pixels.flip([axis for axis, turned in ((-1, x), (-2, y)) if turned]))
            for y, x in product(range(1 + flip_y), range(1 + flip_x))
        ]
        return cls(torch.stack(views), codec.grey, (flip_x, flip_y), codec)

    @property
    def shape(self) -> tuple[int, int, int]:
        """What a network sees of an image: [C,H,W], or that of a latent."""
        found: tuple[int, int, int] = tuple(self.values.shape[-3:])  # type: ignore[assignment]
        return found

    def __len__(self) -> int:
        return self.values.shape[-4]

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a model must carry to be understood: tensors, and for its config grey levels and, of latents, their shape and codec."""
        told: dict[str, Any] = {"grey": [self.grey.low, self.grey.high]}
        if self.codec is None:
            return {}, told
        tensors, codec = self.codec.kept()
        return tensors, told | codec | {"latent": list(self.shape)}

    def batch(self, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """(values [count,C,H,W], rows [count]), drawn with replacement, so that a set smaller than a batch trains too."""
        rows = torch.randint(len(self), (count,), generator=draw)
        return self.chosen(rows, draw), rows

    def chosen(self, rows: Tensor, draw: torch.Generator) -> Tensor:
        """Values [B,C,H,W] of rows [B], mirrored by chance where that is allowed."""
        count = len(rows)
        turned = [torch.rand(count, generator=draw) < 0.5 if wanted else torch.zeros(count, dtype=torch.bool) for wanted in self.flips]
        if self.codec is not None:
            return self.values[turned[0].long() + (1 + self.flips[0]) * turned[1].long(), rows]
        x = self.grey.forward(self.values[rows])
        for axis, mirrored in zip((-1, -2), turned, strict=True):
            if mirrored.any():
                x = torch.where(mirrored[:, None, None, None], x.flip(axis), x)
        return x
