"""Making a network ready to be traced into a graph (`Method.networks`): nothing may depend on the number of images."""

from __future__ import annotations

from typing import TypeVar

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn.utils import parametrize

M = TypeVar("M", bound=nn.Module)


class Doubling(nn.Module):
    """diffusers' `Upsample2D` as the U-Nets here use it, without its branches on the number of images and of values.

    They only guard against a fault of old kernels, and would fix a graph to fewer than 64 images.
    """

    def __init__(self, conv: nn.Module | None) -> None:
        super().__init__()
        self.conv = nn.Identity() if conv is None else conv

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """[B,C,h,w] to [B,C,2h,2w], or to the height and width of `output_size`."""
        scale = 2.0 if output_size is None else None
        out: Tensor = self.conv(nn.functional.interpolate(x, size=output_size, scale_factor=scale, mode="nearest"))
        return out


def traceable(module: M) -> M:
    """The module itself, on the CPU in evaluation mode, its spectral norms and LoRA worked into plain weights. Values stay the same."""
    module.cpu().eval().requires_grad_(False)
    for part in list(module.modules()):
        for name in list(getattr(part, "parametrizations", {})):
            value = getattr(part, name).detach().clone()
            # not left parametrised: that would write into the original, which another part may share
            parametrize.remove_parametrizations(part, name, leave_parametrized=False)
            setattr(part, name, nn.Parameter(value, requires_grad=False))
        for name, child in list(part.named_children()):
            if isinstance(child, Upsample2D) and child.interpolate and child.norm is None and not child.use_conv_transpose:
                setattr(part, name, Doubling((child.conv if child.name == "conv" else child.Conv2d_0) if child.use_conv else None))
    return module.eval().requires_grad_(False)


def example(*shape: int) -> Tensor:
    """Standard normal values of this shape, always the same: an example input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
