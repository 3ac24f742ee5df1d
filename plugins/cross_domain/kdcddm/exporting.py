"""The student as one graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.codec import Codec, Decoder
from fabloom.plugins.blocks.denoisers import load
from fabloom.plugins.blocks.domains.given import Given
from fabloom.plugins.blocks.domains.translator import CLEAN
from fabloom.plugins.blocks.graphs import example, traceable

from .networks import ROLE, changed

CPU = torch.device("cpu")


class Detector(nn.Module):
    """Image to clean estimate and difference, encoder and decoder of a codec inside."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: nn.Module, fold: int, codec: Codec | None, given: Given) -> None:
        super().__init__()
        self.net, self.fold, self.given = net, fold, given
        self.decoder = None if codec is None else Decoder(codec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B,C,H,W] to (clean [B,C,H,W], difference [B,H,W])."""
        if self.decoder is None:
            z = pixel_unshuffle(x, self.fold)
        else:
            z = (self.decoder.vae.encode(x).latent_dist.mean - self.decoder.mean) / self.decoder.deviation
        target = torch.full((z.shape[0],), CLEAN, device=z.device)
        y = changed(self.net, z, target, self.given)
        clean = (pixel_shuffle(y, self.fold) if self.decoder is None else self.decoder(y)).clamp(-1, 1)
        return clean, self.given.mean((x - clean).abs())


def networks(model: Model) -> dict[str, Network]:
    """`detector`."""
    detector = Detector(load(model, ROLE, CPU), model.config["fold"], Codec.inside(model, CPU), Given.of(model))
    meaning = {
        "x": "image; grey levels [low, high] of the config's `grey` are [-1, 1]",
        "clean": "the image as it would be without a defect",
        "difference": "absolute difference, before smoothing",
    }
    inputs = {"x": example(2, *model.config["image"])}
    return {"detector": Network(traceable(detector).eval(), inputs, ("clean", "difference"), meaning=meaning)}
