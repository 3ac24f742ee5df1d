"""Segmenters as graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.graphs import example, traceable

from .calibration import PLAIN
from .milesial import Up
from .networks import class_names, load, outputs, probabilities
from .params import MIN_AREA

MEANING = {
    "x": "image of the training size; grey levels [low, high] of the config's `grey` are [-1, 1]",
    "logits": "logit of a defect at every pixel; its probability is 1 / (1 + exp(-logit))",
}
CLASS_MEANING = {**MEANING, "logits": "logits of clean and of each class at every pixel; their softmax over axis 1 are probabilities"}


class Segmenter(nn.Module):
    """One trained network with its padding."""

    def __init__(self, net: nn.Module, depth: int) -> None:
        super().__init__()
        self.net, self.depth = net, depth

    def forward(self, x: Tensor) -> Tensor:
        """x [B,C,H,W] to logits [B,H,W], [B,1+K,H,W] of several classes."""
        out = outputs(self.net, x, self.depth)
        return out[:, 0] if out.shape[1] == 1 else out


class Complete(nn.Module):
    """Everything between the pixels of a file and a mask: scaling, padding, all trainings, probabilities, threshold."""

    def __init__(self, nets: list[nn.Module], depth: int, grey: tuple[float, float], threshold: float) -> None:
        super().__init__()
        self.nets, self.depth, self.threshold = nn.ModuleList(nets), depth, threshold
        self.low, self.scale = grey[0], 2.0 / (grey[1] - grey[0])

    def repeated(self, length: int) -> Tensor:
        """Indices that pad an axis as `outputs` does, its last entry repeated. A graph follows this form for any length."""
        unit = 2**self.depth
        return torch.arange(unit * ((length + unit - 1) // unit)).clamp(max=length - 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image uint8 [B,C,H,W] to (probability float32 [B,H,W] of a defect of any class, mask uint8 [B,H,W])."""
        height, width = image.shape[-2:]
        rows, columns = (self.repeated(length) for length in (height, width))
        x = (image.index_select(2, rows).index_select(3, columns).to(torch.float32) - self.low) * self.scale - 1.0
        total = probabilities(self.nets[0](x))
        for net in self.nets[1:]:
            total = total + probabilities(net(x))
        # a slice would tie the graph to sizes that need no padding
        each = (total / len(self.nets)).index_select(2, torch.arange(height)).index_select(3, torch.arange(width))
        if each.shape[1] == 1:
            probability = each[:, 0]
            return probability, (probability > self.threshold).to(torch.uint8)
        probability = 1 - each[:, 0]
        values = each[:, 1:].argmax(1) + 1
        return probability, torch.where(probability > self.threshold, values, 0).to(torch.uint8)


def networks(model: Model) -> dict[str, Network]:
    """`segmenter-0`, `segmenter-1`, ...: one for each training that the model keeps; and `segmenter`, all of them, complete."""
    config = model.config
    several = len(class_names(config)) > 2
    found: dict[str, Network] = {}
    nets = [padded(net) for net in load(model, torch.device("cpu"))]
    for number, net in enumerate(nets):
        segmenter = Segmenter(net, config["depth"]).eval()
        meaning = CLASS_MEANING if several else MEANING
        found[f"segmenter-{number}"] = Network(segmenter, {"x": example(2, *config["image"])}, ("logits",), meaning=meaning)
    threshold = config.get("threshold", PLAIN)
    complete = Complete(nets, config["depth"], (config["grey"][0], config["grey"][1]), threshold).eval()
    channels, height, width = config["image"]
    pixels = torch.randint(256, (2, channels, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    meaning = {
        "image": "grey levels as the training images have them, 8 bits; any height and width, at the scale of the training",
        "probability": "of a defect of any class, at every pixel",
        "mask": f"0 where the probability is at most {threshold:g}, else the class by its number; defects of few pixels are left in",
    }
    found["segmenter"] = Network(complete, {"image": pixels}, ("probability", "mask"), axes, meaning, card(model))
    return found


def padded(net: nn.Module) -> nn.Module:
    """A network that is traced behind the padding of `outputs`."""
    for part in net.modules():
        if isinstance(part, Up):
            part.exact = True
    plain: nn.Module = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return traceable(plain)


def card(model: Model) -> dict[str, Any]:
    """What one should know of a model before trusting it."""
    config = model.config
    return {
        "classes": class_names(config),
        "threshold": config.get("threshold", PLAIN),
        "threshold_choice": config.get("threshold_choice", {"chosen": False, "why": "trained before thresholds were chosen"}),
        "min_area": MIN_AREA,
        "channels": config["image"][0],
        "trained_at": {"height": config["image"][1], "width": config["image"][2]},
        "grey": config["grey"],
        "trainings": config["repeats"],
        "encoder": config["encoder"],
        "images": config.get("images", {}),
    }
