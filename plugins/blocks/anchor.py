"""What tells a network where a pixel lies: the phase of a lattice, or the clean image of the same place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model

from .lattice import Lattice
from .one_shot import Picture
from .pyramid import Size, fitted, resize
from .registered import clean_picture, collapsed
from .scale_params import LARGE
from .sites import steps_of

Pixels = NDArray[np.uint8]
Shrunk = Callable[[Pixels, Sequence[Size]], Sequence[Tensor]]
"""(an image [C,H,W], sizes) to its scales [1,C,h,w], as the method shrinks and normalises the training image."""


NOTHING = Lattice(())
REPEATS = 0.7
"""Least correlation of an image with itself a period on, for `auto` to take its strongest frequency for a lattice."""


@dataclass(frozen=True)
class Anchor:
    """Context channels of every scale: from a lattice, from clean images uint8 [K,C,H,W], or none. `words` say it for the log."""

    lattice: Lattice = NOTHING
    clean: Pixels | None = None
    words: str = "nothing anchors the structure"

    @classmethod
    def find(cls, picture: Picture, images: ImageSet, size: Size, wanted: str, given: ImageSet | None) -> Anchor:
        """The anchor of a training image of the set `images`, whose finest scale has `size`.

        `auto` is the given reference, else a lattice, else a clean image of the set that shows the same place, else none; of more than
        `LARGE` pixels the clean image before the lattice: with it defects are shown at many places, and so many that windows meet them.
        Raises DataError where `lattice` or `reference` is wanted and there is none, or a given reference does not fit.
        """
        if wanted == "none":
            return cls()
        if wanted == "reference" or given is not None:
            return cls.of_clean(clean_picture(picture, images, given)[None])
        if wanted == "auto" and size[0] * size[1] > LARGE**2:
            with suppress(DataError):
                return cls.of_clean(clean_picture(picture, images, None)[None])
        grey = resize(torch.from_numpy(picture.grey)[None, None], size)[0, 0].numpy()
        lattice = Lattice.fit(grey)
        if lattice.frequencies and (wanted == "lattice" or lattice.repeats(grey) >= REPEATS):
            pitches = " and ".join(f"{hypot(*step):.2f}" for step in steps_of(grey, lattice)) or f"{lattice.period:.2f}"
            return cls(lattice, words=f"anchored to a lattice with a pitch of {pitches} pixels")
        if wanted == "lattice":
            raise DataError("the image has no periodic structure that could anchor it; use `anchor: reference` or `anchor: none`")
        try:
            return cls.of_clean(clean_picture(picture, images, None)[None])
        except DataError as problem:
            return cls(words=f"no lattice anchors the structure, and no reference: {problem}")

    @classmethod
    def of_clean(cls, clean: Pixels) -> Anchor:
        """Anchored to clean images [K,C,H,W]."""
        return cls(clean=clean, words="anchored to the clean image of the same place")

    @classmethod
    def of_model(cls, model: Model) -> Anchor:
        """What anchored the training of a model."""
        if model.config.get("anchor") == "reference":
            return cls.of_clean(model.state("reference")[""].numpy()[None])
        return cls(lattice_of(model.config))

    @property
    def channels(self) -> int:
        """Context channels of the network."""
        return 2 * len(self.lattice.frequencies) if self.clean is None else int(self.clean.shape[1])

    def contexts(self, zooms: Sequence[tuple[float, float]], wanted: Sequence[Size], shrunk: Shrunk) -> list[Tensor | None]:
        """Context channels [1 or K,channels,*wanted[s]] of every scale; None without an anchor.

        `zooms` are those of training, whatever the size that is wanted, so that a lattice keeps its pitch; clean images are shrunk
        as the training image is.
        """
        if self.clean is not None:
            return list(stacked([shrunk(image, wanted) for image in self.clean]))
        if not self.lattice.frequencies:
            return [None for _ in wanted]
        return [self.lattice.phase(size, zoom)[None] for size, zoom in zip(wanted, zooms, strict=True)]

    def numbered(self, numbers: range) -> Anchor:
        """The anchor of the samples of these numbers: they take clean images in turn."""
        if self.clean is None or len(self.clean) == 1:
            return self
        return replace(self, clean=self.clean[np.array(numbers) % len(self.clean)])

    def written(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a model keeps of the anchor: entries of its config, and tensors."""
        frequencies = [list(frequency) for frequency in self.lattice.frequencies]
        if self.clean is None:
            return {"lattice": frequencies}, {}
        return {"lattice": frequencies, "anchor": "reference"}, {"reference": torch.from_numpy(self.clean[0])}


def followed(model: Model, anchor: Anchor, reference: ImageSet | None, count: int) -> Anchor:
    """The anchor of a sampling: the model's, or the first `count` clean images of `reference`.

    Raises DataError for a model without a reference, and for images of other channels.
    """
    if reference is None:
        return anchor
    if anchor.clean is None:
        held = "a lattice" if anchor.lattice.frequencies else "nothing"
        raise DataError(
            f"model {model.key[:12]} is anchored to {held}, so that a `reference` would be ignored; train with `anchor: reference`"
        )
    rows = np.arange(len(reference)) if reference.domain is None else np.flatnonzero(reference.domain[...] == 0)
    if not len(rows):
        raise DataError(f"none of the {len(reference)} images of the reference {reference.key[:12]} is clean (domain 0)")
    pixels = np.asarray(reference.images[...][rows[:count]])
    return Anchor.of_clean(collapsed(pixels, model.config["channels"], reference))


def output_size(model: Model, anchor: Anchor, size: Size | None) -> Size:
    """Height and width of samples: what is asked for, that of the clean image, or that of the training image.

    Clean images are shrunk by the factor that the training image was. Raises DataError where a size is asked for that is not that
    of the clean image.
    """
    sizes = model.config["sizes"]
    finest = int(sizes[-1][0]), int(sizes[-1][1])
    if anchor.clean is None:
        return finest if size is None else size
    trained = model.state("image")[""].shape[1:]
    height, width = (round(side * after / before) for side, after, before in zip(anchor.clean.shape[2:], finest, trained, strict=True))
    if size is not None and size != (height, width):
        raise DataError(
            f"size: the structure follows a clean image of {height} x {width}, but the output shall be {size[0]} x {size[1]}; leave "
            "`size` out, or connect a `reference` of that size"
        )
    return height, width


def shown(anchor: Anchor, count: int, size: Size, channels: int) -> Pixels | None:
    """The clean image [count,channels,*size] of every sample, to be written beside it; None without."""
    if anchor.clean is None:
        return None
    clean = anchor.clean
    if clean.shape[2:] != size:
        clean = resize(torch.from_numpy(clean).float(), size).round().clamp(0, 255).to(torch.uint8).numpy()
    rows: Pixels = clean[np.arange(count) % len(clean)]
    return np.repeat(rows, channels, 1) if rows.shape[1] < channels else rows


def stacked(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Scales [1,C,h,w] of several images as one batch a scale."""
    return [torch.cat(whole) for whole in zip(*parts, strict=True)]


def context_channels(config: Mapping[str, Any]) -> int:
    """Context channels of the network of a model with this config."""
    return int(config["channels"]) if config.get("anchor") == "reference" else 2 * len(config["lattice"])


def lattice_of(config: Mapping[str, Any]) -> Lattice:
    """The lattice that a model's config holds."""
    return Lattice(tuple((float(y), float(x)) for y, x in config["lattice"]))


def zooms_of(sizes: Sequence[Size]) -> list[tuple[float, float]]:
    """Finest pixels that a pixel of every scale spans, down and across."""
    return [(sizes[-1][0] / height, sizes[-1][1] / width) for height, width in sizes]


def fitting(picture: Picture, max_pixels: int | None) -> tuple[Size, str]:
    """The size that a training image is learnt at, and a note for the log where it is shrunk."""
    height, width = picture.pixels.shape[1:]
    size = (height, width) if max_pixels is None else fitted((height, width), max_pixels)
    note = (
        ""
        if size == (height, width)
        else f"the image of {height} x {width} is shrunk to {size[0]} x {size[1]} (max_pixels), and so are samples; "
    )
    return size, note
