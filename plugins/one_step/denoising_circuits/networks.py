"""The four parts of a denoising circuit: Rin (encoder), R (recurrent residual step), Rout (v head) and X0out (x_0 head).

    z^(T-1) = Rin(x_T, T-1);   z^(t-1) = GN(z^(t) + sigma_t f(z^(t), t)),  sigma_t = cap * sigmoid(w_t);   x_0 = X0out(z, 0)

GN has no weights of its own, so that z stays on the shell of mean 0 and variance 1 in every group of four channels. Where the
latent carries the pixels (a departure) these keep the scale that the noise schedule gives them instead.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from diffusers import UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pixel_unshuffle
from torch.nn.utils.parametrizations import spectral_norm

from fabloom.errors import DataError

from .backbone import backbone, freeze

TimeFeatures = Literal["ordinary", "published"]


@dataclass(frozen=True)
class CircuitConfig:
    """Everything that is needed to build a circuit again; JSON in the model's config.

    `labels` are the backbone's own time values, one for each of our labels 0..T-1. `patch` folds patch x patch pixels into
    channels before the backbone, so that latents have 1/patch of the image's resolution (1 as published).

    `carry` (a departure) puts the pixels x_t themselves into the first `pixels` channels of the latent; R can then start as a DDIM
    step of the base instead of from nothing. `turns` are the cosines that such a step scales x_t by, one for each label. A latent of
    no more channels than that is the pixels, and Rin has nothing to learn.
    """

    unet: dict[str, Any]
    labels: tuple[int, ...]
    image_channels: int
    patch: int = 1
    latent_channels: int = 128
    rin_blocks: int = 4
    step_blocks: int = 2
    head_blocks: int = 4
    head_width: int = 128
    residual_cap: float = 0.3
    carry: bool = False
    turns: tuple[float, ...] = ()
    spectral: bool = True
    time_features: TimeFeatures = "ordinary"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    train_backbone: bool = False

    @property
    def timesteps(self) -> int:
        """T."""
        return len(self.labels)

    @property
    def pixels(self) -> int:
        """Channels of the image after `patch`."""
        return self.image_channels * self.patch**2

    @property
    def carried(self) -> int:
        """Channels of the latent that are the pixels x_t; 0 without `carry`."""
        return self.pixels if self.carry else 0

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "labels": list(self.labels), "turns": list(self.turns)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CircuitConfig:
        """The inverse of `as_json`. Raises DataError for a circuit that carries pixels normed, as those of earlier versions did."""
        if values["carry"] and not values.get("turns"):
            raise DataError("this circuit carries pixels without their scale, as earlier versions of fabloom did: train it again")
        return cls(**{**values, "labels": tuple(values["labels"]), "turns": tuple(values.get("turns", ()))})


def groups(width: int) -> int:
    """Groups of four channels, at most 32, that divide `width` (128 gives 32)."""
    return math.gcd(32, max(width // 4, 1), width)


def shell(width: int) -> nn.GroupNorm:
    """The norm without weights that keeps a latent at mean 0 and variance 1 per group."""
    return nn.GroupNorm(groups(width), width, affine=False)


class Shell(nn.Module):
    """Puts a latent [B,L,h,w] where it belongs: the norm on all channels behind the carried pixels, which keep their scale."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.carried = config.carried
        self.norm = shell(config.latent_channels - self.carried) if config.latent_channels > self.carried else None

    def forward(self, z: Tensor) -> Tensor:
        """Same shape."""
        if self.norm is None:
            return z
        normed: Tensor = self.norm(z[:, self.carried :])
        return torch.cat([z[:, : self.carried], normed], 1) if self.carried else normed


def time_features(t: Tensor, width: int, config: CircuitConfig) -> Tensor:
    """Features [B,width] of the labels t.

    `published` has one period at most over 0..T-1, so that neighbouring labels look alike; `ordinary` is the usual sinusoid
    on the backbone's own 0..999 scale, which tells them apart.
    """
    if config.time_features == "published":
        rates = 10000.0 ** (-torch.arange(width // 2, device=t.device) / max(width // 2 - 1, 1))
        phase = 2 * math.pi * (t / max(config.timesteps - 1, 1))[:, None] * rates
        return torch.cat([phase.sin(), phase.cos()], 1)
    labels = torch.tensor(config.labels, device=t.device)[t]
    features: Tensor = get_timestep_embedding(labels, width, flip_sin_to_cos=True, downscale_freq_shift=0)
    return features


class FilmBlock(nn.Module):
    """Residual block of two 3x3 convolutions, each after a weightless norm that the time label scales and shifts.

    Starts as the identity: the second convolution and the last linear layer are zero.
    """

    def __init__(self, width: int, config: CircuitConfig) -> None:
        super().__init__()
        self.width, self.config = width, config
        first, last = nn.Linear(width, 4 * width), nn.Linear(4 * width, 4 * width)
        self.film = nn.Sequential(first, nn.SiLU(), last)
        self.norm = shell(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.xavier_uniform_(first.weight)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        for name, start in self.named_parameters():
            if name.endswith("bias") or name in ("film.2.weight", "conv2.weight"):
                nn.init.zeros_(start)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B,width,h,w] -> same shape."""
        gain1, shift1, gain2, shift2 = self.film(time_features(t, self.width, self.config))[..., None, None].chunk(4, 1)
        h = functional.silu(self.norm(x) * (1 + 0.1 * gain1) + shift1)
        h = functional.silu(self.norm(self.conv1(h)) * (1 + 0.1 * gain2) + shift2)
        result: Tensor = x + self.conv2(h)
        return result


class Adapter(nn.Module):
    """conv3x3 -> FiLM blocks -> SiLU -> conv3x3, both convolutions spectrally normed (one power iteration).

    With a `bypass` a plain convolution runs beside it, and this path starts at zero gain (ReZero, Bachlechner et al. 2020).
    """

    def __init__(self, inside: int, middle: int, outside: int, blocks: int, config: CircuitConfig, bypass: bool = False) -> None:
        super().__init__()
        self.bypass = nn.Conv2d(inside, outside, 3, padding=1) if bypass else None
        if self.bypass is not None:
            self.gain = nn.Parameter(torch.zeros(outside, 1, 1))
            nn.init.zeros_(self.bypass.weight)
            nn.init.zeros_(self.bypass.bias if self.bypass.bias is not None else torch.empty(0))
        self.head = self._conv(inside, middle, config.spectral)
        self.blocks = nn.ModuleList(FilmBlock(middle, config) for _ in range(blocks))
        self.tail = self._conv(middle, outside, config.spectral)

    @staticmethod
    def _conv(inside: int, outside: int, spectral: bool) -> nn.Module:
        conv = nn.Conv2d(inside, outside, 3, padding=1)
        # before the parametrisation: afterwards `weight` is computed, and writing to it changes nothing
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias if conv.bias is not None else torch.empty(0))
        return spectral_norm(conv) if spectral else conv

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B,inside,h,w] -> [B,outside,h,w]."""
        h = self.head(x)
        for block in self.blocks:
            h = block(h, t)
        result: Tensor = self.tail(functional.silu(h))
        return result if self.bypass is None else self.bypass(x) + self.gain * result


class Encoder(nn.Module):
    """Rin: pixels x_t [B,C,H,W] and label t to a latent z [B,L,H/p,W/p] on the shell."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.config = config
        self.unet: UNet2DModel | None = None
        outside = config.latent_channels - config.carried
        if not outside:
            return
        self.unet = backbone(config.unet, keep_conv_in=True)
        width = config.unet["block_out_channels"][0]
        self.adapter = Adapter(width, width, outside, config.rin_blocks, config, config.carry)
        if self.adapter.bypass is not None:
            nn.init.kaiming_normal_(self.adapter.bypass.weight, nonlinearity="linear")
        self.shell = Shell(config)
        freeze(self.unet, config.lora_rank, config.lora_alpha, config.train_backbone)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """z = GN(adapter(features(x, t))), behind the pixels where those are carried."""
        pixels = pixel_unshuffle(x, self.config.patch)
        if self.unet is None:
            return pixels.float()
        labels = torch.tensor(self.config.labels, device=t.device)[t]
        latent = self.adapter(self.unet(pixels, labels).sample, t).float()
        z: Tensor = self.shell(torch.cat([pixels.float(), latent], 1) if self.config.carry else latent)
        return z


class Step(nn.Module):
    """R: one recurrent residual step, label t takes z^(t) to z^(t-1). Trained for the labels 1..T-1 only."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.config = config
        latent, width = config.latent_channels, config.unet["block_out_channels"][0]
        self.inlet = Adapter(latent, width, width, config.step_blocks, config, config.carry)
        self.unet = backbone(config.unet, keep_conv_in=False)
        self.outlet = Adapter(width + latent, width + latent, latent, config.step_blocks, config, config.carry)
        self.scale = nn.Embedding(config.timesteps, 1)
        nn.init.zeros_(self.scale.weight)
        self.shell = Shell(config)
        freeze(self.unet, config.lora_rank, config.lora_alpha, config.train_backbone)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """z [B,L,h,w] -> GN(z + sigma_t f(z, t)); carried pixels are scaled by the turn of t instead of normed."""
        labels = torch.tensor(self.config.labels, device=t.device)[t]
        features = self.unet(self.inlet(z, t), labels).sample
        move = self.outlet(torch.cat([features, z.to(features.dtype)], 1), t).float()
        sigma = self.config.residual_cap * torch.sigmoid(self.scale(t))[..., None, None].float()
        following = z + sigma * move
        if self.config.carry:
            turn = torch.tensor(self.config.turns, device=t.device)[t][:, None, None, None]
            following = torch.cat([turn * following[:, : self.config.carried], following[:, self.config.carried :]], 1)
        on_shell: Tensor = self.shell(following)
        return on_shell


class Head(nn.Module):
    """Rout and X0out: a latent [B,L,h,w] and a label to pixels [B,C,H,W]; starts near zero."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.patch = config.patch
        width = config.head_width
        self.inlet = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FilmBlock(width, config) for _ in range(config.head_blocks))
        self.skip = nn.Conv2d(config.latent_channels, width, 1, bias=False)
        self.outlet = nn.Conv2d(width, config.pixels, 3, padding=1)
        self.bypass = nn.Conv2d(config.latent_channels, config.pixels, 3, padding=1) if config.carry else None
        if self.bypass is not None:
            nn.init.zeros_(self.bypass.weight)
            nn.init.zeros_(self.bypass.bias if self.bypass.bias is not None else torch.empty(0))
        nn.init.kaiming_normal_(self.inlet.weight, nonlinearity="relu")
        nn.init.zeros_(self.skip.weight)
        nn.init.xavier_uniform_(self.outlet.weight, gain=1e-5)
        for layer in (self.inlet, self.outlet):
            nn.init.zeros_(layer.bias if layer.bias is not None else torch.empty(0))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        """[B,L,h,w] -> [B,C,H,W] float32."""
        h = self.inlet(z)
        for block in self.blocks:
            h = block(h, t)
        pixels = self.outlet(functional.silu(h + self.skip(z))).float()
        if self.bypass is not None:
            pixels = pixels + self.bypass(z).float()
        return functional.pixel_shuffle(pixels, self.patch)


class Circuit(nn.Module):
    """All four parts. `train()` leaves a frozen backbone in evaluation mode."""

    def __init__(self, config: CircuitConfig) -> None:
        super().__init__()
        self.config = config
        self.rin = Encoder(config)
        self.step = Step(config)
        self.v_head = Head(config)
        self.x0_head = Head(config)

    def train(self, mode: bool = True) -> Circuit:
        """Training mode for what is trained."""
        super().train(mode)
        if not self.config.train_backbone:
            for unet in (self.rin.unet, self.step.unet):
                if unet is not None:
                    unet.eval()
        return self


def parameter_counts(module: nn.Module) -> tuple[int, int]:
    """(all, trainable) parameters; tensors that two parts share count in both, as in the published tables."""
    named = list(module.named_parameters(remove_duplicate=False))
    return sum(p.numel() for _, p in named), sum(p.numel() for _, p in named if p.requires_grad)
