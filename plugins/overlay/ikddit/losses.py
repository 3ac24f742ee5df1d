"""The terms of L = L_DSM + lambda1 L_MAE + lambda2 L_D (IKDDiT, equation 8), and of what is learned beside it.

L_DSM is the weighted squared error of the clean map on the patches that are seen, L_MAE the mean absolute error on those that are masked,
to clean values (the published text reads MAE both as masked autoencoder, MaskDiT 2306.09305, and as mean absolute error: this is both).
All are means over pixels where the map is valid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .network import patches

LOWEST, HIGHEST = -6.0, 3.0
"""Bounds of the log of a spread."""


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of values over the places where `where` is 1, of the same shape; 0 where there is none."""
    return (values * where).sum() / where.sum().clamp(min=1)


def seen_and_masked(x0: Tensor, target: Tensor, valid: Tensor, seen: Tensor, weight: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """(L_DSM, L_MAE) of x0 and target [B,2,H,W], valid [B,1,H,W], seen [B,N] (bool) and a weight [B] of each map's squared error."""
    error = patches((x0 - target).float(), patch)
    inside = patches(valid.expand_as(target), patch)
    here = seen[..., None].to(error.dtype) * inside
    there = (~seen)[..., None].to(error.dtype) * inside
    return masked_mean(weight[:, None, None] * error.square(), here), masked_mean(error.abs(), there)


def spread_loss(x0: Tensor, spread: Tensor, target: Tensor, valid: Tensor, rows: Tensor) -> Tensor:
    """Mean of |x0 - x0_hat| / b + log b over some `rows` [B]: a Laplace distribution's likelihood about x0_hat, which it does not move."""
    log_b = spread.float().clamp(LOWEST, HIGHEST)
    error = (x0.detach() - target).float().abs()
    return masked_mean(error * torch.exp(-log_b) + log_b, valid.expand_as(target) * rows[:, None, None, None])
