"""The losses of a Wasserstein critic with gradient penalty (Gulrajani et al. 2017), as single-image generators take them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

Critic = Callable[[Tensor], Tensor]
"""Images [B,C,H,W] to scores [B,1,h,w], one for each patch that it sees."""


def gradient_penalty(critic: Critic, points: Tensor) -> Tensor:
    """Mean over pixels of (|g_p| - 1)^2, g_p [C] the gradient of the sum of all scores by the pixel p of images [B,C,H,W].

    The length is taken over the channels of a pixel, as in SinGAN's code, not over the image: its weight of 0.1 belongs to that.
    """
    at = points.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    lengths: Tensor = gradient.norm(dim=1)
    return (lengths - 1).square().mean()


def critic_loss(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    """Mean score of generated images less that of real ones."""
    return critic(fake).mean() - critic(real).mean()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Where the penalty is asked: share * real + (1 - share) * fake, one share for all images."""
    return share * real + (1 - share) * fake


def generator_loss(critic: Critic, fake: Tensor, rebuilt: Tensor, real: Tensor, weight: float) -> Tensor:
    """Mean score of generated images, negative, and `weight` times the mean squared error of the one that shall be the image."""
    return -critic(fake).mean() + weight * mse_loss(rebuilt, real)
