"""Generated images without most of their noise, and the noise that came off them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import Interrupted
from fabloom.method import Context
from fabloom.plugins.blocks.difference import Real
from fabloom.plugins.blocks.grain import STRONGER, denoised, fine_noise, spread


@dataclass(frozen=True)
class Denoised:
    """Images as they are, uint8, and `smooth` by non-local means (Buades 2005), float16 to save memory: off by 0.06 levels at most; both
    [N,C,H,W]. `deviations` of the noise of each [N], in grey levels: edges and defects do not count.
    """

    pixels: NDArray[np.uint8]
    smooth: NDArray[np.float16]
    deviations: Real

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], colour: float = STRONGER, ctx: Context | None = None) -> Denoised:
        """Of uint8 [N,C,H,W], each by its own noise: `colour` times the white part of it. Raises Interrupted on a stop."""
        smooth, deviations = np.empty(pixels.shape, np.float16), np.zeros(len(pixels))
        for row, whole in enumerate(pixels):
            if ctx is not None and ctx.stop_requested():
                raise Interrupted("stopped while noise was taken off. Run the same command again to start over.")
            image = whole.astype(np.float64)
            clean = denoised(image, colour * fine_noise(image))
            smooth[row], deviations[row] = clean, spread((image - clean).mean(0))
        return cls(pixels, smooth, deviations)

    @property
    def noise(self) -> Iterator[Real]:
        """What came off each image, mean of its channels [H,W]."""
        return ((image - smooth.astype(np.float64)).mean(0) for image, smooth in zip(self.pixels, self.smooth, strict=True))
