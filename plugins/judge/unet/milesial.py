"""The U-Net that SinSEMI's segmenter uses (the "milesial" kind, bilinear): 17,261,825 parameters for one channel."""

from __future__ import annotations

from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the encoder; with transposed convolutions the last would be 1024, bilinear enlargement halves it."""


def twice(channels: int, middle: int, out: int) -> nn.Sequential:
    """(3x3 convolution without bias, batch norm, ReLU) twice."""
    pairs = ((channels, middle), (middle, out))
    layers = ((nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)) for a, b in pairs)
    return nn.Sequential(*chain.from_iterable(layers))


class Up(nn.Module):
    """Bilinear x2, padded to the skip, concatenated behind it, and convolved through half of the joined width.

    `exact` says that images are multiples of what the encoder halves, so that there is nothing to pad: graphs cannot ask.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.convolve = twice(channels, channels // 2, out)
        self.exact = False

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x [B,C,h,w] and skip [B,D,H,W] with H-2h and W-2w in {0,1}; gives [B,out,H,W]."""
        large = self.enlarge(x)
        if not self.exact:
            rows, columns = (skip.shape[axis] - large.shape[axis] for axis in (-2, -1))
            large = pad(large, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        joined: Tensor = self.convolve(torch.cat([skip, large], 1))
        return joined


class Milesial(nn.Module):
    """Encoder 64-128-256-512-512 with max-pooling, decoder 256-128-64-64, one logit a pixel and output. Any size from 16 x 16."""

    def __init__(self, in_channels: int, outputs: int = 1) -> None:
        super().__init__()
        self.first = twice(in_channels, WIDTHS[0], WIDTHS[0])
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), twice(a, b, b)) for a, b in pairwise(WIDTHS))
        outs = (256, 128, 64, 64)
        joined = (skip + below for skip, below in zip(WIDTHS[-2::-1], (WIDTHS[-1], *outs), strict=False))
        self.up = nn.ModuleList(Up(channels, out) for channels, out in zip(joined, outs, strict=True))
        self.head = nn.Conv2d(WIDTHS[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B,outputs,H,W] of x [B,C,H,W]."""
        skips = [self.first(x)]
        for stage in self.down:
            skips.append(stage(skips[-1]))
        out = skips.pop()
        for stage in self.up:
            out = stage(out, skips.pop())
        logits: Tensor = self.head(out)
        return logits
