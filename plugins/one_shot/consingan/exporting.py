"""The generator of ConSinGAN as a graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.noise_graph import noise_graph, split
from fabloom.plugins.blocks.pyramid import Size

from .growing import Growing
from .sampling import load, trained_sizes


class Generator(nn.Module):
    """All stages: noise [B,n] to images [B,C,h,w]. Of a generator that alters images, the noise of the first stage is one."""

    def __init__(self, net: Growing, sizes: Sequence[Size]) -> None:
        super().__init__()
        self.net, self.sizes = net, sizes
        self.shapes = [net.noise_shape(stage, size) for stage, size in enumerate(sizes)]

    def forward(self, noise: Tensor) -> Tensor:
        """One sample for each row."""
        made: Tensor = self.net(self.sizes, split(noise, self.shapes))
        return made


def networks(model: Model) -> dict[str, Network]:
    """`generator`: noise to images."""
    generator = Generator(load(model, torch.device("cpu")), trained_sizes(model))
    return noise_graph(generator, generator.shapes)
