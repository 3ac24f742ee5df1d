"""LPIPS energy guidance: each step also moves towards what looks like the reference (SinSEMI section on energy guidance)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fabloom.plugins.blocks.streams import stream

from .bridge import Bridge
from .levels import Levels
from .params import Guidance


@dataclass(frozen=True)
class Guide:
    """The energy LPIPS(reference, sample) and its direction. `bridge` noises the reference as the sampler's path does."""

    params: Guidance
    lpips: nn.Module
    reference: Levels
    bridge: Bridge
    seed: int

    def nudge(self, x: Tensor, clean: Tensor, move: Tensor, t: float, scale: int, step: int) -> Tensor:
        """What to add to the step `move` [B,C,h,w] from the state `x`, whose clean image is thought to be `clean`.

        -strength * gradient, with the gradient's norm made that of the move, so that strength 1 goes as far as the step itself.
        The gradient is that of the energy with respect to the compared image; it does not run through the network.
        """
        if t > self.params.until:
            return torch.zeros_like(x)
        compared, goal = (x, self.noised(t, scale, step)) if self.params.on == "state" else (clean, self.reference.images[scale])
        with torch.enable_grad():
            point = compared.detach().requires_grad_()
            energy = self.lpips(goal.to(point), point).sum()
            (gradient,) = torch.autograd.grad(energy, point)
        sizes, lengths = (values.flatten(1).norm(dim=1) for values in (gradient, move))
        if self.params.normalise == "batch":
            sizes, lengths = sizes.mean().expand_as(sizes), lengths.mean().expand_as(lengths)
        factor = self.params.strength * lengths / (sizes + 1e-8)
        pull: Tensor = -factor[:, None, None, None] * gradient
        return pull

    def noised(self, t: float, scale: int, step: int) -> Tensor:
        """The reference [1,C,h,w] on the path at time t, with noise of its own at every step, shared by all samples."""
        x0, x1 = self.reference.images[scale], self.reference.recons[scale]
        draw = stream(self.seed, f"reference/{scale}/{step}")
        if x1 is None:
            ends = stream(self.seed, "reference/end") if self.params.coarse_reference == "frozen" else draw
            x1 = torch.randn(x0.shape, generator=ends)
        return self.bridge.point(x0, x1, torch.tensor(t), torch.randn(x0.shape, generator=draw))
