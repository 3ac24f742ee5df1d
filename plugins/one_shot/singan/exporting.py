"""The generators of SinGAN as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.noise_graph import noise_graph, split
from fabloom.plugins.blocks.pyramid import Size

from .chain import Chain, grown
from .sampling import Trained


class Generator(nn.Module):
    """All scales in turn: noise [B,n] to images [B,C,h,w].

    The way from one size to the next is linear along either axis, and so a product with a fixed matrix: ONNX knows no kernel that is
    the same to the last pixel at the borders.
    """

    def __init__(self, chain: Chain, sizes: Sequence[Size]) -> None:
        super().__init__()
        self.chain = chain
        self.shapes = [(chain.noise_channels(scale), *size) for scale, size in enumerate(sizes)]
        for scale, (before, after) in enumerate(pairwise(sizes), 1):
            for axis in (0, 1):
                self.register_buffer(f"lift_{scale}_{axis}", lift(before[axis], after[axis]))

    def forward(self, noise: Tensor) -> Tensor:
        """One sample for each row."""
        coarsest, *finer = split(noise, self.shapes)
        base = torch.zeros_like(coarsest).expand(-1, int(self.chain.shape["channels"]), -1, -1)
        image = self.chain.at(0, base, coarsest)
        for scale, one in enumerate(finer, 1):
            down, across = (self.get_buffer(f"lift_{scale}_{axis}") for axis in (0, 1))
            image = self.chain.at(scale, down @ image @ across.T, one)
        return image


def lift(before: int, after: int) -> Tensor:
    """The matrix [after,before] that resizes one axis."""
    return grown(torch.eye(before)[None, None], (after, before))[0, 0]


def networks(model: Model) -> dict[str, Network]:
    """`generator`: noise to images."""
    trained = Trained.load(model, torch.device("cpu"))
    generator = Generator(trained.chain, trained.sizes)
    return noise_graph(generator, generator.shapes)
