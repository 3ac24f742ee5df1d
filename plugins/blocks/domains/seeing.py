"""What a network between two domains sees of an image: its latent, or its pixels with squares of them as channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.plugins.blocks.codec import Codec


@dataclass(frozen=True)
class Seeing:
    """Of images [C,H,W], by a codec, or by `fold` pixels each way."""

    image: tuple[int, int, int]
    fold: int
    codec: Codec | None

    @classmethod
    def of(cls, model: Model, device: torch.device) -> Self:
        """That of a model whose config has `image` and `fold`."""
        channels, height, width = model.config["image"]
        return cls((channels, height, width), model.config["fold"], Codec.inside(model, device))

    @property
    def hidden(self) -> tuple[int, int, int]:
        """Shape [L,h,w] of what the network sees. Raises DataError for images that do not divide."""
        if self.codec is not None:
            return self.codec.shape(self.image)
        channels, height, width = self.image
        if height % self.fold or width % self.fold:
            raise DataError(f"images of {height} x {width} do not divide by fold={self.fold}; give fold: 1, or crop them")
        return channels * self.fold**2, height // self.fold, width // self.fold

    def inner(self, x: Tensor) -> Tensor:
        """Images [B,C,H,W] of -1 to 1 to [B,L,h,w]."""
        return pixel_unshuffle(x, self.fold) if self.codec is None else self.codec.latent(x)

    def outer(self, y: Tensor) -> Tensor:
        """[B,L,h,w] to images [B,C,H,W], clipped to -1 to 1."""
        return (pixel_shuffle(y, self.fold) if self.codec is None else self.codec.decode(y)).float().clamp(-1, 1)
