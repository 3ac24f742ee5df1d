"""What is known of an image beforehand: its last channels say where it has anything, as where the dies of a wafer are.

These channels are never noised, made or changed, and where they are dark the others are not either: a wafer has no die there, so that none
can fail. A network sees all of it. What is left is free: only there is noise, loss and difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model

AT_ONCE = 256
"""Images looked through at once."""


@dataclass(frozen=True)
class Given:
    """The last `count` of an image's `channels`, of two grey levels: 255 where the image has anything, 0 elsewhere. By default none."""

    channels: int = 1
    count: int = 0

    @classmethod
    def of(cls, model: Model) -> Self:
        """What the images of a model are given, as its config has it."""
        return cls(model.config["image"][0], model.config.get("given", 0))

    def kept(self) -> dict[str, int]:
        """For the config of a model; {} where nothing is known."""
        return {"given": self.count} if self.count else {}

    def free(self, x: Tensor) -> Tensor:
        """Which values of x [B,L,h,w] are free, as bool of that shape: of images of -1 to 1, or of their squares as channels."""
        if not self.count:
            return torch.ones_like(x, dtype=torch.bool)
        known = x.unflatten(1, (self.channels, -1))[:, self.channels - self.count :]
        there = known.amax(1) > 0
        return torch.cat([there] * (self.channels - self.count) + [torch.zeros_like(there)] * self.count, 1)

    def put(self, made: Tensor, x: Tensor) -> Tensor:
        """`made` where x is free, x elsewhere, both [B,L,h,w]."""
        return torch.where(self.free(x), made, x) if self.count else made

    def mean(self, values: Tensor) -> Tensor:
        """Mean [B,H,W] of values [B,C,H,W] over the channels that are not known."""
        return values[:, : self.channels - self.count].mean(1) if self.count else values.mean(1)

    def check(self, images: ImageSet) -> None:
        """Raise DataError for images of which nothing but what is known is left, and where that is anything but 0 and 255."""
        told = f"given={self.count} says that the last {self.count} of {self.channels} channels are known"
        if self.count >= self.channels:
            raise DataError(f"{told}: nothing is left to learn of set {images.key[:12]}. Give fewer")
        for start in range(0, len(images) if self.count else 0, AT_ONCE):
            known = np.asarray(images.images[start : start + AT_ONCE])[:, self.channels - self.count :]
            other = (known > 0) & (known < 255)
            if other.any():
                row, channel = (int(axis[0]) for axis in np.nonzero(other)[:2])
                raise DataError(
                    f"{told}, 255 where an image has anything and 0 elsewhere; image {row} of set {images.key[:12]} has a "
                    f"{known[other][0]} in channel {self.channels - self.count + channel}: give masks, unblurred, or given: 0"
                )


NOTHING = Given()
"""Of images of which nothing is known beforehand."""
