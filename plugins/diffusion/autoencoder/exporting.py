"""Encoder and decoder as graphs, and the whole as a folder of diffusers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network, Pretrained
from fabloom.plugins.blocks.codec import Codec, Decoder
from fabloom.plugins.blocks.graphs import example, traceable

CPU = torch.device("cpu")


class Encoder(nn.Module):
    """Images [B,C,H,W] from -1 to 1 to standardised latents."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.vae = codec.vae
        self.register_buffer("mean", codec.mean[:, None, None])
        self.register_buffer("deviation", codec.deviation[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """The mean of the posterior, standardised."""
        latent: Tensor = (self.vae.encode(image).latent_dist.mean - self.mean) / self.deviation
        return latent


def networks(model: Model) -> dict[str, Network]:
    """`encoder` and `decoder`."""
    meaning = {
        "image": "grey levels [low, high] of the config's `grey` are [-1, 1]",
        "latent": "mean 0 and deviation 1 a channel over the training images",
    }
    image, codec = tuple(model.config["image"]), Codec.of(model, CPU)
    shape = codec.shape(image)
    encoder, decoder = (traceable(part).eval() for part in (Encoder(codec), Decoder(codec)))
    return {
        "encoder": Network(encoder, {"image": example(2, *image)}, ("latent",), meaning=meaning),
        "decoder": Network(decoder, {"latent": example(2, *shape)}, ("image",), meaning=meaning),
    }


def pretrained(model: Model) -> dict[str, Pretrained]:
    """The `AutoencoderKL`, with the mean and deviation of its latents."""
    return {".": Codec.of(model, CPU).pretrained()}
