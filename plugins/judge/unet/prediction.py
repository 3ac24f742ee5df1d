"""Masks from images."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fabloom.kinds import LazyArray
from fabloom.plugins.blocks.grey import GreyMap

from .networks import logits


@torch.no_grad()
def predict(
    net: nn.Module, images: NDArray[np.uint8] | LazyArray, grey: GreyMap, depth: int, device: torch.device, *, threshold: float, batch: int
) -> NDArray[np.bool_]:
    """Predicted masks [N,H,W] of uint8 images [N,C,H,W]: where the probability is above `threshold`. `net` is in evaluation mode."""
    level = math.log(threshold / (1 - threshold))
    parts = []
    for start in range(0, len(images), batch):
        x = grey.forward(np.asarray(images[start : start + batch])).to(device)
        parts.append((logits(net, x, depth) > level).cpu().numpy())
    return np.concatenate(parts)
