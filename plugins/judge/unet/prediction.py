"""Masks from images."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fabloom.kinds import LazyArray
from fabloom.plugins.blocks.grey import GreyMap

from .networks import logits

PIXELS = 2**22
"""Most pixels that are predicted at once, 1 GiB of activations: 256 images of 128 x 128, four of 1024 x 1024."""


def logit_maps(
    net: nn.Module, images: NDArray[np.uint8] | LazyArray, grey: GreyMap, depth: int, device: torch.device, *, batch: int
) -> Iterator[NDArray[np.float32]]:
    """Logits [B,H,W] of uint8 images [N,C,H,W], at most `batch` images and `PIXELS` at once. `net` is in evaluation mode."""
    at_once = max(1, min(batch, PIXELS // (images.shape[-2] * images.shape[-1])))
    for start in range(0, len(images), at_once):
        with torch.inference_mode():
            x = grey.forward(np.asarray(images[start : start + at_once])).to(device)
            found: NDArray[np.float32] = logits(net, x, depth).cpu().numpy()
        yield found


def predict(
    net: nn.Module, images: NDArray[np.uint8] | LazyArray, grey: GreyMap, depth: int, device: torch.device, *, threshold: float, batch: int
) -> NDArray[np.bool_]:
    """Predicted masks [N,H,W]: where the probability is above `threshold`."""
    return np.concatenate([part > logit(threshold) for part in logit_maps(net, images, grey, depth, device, batch=batch)])


def logit(probability: float) -> float:
    """The logit of a probability between 0 and 1."""
    return math.log(probability / (1 - probability))
