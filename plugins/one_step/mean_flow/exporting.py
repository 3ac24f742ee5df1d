"""The average velocity as a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.codec import Codec, Decoder
from fabloom.plugins.blocks.denoisers import load
from fabloom.plugins.blocks.generated import shape_of
from fabloom.plugins.blocks.graphs import example, traceable

from .networks import ROLE, velocity


class OneStep(nn.Module):
    """Noise to image, as a function of tensors alone."""

    def __init__(self, unet: nn.Module, model: Model) -> None:
        super().__init__()
        self.unet, self.time_unit = unet, float(model.config["time_unit"])
        codec = Codec.inside(model, torch.device("cpu"))
        self.decoder = nn.Identity() if codec is None else Decoder(codec)

    def forward(self, noise: Tensor) -> Tensor:
        """Noise [B,C,H,W], or of latents, to images [B,C,H,W]: e - u(e, 0, 1), decoded."""
        start = torch.zeros_like(noise[:, 0, 0, 0])
        image: Tensor = self.decoder(noise - velocity(self.unet, self.time_unit)(noise, start, start + 1))
        return image


def networks(model: Model) -> dict[str, Network]:
    """`one-step`: noise to image."""
    config = model.config
    meaning = {
        "noise": "standard normal values",
        "image": "grey levels [low, high] of the config's `grey` are [-1, 1]; not clipped",
    }
    one_step = traceable(OneStep(load(model, ROLE, torch.device("cpu")), model)).eval()
    return {"one-step": Network(one_step, {"noise": example(2, *shape_of(config))}, ("image",), meaning=meaning)}
