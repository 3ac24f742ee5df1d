"""The U-Net that knows two times, and can be differentiated forwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .flow import Network

ROLE = "mean-flow"


class ContiguousNorm(nn.GroupNorm):
    """A group norm whose forward-mode derivative does not depend on how its input lies in memory; that of the plain one fails."""

    def forward(self, input: Tensor) -> Tensor:
        """[B,C,H,W] to [B,C,H,W]."""
        return super().forward(input.clone(memory_format=torch.contiguous_format))


def forward_differentiable(unet: nn.Module) -> None:
    """Exchange the group norms, in place; weights and names stay."""
    for module in list(unet.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.GroupNorm:
                norm = ContiguousNorm(child.num_groups, child.num_channels, child.eps)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)


def velocity(unet: nn.Module, time_unit: float) -> Network:
    """u(z, r, t) [B,C,H,W]: the U-Net is told t and t - r, both times `time_unit`."""

    def network(z: Tensor, r: Tensor, t: Tensor) -> Tensor:
        out: Tensor = unet(z, time_unit * t, class_labels=time_unit * (t - r)).sample
        return out

    return network
