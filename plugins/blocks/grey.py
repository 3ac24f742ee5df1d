"""Grey levels to network values and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class GreyMap:
    """A linear map of grey levels [low, high] (0..255) to [-1, 1]. Stored in a model's config as its two numbers.

    An inspection image may span 27 of 256 levels; without stretching, a diffusion model spends its capacity on nothing.
    """

    low: float
    high: float

    @classmethod
    def fit(cls, images: NDArray[np.uint8], margin: float = 0.05) -> GreyMap:
        """The range of a uint8 set, widened by `margin` of its span on both sides and clipped to 0..255; never empty."""
        low, high = float(images.min()), float(images.max())
        span = max(high - low, 1.0)
        return cls(max(low - margin * span, 0.0), min(high + margin * span, 255.0))

    def forward(self, images: NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """uint8 [..] to float32 in [-1, 1]."""
        pixels = torch.as_tensor(images).float()
        return (pixels - self.low) * (2.0 / (self.high - self.low)) - 1.0

    @property
    def half(self) -> float:
        """Grey levels of one unit."""
        return (self.high - self.low) / 2

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        """float in [-1, 1] to uint8, clipped and rounded."""
        levels = (values.float() + 1.0) * ((self.high - self.low) / 2.0) + self.low
        return levels.round().clamp(0, 255).to(torch.uint8)
