"""The pretrained U-Net inside Rin and R: where it comes from, what of it is trained, LoRA on its attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn.utils import parametrize

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The Linear layers of a diffusers attention block that LoRA adapts."""


class LowRank(nn.Module):
    """LoRA (Hu et al. 2021) as a parametrisation: W + (alpha / r) B A. B is zero at first, so W is unchanged."""

    def __init__(self, outside: int, inside: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, inside))
        self.b = nn.Parameter(torch.zeros(outside, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight [outside, inside]."""
        return weight + self.scale * (self.b @ self.a)


def backbone(config: dict[str, Any], *, keep_conv_in: bool) -> UNet2DModel:
    """A U-Net without its last convolution: it gives SiLU(GroupNorm(.)) features of `block_out_channels[0]` channels.

    Without `keep_conv_in` it takes features of that width instead of pixels.
    """
    unet = UNet2DModel.from_config(config)
    unet.conv_out = nn.Identity()
    if not keep_conv_in:
        unet.conv_in = nn.Identity()
    return unet


def attention_layers(unet: nn.Module) -> Iterator[nn.Linear]:
    """The Linear layers that LoRA adapts, 24 in the CIFAR-10 DDPM."""
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(ATTENTION):
            yield module


def freeze(unet: nn.Module, rank: int, alpha: float, train_backbone: bool) -> None:
    """Freeze all but time embedding, group norms and `conv_in`, and add LoRA; or leave everything trainable."""
    if train_backbone:
        return
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(name.startswith(("time_embedding.", "conv_in.")))
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.requires_grad_(True)
    for layer in list(attention_layers(unet)):
        # unsafe: the check would run the layer, which the meta device cannot
        parametrize.register_parametrization(layer, "weight", LowRank(layer.out_features, layer.in_features, rank, alpha), unsafe=True)


def load_backbone(unet: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy base weights into a backbone that may already carry LoRA. Raises KeyError for a tensor that is missing."""
    own = unet.state_dict()
    for name, value in own.items():
        source = name.replace(".parametrizations.weight.original", ".weight")
        if ".parametrizations.weight.0." not in name:
            value.copy_(state[source])


def share_frozen(first: nn.Module, second: nn.Module) -> int:
    """Let `second` use the frozen tensors of `first`: the two copies of the base never differ. Returns how many."""
    theirs = dict(first.named_parameters())
    shared = 0
    for module_name, module in second.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            other = theirs.get(f"{module_name}.{name}" if module_name else name)
            if other is not None and not parameter.requires_grad and not other.requires_grad:
                setattr(module, name, other)
                shared += 1
    return shared
