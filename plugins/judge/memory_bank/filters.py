"""A trunk that needs no weights: Gaussian derivatives of grey up to the second order at two scales (Freeman & Adelson 1991).

Their six responses at a scale are a basis of all the steerable filters of first and second order: edges and lines of any direction are
sums of them, and the local grey level is one of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

SCALES = (1.0, 2.0)
"""Deviations in pixels."""
REACH = 3
"""Deviations after which a Gaussian is cut."""
ORDERS = ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
"""Orders of the derivative, down and right."""
STRIDE = 2


class Filters(torch.nn.Module):
    """Images [B,C,H,W] to one layer [B,12C,H/2,W/2], cell i at pixel 2i; derivatives in units of their scale."""

    stride, unit = STRIDE, STRIDE

    def __init__(self, channels: int) -> None:
        super().__init__()
        for number, sigma in enumerate(SCALES):
            self.register_buffer(f"taps_{number}", kernels(sigma))
        self.channels = channels

    def forward(self, x: Tensor) -> list[tuple[Tensor, float, float]]:
        """Layers, each with the stride of its cells and the pixel of the first: here one."""
        plane = x.flatten(0, 1)[:, None]
        parts = []
        for number in range(len(SCALES)):
            taps: Tensor = getattr(self, f"taps_{number}")
            half = taps.shape[-1] // 2
            down = conv2d(plane, taps[:, None, :, None], padding=(half, 0), stride=(STRIDE, 1))  # [BC,3,H/2,W]
            across = [conv2d(down[:, y : y + 1], taps[x : x + 1, None, None], padding=(0, half), stride=(1, STRIDE)) for y, x in ORDERS]
            parts.append(torch.cat(across, 1))
        both = torch.cat(parts, 1)
        return [(both.reshape(len(x), -1, *both.shape[-2:]), float(STRIDE), 0.0)]


def kernels(sigma: float) -> Tensor:
    """A Gaussian of sum 1 and its first and second derivative times the scale and its square [3,K]; the derivatives sum to 0."""
    at = torch.arange(-int(REACH * sigma + 0.5), int(REACH * sigma + 0.5) + 1, dtype=torch.float64)
    bell = torch.exp(-(at**2) / (2 * sigma**2))
    bell = bell / bell.sum()
    first, second = -at / sigma * bell, (at**2 / sigma**2 - 1) * bell
    return torch.stack([bell, first, second - second.mean()]).float()
