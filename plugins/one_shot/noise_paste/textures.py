"""What is pasted: parts of other images, the clean image itself elsewhere, or noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet

from .params import SampleParams, Texture

Real = NDArray[np.float64]
BLURS = (0.5, 4.0)
"""Pixels (sigma) of the blur of noise."""
GAINS = (0.5, 1.5)
"""Contrast of a texture, in that of the range to which it is stretched; its sign is drawn too."""


@dataclass(frozen=True)
class Textures:
    """Draws textures for images of `channels`. `given` are other images."""

    kinds: Sequence[Texture]
    given: ImageSet | None
    channels: int
    full: bool

    @classmethod
    def of(cls, params: SampleParams, given: ImageSet | None, channels: int) -> Textures:
        """Raises DataError where images alone are asked for and there are none."""
        kinds = [kind for kind in dict.fromkeys(params.textures) if kind != "images" or given is not None]
        if not kinds:
            raise DataError("textures: images alone are asked for, and the input `textures` is not connected: connect a set of any images")
        if given is not None and "images" not in kinds:
            raise DataError("the input `textures` would be ignored: add `images` to the parameter `textures`, or disconnect it")
        return cls(kinds, given, channels, params.levels == "full")

    def draw(self, clean: Real, size: tuple[int, int], source: np.random.Generator) -> Real:
        """A texture [C,*size] for a clean image [C,H,W] without noise, in its grey range or the full one."""
        kind = self.kinds[int(source.integers(len(self.kinds)))]
        if kind == "noise":
            blur = source.uniform(*BLURS)
            found = ndimage.gaussian_filter(source.standard_normal((len(clean), *size)), (0, blur, blur), mode="wrap")
        else:
            found = part_of(clean if kind == "shifted" else self._other(source), size, source)
        return self._stretched(found, clean, source)

    def _other(self, source: np.random.Generator) -> Real:
        """One of the given images [C,H,W], its channels repeated or averaged as they are needed."""
        assert self.given is not None
        row = int(source.integers(len(self.given)))
        image = np.asarray(self.given.images[row : row + 1])[0].astype(np.float64)
        found: Real = image if len(image) == self.channels else np.repeat(image.mean(0, keepdims=True), self.channels, 0)
        return found

    def _stretched(self, texture: Real, clean: Real, source: np.random.Generator) -> Real:
        """A texture with its own range (1st to 99th percentile) laid on that of the clean image, or on 0..255, at a drawn contrast."""
        low, high = np.percentile(texture, (1, 99))
        unit = (texture - low) / max(high - low, 1e-9) - 0.5
        gain = source.uniform(*GAINS) * (1 if source.random() < 0.5 else -1)
        bottom, top = (0.0, 255.0) if self.full else np.percentile(clean, (1, 99))
        stretched: Real = np.clip((bottom + top) / 2 + gain * unit * (top - bottom), 0, 255)
        return stretched


def part_of(image: Real, size: tuple[int, int], source: np.random.Generator) -> Real:
    """A random part [C,*size] of an image [C,H,W] that is mirrored at random and goes on cyclically."""
    flips = tuple(axis for axis in (-2, -1) if source.random() < 0.5)
    starts = [int(source.integers(side)) for side in image.shape[-2:]]
    rows, columns = ((start + np.arange(wanted)) % side for start, wanted, side in zip(starts, size, image.shape[-2:], strict=True))
    part: Real = np.flip(image, flips)[:, rows][:, :, columns]
    return part
