"""The noise that a network which predicts a mean leaves out: as much of it anew as its images lack power, frequency by frequency.

For the best prediction of a mean, what is missed has nothing to do with what is predicted, and its power is what the prediction lacks. A
worse one also has power of its own in place of what it missed; what it lacks is less than what it missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Leftover:
    """Stationary Gaussian noise of images [C,H,W]: `filters` [H,W,C,C] complex, what each frequency of white noise is multiplied by."""

    filters: NDArray[np.complex128]

    @classmethod
    def of(cls, wanted: Real, found: Real) -> Leftover:
        """The noise that brings images `found` [K,C,H,W] to the power of those `wanted`, about the mean image of each; none where they have
        enough.
        """
        sizes, turns = np.linalg.eigh(power(wanted) - power(found))
        return cls((turns * np.sqrt(np.maximum(sizes, 0))[..., None, :]) @ turns.conj().swapaxes(2, 3))

    def draw(self, source: np.random.Generator) -> Real:
        """Fresh noise [C,H,W]."""
        height, width, channels, _ = self.filters.shape
        white = fft.fft2(source.standard_normal((channels, height, width)))
        noise: Real = fft.ifft2(np.einsum("hwcd,dhw->chw", self.filters, white)).real
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """What a model keeps of it."""
        return {"filters": torch.view_as_real(torch.from_numpy(self.filters)).float()}

    @classmethod
    def kept(cls, tensors: dict[str, Tensor]) -> Leftover:
        """The inverse of `tensors`."""
        return cls(torch.view_as_complex(tensors["filters"].double().contiguous()).numpy())


def power(images: Real) -> NDArray[np.complex128]:
    """Power of images [K,C,H,W] about their mean image, for every frequency that of the channels and of what they share [H,W,C,C]; white
    noise has its variance everywhere.

    Under a Hann window (Welch 1967): what goes on beyond an image's edge would else leak from the lowest frequencies into all others.
    """
    height, width = images.shape[-2:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    seen = fft.fft2((images - images.mean(0)) * window).transpose(2, 3, 1, 0)
    shared: NDArray[np.complex128] = seen @ seen.conj().swapaxes(2, 3) / (seen.shape[3] * np.square(window).sum())
    return shared
