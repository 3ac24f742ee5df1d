"""The consistency function as a graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.codec import Codec, Decoder
from fabloom.plugins.blocks.denoisers import load
from fabloom.plugins.blocks.generated import shape_of
from fabloom.plugins.blocks.graphs import example, traceable
from fabloom.plugins.blocks.noise import noise_schedule

from .function import Function
from .networks import ROLE, network_of


class OneStep(nn.Module):
    """Noise to image, as a function of tensors alone."""

    def __init__(self, unet: nn.Module, model: Model) -> None:
        super().__init__()
        config = model.config
        self.unet, self.prediction = unet, config["prediction_type"]
        self.schedule = noise_schedule(config["schedule"], config["beta_start"], config["beta_end"])
        codec = Codec.inside(model, torch.device("cpu"))
        self.decoder = nn.Identity() if codec is None else Decoder(codec)

    def forward(self, noise: Tensor) -> Tensor:
        """Noise [B,C,H,W], or of latents, to images [B,C,H,W]."""
        t = torch.zeros_like(noise[:, 0, 0, 0], dtype=torch.int64) + (TIMES - 1)
        image: Tensor = self.decoder(Function(network_of(self.unet), self.schedule, self.prediction)(noise, t))
        return image


def networks(model: Model) -> dict[str, Network]:
    """`one-step`: noise to image."""
    meaning = {
        "noise": "standard normal values",
        "image": "grey levels [low, high] of the config's `grey` are [-1, 1]; not clipped",
    }
    one_step = traceable(OneStep(load(model, ROLE, torch.device("cpu")), model)).eval()
    return {"one-step": Network(one_step, {"noise": example(2, *shape_of(model.config))}, ("image",), meaning=meaning)}
