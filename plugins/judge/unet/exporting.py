"""Segmenters as graphs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.graphs import example, traceable

from .networks import load, logits

MEANING = {
    "x": "image of the training size; grey levels [low, high] of the config's `grey` are [-1, 1]",
    "logits": "logit of a defect at every pixel; its probability is 1 / (1 + exp(-logit))",
}


class Segmenter(nn.Module):
    """One trained network with its padding."""

    def __init__(self, net: nn.Module, depth: int) -> None:
        super().__init__()
        self.net, self.depth = net, depth

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] to logits [B,H,W]."""
        return logits(self.net, x, self.depth)


def networks(model: Model) -> dict[str, Network]:
    """`segmenter-0`, `segmenter-1`, ...: one for each training that the model keeps."""
    config = model.config
    found = {}
    for number, net in enumerate(load(model, torch.device("cpu"))):
        plain = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        segmenter = traceable(Segmenter(plain, config["depth"]))
        found[f"segmenter-{number}"] = Network(segmenter, {"x": example(2, *config["image"])}, ("logits",), meaning=MEANING)
    return found
