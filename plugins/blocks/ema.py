"""Exponential moving average of a network's weights and buffers, on torch's `AveragedModel`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def ema(net: nn.Module, decay: float = 0.999, *, warmup: bool = True) -> AveragedModel:
    """An average of `net` with warm-up: after n updates the decay is min(decay, (1 + n) / (10 + n)), or `decay` at once without.

    Call `update_parameters(net)` after every optimizer step and use `.module` for sampling. Buffers are averaged too.
    """

    def average(averaged: Any, current: Any, count: Any) -> None:
        n = int(count)
        weight = 1 - (min(decay, (1 + n) / (10 + n)) if warmup else decay)
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), weight)
            else:
                mean.copy_(value)

    with torch.no_grad():
        return AveragedModel(net, multi_avg_fn=average, use_buffers=True)
