"""Clean images as the ground of pasted defects: without most of their own noise, and with fresh noise in the place of what was taken off.

A clean image carries its noise once. Pasted on as it is, every sample would have the same noise; with noise on top, too much of it. So
non-local means take off what they can, and every sample gets that much anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import Model

from .grain import Grain, denoised, fresh_variance
from .lattice import Lattice
from .sites import moves_of, steps_of

Real = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Pixel = TypeVar("Pixel", bound=np.generic)
REPEATS = 0.7
"""Least correlation of an image with itself a period on for it to be continued beyond its borders."""
ROOM = 2**22
"""Most pixels of clean images that a model keeps."""


@dataclass(frozen=True)
class Ground:
    """Clean images `clean` uint8 [K,C,H,W], the same without most of their noise, `smooth` float [K,C,H,W], and the noise of samples."""

    clean: Pixels
    smooth: Real
    grain: Grain

    @classmethod
    def of(cls, clean: Pixels, noise: float, apart: Real | None = None, wanted: float | None = None) -> Self:
        """From clean images whose noise has this deviation.

        Samples shall have noise of the deviation `wanted`, with the spectrum of `apart` [N,C,H,W], differences of images of one place;
        without these the noise of the clean images themselves.
        """
        smooth = np.stack([denoised(image.astype(np.float64), noise) for image in clean])
        removed = clean - smooth
        variance = fresh_variance(noise if wanted is None else wanted, noise, removed)
        return cls(clean, smooth, Grain.of(removed if apart is None else apart, variance))

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """As a model keeps it."""
        kernel, mix = (model.state(f"noise.{name}")[""].numpy() for name in ("kernel", "mix"))
        return cls(model.state("clean")[""].numpy(), model.state("smooth")[""].numpy().astype(np.float64), Grain(kernel, mix))

    def written(self) -> dict[str, torch.Tensor]:
        """Tensors of a model."""
        return {
            "clean": torch.from_numpy(self.clean),
            "smooth": torch.from_numpy(self.smooth.astype(np.float32)),
            "noise.kernel": torch.from_numpy(self.grain.kernel),
            "noise.mix": torch.from_numpy(self.grain.mix),
        }

    @property
    def size(self) -> Size:
        """Height and width."""
        return int(self.clean.shape[2]), int(self.clean.shape[3])

    def reaching(self, size: Size) -> Self:
        """The same, each clean image continued by its period to at least `size`. Raises DataError where it cannot be."""
        if self.size[0] >= size[0] and self.size[1] >= size[1]:
            return self
        clean, smooth = (
            np.stack([continued(one, goal.mean(0), size) for one, goal in zip(images, self.smooth, strict=True)])
            for images in (self.clean, self.smooth)
        )
        return replace(self, clean=clean, smooth=smooth)


def held_by(model: Model, role: str) -> Mapping[str, Any]:
    """The config of a model of the task `ROLE.train`. Raises DataError for another model."""
    config = model.config
    if config.get("role") != role:
        raise DataError(f"model {model.key[:12]} is no model of {role}.train (role '{config.get('role')}')")
    return config


def chosen(count: int, size: Size, most: int) -> NDArray[np.int64]:
    """At most `most` rows of `count` images of this size, evenly spread; fewer of large ones, one at least."""
    room = max(min(most, ROOM // (size[0] * size[1])), 1)
    return np.unique(np.linspace(0, count - 1, min(count, room)).round().astype(np.int64))


def grey_of(image: Real) -> Real:
    """Grey picture [H,W] of an image [C,H,W] in which places are compared."""
    grey: Real = ndimage.gaussian_filter(image.mean(0), 1)
    return grey


def continued(picture: NDArray[Pixel], grey: Real, size: Size) -> NDArray[Pixel]:
    """A picture [..,H,W] continued by its period to at least `size`, its upper left corner where it was. `grey` [H,W] tells the period.

    Raises DataError for a structure that does not repeat by whole pixels as far as that.
    """
    had = picture.shape[-2:]
    wanted = max(size[0], had[0]), max(size[1], had[1])
    if wanted == had:
        return picture
    made, open_ = np.empty((*picture.shape[:-2], *wanted), picture.dtype), np.ones(wanted, bool)
    for down, right in _moves(grey, wanted):
        rows, columns = (slice(max(0, n), max(min(n + side, most), 0)) for n, side, most in zip((down, right), had, wanted, strict=True))
        free = open_[rows, columns]
        if free.any():
            there = picture[..., rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]
            made[..., rows, columns] = np.where(free, there, made[..., rows, columns])
            open_[rows, columns] = False
    if open_.any():
        raise DataError(
            f"size: the clean image of {had[0]} x {had[1]} cannot be continued to {size[0]} x {size[1]}: its structure does not repeat by "
            "whole pixels. Ask for a size within that of the clean image, or give a larger clean image"
        )
    return made


def _moves(grey: Real, size: Size) -> list[list[int]]:
    """Whole moves (down, right) by periods, the shortest first; along lines by any pixel; none where nothing repeats."""
    steps = list(steps_of(grey, Lattice.fit(grey)))
    if not steps or min(_likeness(grey, step) for step in steps) < REPEATS:
        return [[0, 0]]
    if len(steps) == 1:
        down, right = steps[0]
        length = float(np.hypot(down, right))
        steps.append((right / length, -down / length))
    found: list[list[int]] = moves_of(steps, size).tolist()
    return found


def _likeness(grey: Real, step: tuple[float, float]) -> float:
    """Correlation of a grey image [H,W] with itself moved by a step, where both are."""
    soft = ndimage.gaussian_filter(grey, 1, mode="mirror")
    there = ndimage.shift(soft, step, order=1, mode="constant", cval=np.nan)
    both = np.isfinite(there)
    return float(np.corrcoef(soft[both], there[both])[0, 1]) if both.any() else 0.0
