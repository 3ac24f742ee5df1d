"""Random changes to a training batch, drawn from a generator on the CPU so that batches are the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from .params import Augment


def augment(images: Tensor, masks: Tensor, params: Augment, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Changed copies of images [B,C,H,W] (float, [-1,1] is the grey range) and masks [B,H,W]; geometry is shared by both."""
    joined = torch.cat([images, masks[:, None].to(images.dtype)], 1)
    for axis, wanted in ((-1, params.flip_x), (-2, params.flip_y)):
        if wanted:
            turned = torch.rand(len(joined), generator=draw) < 0.5
            joined = torch.where(turned[:, None, None, None], joined.flip(axis), joined)
    if params.shift:
        joined = shifted(joined, params.shift, draw)
    pixels, moved = joined[:, :-1], joined[:, -1].to(masks.dtype)
    if params.gain or params.offset:
        gain, offset = (2 * torch.rand(2, len(pixels), 1, 1, 1, generator=draw) - 1).unbind()
        pixels = pixels * (1 + params.gain * gain) + params.offset * offset
    if params.noise:
        deviation = params.noise * torch.rand(len(pixels), 1, 1, 1, generator=draw)
        pixels = pixels + deviation * torch.randn(pixels.shape, generator=draw)
    return pixels, moved


def shifted(values: Tensor, reach: int, draw: torch.Generator) -> Tensor:
    """Each of values [B,C,H,W] moved by its own whole numbers of pixels in [-reach, reach]; what comes in mirrors the border."""
    count, _, height, width = values.shape
    moves = torch.randint(-reach, reach + 1, (2, count, 1), generator=draw)
    rows, columns = (mirrored(torch.arange(size) + move, size) for size, move in zip((height, width), moves, strict=True))
    values = values.gather(2, rows[:, None, :, None].expand_as(values))
    return values.gather(3, columns[:, None, None, :].expand_as(values))


def mirrored(index: Tensor, size: int) -> Tensor:
    """Indices beyond 0..size-1 reflected back into it, the border pixel not repeated; within one image size."""
    last = size - 1
    return last - (last - index.abs()).abs()
