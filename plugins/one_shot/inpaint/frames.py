"""The clean images that defects are made on: those that the model keeps, or those that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.plugins.blocks.grain import AROUND, PATCH, denoised, fine_noise
from fabloom.plugins.blocks.ground import Size, grey_of
from fabloom.plugins.blocks.references import clean_sources, name_of

from .windows import within

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]
REACH = AROUND + PATCH
"""Pixels around a window that its denoising looks at."""
HELD = 4
"""Frames that are held at once."""


@dataclass(frozen=True)
class Frames:
    """Clean images: `read` gives one, uint8 [C,H,W]; `deviation` says how noisy one is. `names` are those of their sources."""

    count: int
    size: Size
    names: Sequence[str]
    given: bool
    read: Callable[[int], Pixels]
    deviation: Callable[[int], float]

    @classmethod
    def of(cls, model: Model, images: ImageSet | None) -> Frames:
        """The clean images of a set, else those of the model. Raises DataError where a set has none or other channels."""
        config = model.config
        if images is None:
            clean = model.state("clean")[""].numpy()
            names = [config["source_names"][index] for index in config["clean_source"]]
            noise, size = float(config["noise_clean"]), (int(clean.shape[2]), int(clean.shape[3]))
            return cls(len(clean), size, names, False, lambda row: clean[row], lambda _: noise)
        rows, source = clean_sources(images)
        channels = int(config["channels"])
        shape = tuple(source.shape[1:])
        if channels != 1 and shape[0] != channels:
            raise DataError(f"the clean images of set {images.key[:12]} have {shape[0]} channels, those of the model {channels}")

        @lru_cache(maxsize=HELD)
        def read(row: int) -> Pixels:
            pixels: Pixels = np.asarray(source[int(rows[row])])
            if channels == 1 and (pixels != pixels[:1]).any():
                raise DataError(f"clean image '{name_of(images, int(rows[row]))}' is in colour, and the model was trained in grey")
            return pixels[:channels]

        @cache
        def deviation(row: int) -> float:
            return fine_noise(read(row).astype(np.float64))

        names = [name_of(images, int(row)) for row in rows]
        return cls(len(rows), (shape[1], shape[2]), names, True, read, deviation)

    def grey(self, row: int) -> Real:
        """The grey picture [H,W] in which places are compared."""
        return grey_of(self.read(row).astype(np.float64))

    def ground(self, row: int, first: tuple[int, int], size: Size) -> Real:
        """A window [C,*size] of a frame, mirrored beyond its border, without most of its noise."""
        wide = [within(start - REACH, side + 2 * REACH, whole) for start, side, whole in zip(first, size, self.size, strict=True)]
        part = self.read(row)[:, wide[0]][:, :, wide[1]].astype(np.float64)
        smooth: Real = denoised(part, self.deviation(row))[:, REACH:-REACH, REACH:-REACH]
        return smooth


def kept_sources(config: dict[str, Any], frames: Frames) -> tuple[list[str], list[int]]:
    """Names of all sources, those of the model first, and the number of each frame's among them."""
    names = list(dict.fromkeys([*config["source_names"], *frames.names]))
    number = {name: index for index, name in enumerate(names)}
    return names, [number[name] for name in frames.names]
