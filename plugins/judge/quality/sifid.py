"""SIFID: the Frechet distance between the features of two single images (Shaham et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.inception import BasicConv2d  # type: ignore[import-untyped]

from fabloom.plugins.blocks import weights


class Stem(nn.Module):
    """Inception-v3 up to its first max-pool: images [N,C,H,W] on [-1, 1], C 1 or 3, to [N,64,h,w]. Frozen, in eval mode.

    Grey images are repeated over the three channels; nothing is resized, and ImageNet's normalisation does not belong here.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        counters = {name: value for name, value in self.state_dict().items() if name.endswith("num_batches_tracked")}
        self.load_state_dict({**counters, **state})
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """The feature map before the first max-pool."""
        x = self.Conv2d_1a_3x3(images.expand(-1, 3, -1, -1))
        features: Tensor = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(x))
        return features


def load(device: torch.device) -> tuple[str, Stem]:
    """The name of the score and its network: genuine weights where they are found, else the stem that was tuned elsewhere.

    Raises MissingWeights where neither can be had.
    """
    names = {entry: name for name, entry in weights.SIFID_STEMS.items()}
    entry, state = weights.first(names, weights.load)
    return names[entry], Stem(state).to(device)
