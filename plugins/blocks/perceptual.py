"""LPIPS (Zhang et al. 2018), version 0.1, with trunks from the table of weights and the heads of the `lpips` package."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from . import weights as table

Net = Literal["alex", "squeeze", "vgg"]
TRUNKS = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}


class Lpips(nn.Module):
    """LPIPS of images [N,C,H,W] on [-1, 1] (not clamped), C 1 or 3, differentiable in both; frozen."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        from lpips import LPIPS

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the package asks torchvision for an empty trunk in its old way
            self.distance = LPIPS(net=net, pnet_rand=True, verbose=False)
        state = table.load(TRUNKS[net])
        trunk = self.distance.net
        # the package cuts the trunk into slices but keeps torchvision's numbers: slice2.3.weight is features.3.weight
        trunk.load_state_dict({name: state[f"features.{name.partition('.')[2]}"] for name in trunk.state_dict()})
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, net: Net, device: torch.device) -> Lpips:
        """On a device. Raises EnvironmentProblem where the trunk's weights are missing."""
        return cls(net).to(device)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N]; one of the two may be a single image."""
        a, b = (images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images for images in (a, b))
        count = max(len(a), len(b))
        out: Tensor = self.distance(a.expand(count, -1, -1, -1), b.expand(count, -1, -1, -1))
        return out.flatten()
