"""Altered training images, which a generator that harmonises or edits starts from instead of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Alter: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""(image [1,C,h,w] in -1..1, stream) to another of that shape."""
GAIN, OFFSET, GRAIN = 0.5, 0.5, 0.2
"""Most that contrast changes as a factor, grey levels by addition, and the deviation of noise, in units of -1..1."""
PATCHES = 4
"""Most pieces that are put elsewhere."""
SMALLEST, LARGEST = 1 / 8, 1 / 3
"""Sides of a piece over those of the image."""


def recoloured(image: Tensor, draw: torch.Generator) -> Tensor:
    """Other contrast, other grey levels, noise: each with even chances."""
    contrast, level, grain = torch.rand(3, generator=draw) < 0.5
    gain, offset, spread = ((2 * torch.rand(3, generator=draw) - 1) * torch.tensor([GAIN, OFFSET, GRAIN])).tolist()
    made = image * (1 + gain) if contrast else image
    made = made + offset if level else made
    return made + abs(spread) * torch.randn(image.shape, generator=draw).to(image) if grain else made


def shuffled(image: Tensor, draw: torch.Generator) -> Tensor:
    """One to four rectangles of it put elsewhere."""
    made, (height, width) = image.clone(), image.shape[2:]
    for _ in range(int(torch.randint(1, PATCHES + 1, (), generator=draw))):
        shares = SMALLEST + (LARGEST - SMALLEST) * torch.rand(2, generator=draw)
        h, w = max(int(shares[0] * height), 1), max(int(shares[1] * width), 1)
        (top, to), (left, across) = (
            torch.randint(side - piece + 1, (2,), generator=draw).tolist() for side, piece in ((height, h), (width, w))
        )
        made[:, :, to : to + h, across : across + w] = image[:, :, top : top + h, left : left + w]
    return made


ALTERED: Mapping[str, Alter] = {"harmonise": recoloured, "edit": shuffled}
"""What a generator of each goal is trained on; one that generates is on noise."""
