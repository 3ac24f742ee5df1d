"""An autoencoder inside another model: images to latents of mean 0 and deviation 1 a channel, and back (Rombach et al. 2022, 2112.10752).

A diffusion model takes its latents for images. The codec travels inside the model, frozen, so that a model needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import Model

from .grey import GreyMap
from .unet2d import config_of

ROLE = "autoencoder"
AT_ONCE = 64
"""Images encoded at once."""


@dataclass(frozen=True)
class Codec:
    """A network with the mean and deviation [c] of its latents over its training images, and the grey levels that it knows."""

    vae: AutoencoderKL
    mean: Tensor
    deviation: Tensor
    grey: GreyMap
    origin: str = ""

    @classmethod
    def of(cls, model: Model, device: torch.device) -> Self:
        """That of autoencoder.train. Raises DataError for a model of another method."""
        if model.config.get("role") != ROLE:
            raise DataError(f"model {model.key[:12]} is no model of autoencoder.train (role '{model.config.get('role')}')")
        return cls._read(model, model.config | {"origin": model.key}, "vae.", device)

    @classmethod
    def inside(cls, model: Model, device: torch.device) -> Self | None:
        """That which a model carries; None of one of pixels."""
        told = model.config.get("codec")
        return None if told is None else cls._read(model, told, "codec.", device)

    @classmethod
    def _read(cls, model: Model, told: dict[str, Any], prefix: str, device: torch.device) -> Self:
        vae = AutoencoderKL.from_config(told["vae"])
        vae.load_state_dict(model.state(prefix))
        vae.to(device).eval().requires_grad_(False)
        mean, deviation = (torch.tensor(told[name], device=device) for name in ("latent_mean", "latent_deviation"))
        return cls(vae, mean, deviation, GreyMap(*told["grey"]), told["origin"])

    def kept(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and config with which a model carries it: `codec.*` and `codec`."""
        told = {
            "vae": config_of(self.vae), "latent_mean": self.mean.tolist(), "latent_deviation": self.deviation.tolist(),
            "grey": [self.grey.low, self.grey.high], "origin": self.origin,
        }  # fmt: skip
        return {f"codec.{name}": value for name, value in self.vae.state_dict().items()}, {"codec": told}

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """That of the latents of images [C,H,W]. Raises DataError for images that it cannot halve, or of other channels."""
        channels, factor = self.vae.config["in_channels"], 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        if image[0] != channels:
            raise DataError(f"the autoencoder knows images of {channels} channels, these have {image[0]}")
        if image[1] % factor or image[2] % factor:
            raise DataError(f"images of {image[1]} x {image[2]} do not divide by {factor}, which the autoencoder shrinks by: crop them")
        return (self.vae.config["latent_channels"], image[1] // factor, image[2] // factor)

    @torch.no_grad()
    def encode(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """uint8 [N,C,H,W] to latents [N,c,h,w] float32 on the CPU: the mean of the posterior, standardised."""
        parts = torch.as_tensor(images).split(AT_ONCE)
        return torch.cat([self.latent(self.grey.forward(part).to(self.mean.device)).cpu() for part in parts])

    @torch.no_grad()
    def latent(self, x: Tensor) -> Tensor:
        """The same of images [N,C,H,W] that are -1 to 1 of its grey levels, where they lie."""
        found = self.vae.encode(x).latent_dist.mean
        latent: Tensor = ((found - self._wide(self.mean)) / self._wide(self.deviation)).float()
        return latent

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N,c,h,w] to images [N,C,H,W], about -1 to 1 of its grey levels, not clipped."""
        images: Tensor = Decoder(self)(latents)
        return images

    def pretrained(self) -> AutoencoderKL:
        """The network for diffusers, whose latent pipelines read mean and deviation from its config."""
        self.vae.register_to_config(latents_mean=self.mean.tolist(), latents_std=self.deviation.tolist())
        return self.vae

    @staticmethod
    def _wide(values: Tensor) -> Tensor:
        return values[:, None, None]


class Decoder(nn.Module):
    """The way back as a function of tensors alone, also for graphs: standardised latents [B,c,h,w] to images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.vae = codec.vae
        self.register_buffer("mean", codec.mean[:, None, None])
        self.register_buffer("deviation", codec.deviation[:, None, None])

    def forward(self, latent: Tensor) -> Tensor:
        """[B,C,H,W], not clipped."""
        image: Tensor = self.vae.decode(latent * self.deviation + self.mean).sample
        return image
