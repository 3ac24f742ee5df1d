"""LPIPS, the learned perceptual distance (Zhang et al. 2018, version 0.1), on trunks from the table of weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from .weights import TRUNKS, load

Net = Literal["alex", "squeeze", "vgg"]
MIN_SIDE = 32
"""Smallest image side in pixels that all trunks take."""


class Lpips(nn.Module):
    """Distance of images by what a network sees, with the linear heads of the `lpips` package. Frozen, in eval mode.

    d(a, b) = sum over taps of the mean over positions of w . (f_a / |f_a| - f_b / |f_b|)^2, f the channels of a tap. Inputs
    are NCHW on [-1, 1] by convention, which is not enforced; one channel stands for three equal ones. Differentiable in both.
    """

    def __init__(self, net: str, trunk: Mapping[str, Tensor]) -> None:
        """`trunk` holds the torchvision names `features.*` of the net's trunk."""
        super().__init__()
        import lpips

        with warnings.catch_warnings(), torch.device("meta"):  # meta: no random trunk is drawn, no global generator moves
            warnings.simplefilter("ignore")  # the package calls torchvision by a deprecated keyword
            package = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, use_dropout=False, verbose=False)
        self.net = net
        self.scaling = lpips.lpips.ScalingLayer()
        self.slices = nn.ModuleList(package.net.children())
        self.heads = package.lins
        heads = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu", weights_only=True)
        for index, head in enumerate(self.heads):
            head.load_state_dict({"model.0.weight": heads[f"lin{index}.model.1.weight"]}, assign=True)
        for part in self.slices:
            # the package cuts the trunk into slices but keeps torchvision's numbers
            part.load_state_dict({name: trunk[f"features.{name}"] for name in part.state_dict()}, assign=True)
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, net: str, device: torch.device | str = "cpu") -> Self:
        """With its pretrained trunk: 'alex', 'squeeze' or 'vgg'.

        Raises EnvironmentProblem where its weights cannot be had, ValueError for another net.
        """
        if net not in TRUNKS:
            raise ValueError(f"LPIPS knows {', '.join(TRUNKS)}, not '{net}'")
        return cls(net, load(TRUNKS[net])).to(device)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances [N] of images [N,C,H,W]; either may be a single one [1,C,H,W] that all others are compared with."""
        return self.distance(self.features(a), self.features(b))

    def features(self, images: Tensor) -> list[Tensor]:
        """The taps [N,c,h,w] of images [N,C,H,W], each position scaled to unit length over channels."""
        x = self.scaling(images.expand(-1, 3, -1, -1))
        taps = []
        for part in self.slices:
            x = part(x)
            # vector_norm has the gradient 0 at a position where no channel is active; sqrt(sum) would give NaN
            taps.append(x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10))
        return taps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distances [N] from features, so that those of a reference are computed once."""
        parts = [head((x - y).square()).mean((1, 2, 3)) for head, x, y in zip(self.heads, a, b, strict=True)]
        return cast(Tensor, sum(parts))
