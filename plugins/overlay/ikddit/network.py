"""The transformer of IKDDiT: an encoder of the patches that are seen, and a light decoder of them all.

Blocks are those of DiT (Peebles & Xie 2023, 2212.09748): shifted, scaled and gated by what they are told of time and conditions
(adaLN-zero), with gated cross-attention to the tokens of the conditions between attention and MLP (Alayrac et al. 2022, Flamingo,
2204.14198; Li et al. 2023, GLIGEN, 2301.07093). Gates start closed and the output at 0, so that at first nothing depends on anything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps, get_2d_sincos_pos_embed
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle

from fabloom.plugins.blocks.noise import ScheduleName

from .attention import Attention, mlp
from .conditions import TOKENS
from .masking import gathered, scattered, visible
from .priors import Wiener

Gate = Literal["tanh", "sigmoid"]
Holes = Literal["mask_token", "noisy_patch"]
FREQUENCIES = 256
PLACES = 10
"""Channels of a pixel's place: wafer X, Y, field x, y, x^2, xy, y^2, x^3, y^3, and the scan direction."""
GIVEN = 3 + PLACES
"""Channels that are given: the layer below, where that is valid, and the places."""
FACTORS = GIVEN - 1
"""Those that a patch gets factors for: all but where the layer below is valid."""
CLOSED = -3.0
"""Bias of a sigmoid gate at the start: 0.05 open."""


@dataclass(frozen=True)
class Shape:
    """Everything that is needed to build one again, beside the shapes of terms: pixels, patch, encoder, decoder, width of condition tokens,
    gates, holes and noise schedule.
    """

    size: int
    patch: int
    width: int
    blocks: int
    heads: int
    decoder_width: int
    decoder_blocks: int
    condition: int
    gate: Gate = "tanh"
    holes: Holes = "mask_token"
    schedule: ScheduleName = "linear"

    @property
    def tokens(self) -> int:
        """Patches of a map."""
        return (self.size // self.patch) ** 2

    def stored(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


class Gated(nn.Module):
    """Cross-attention to the conditions behind a gate: a vector's tanh from 0, or the sigmoid of a linear map of each token (published)."""

    def __init__(self, width: int, heads: int, condition: int, gate: Gate) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, condition)
        self.gate: nn.Parameter | nn.Linear
        if gate == "tanh":
            self.gate = nn.Parameter(torch.zeros(width))
        else:
            self.gate = nn.Linear(width, 1)
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, CLOSED)

    def opening(self, x: Tensor) -> Tensor:
        """How far the gate is open, to be multiplied with what is attended."""
        return torch.sigmoid(self.gate(x)) if isinstance(self.gate, nn.Linear) else torch.tanh(self.gate)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """What is added to x [B,N,width]."""
        found: Tensor = self.opening(x) * self.attention(self.norm(x), conditions)
        return found


class Block(nn.Module):
    """A DiT block; with gated cross-attention where `condition` says how wide the tokens of the conditions are."""

    def __init__(self, width: int, heads: int, told: int, condition: int | None = None, gate: Gate = "tanh") -> None:
        super().__init__()
        self.first, self.second = (nn.LayerNorm(width, elementwise_affine=False, eps=1e-6) for _ in range(2))
        self.attention = Attention(width, heads)
        self.gated = None if condition is None else Gated(width, heads, condition, gate)
        self.mlp = mlp(width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(told, 6 * width))
        zero(self.modulation[1])

    def forward(self, x: Tensor, told: Tensor, conditions: Tensor | None = None) -> Tensor:
        """[B,N,width], told [B,told] of time and conditions, and their tokens [B,K,condition]."""
        scale, shift, open_, scale2, shift2, open2 = self.modulation(told)[:, None].chunk(6, -1)
        x = x + open_ * self.attention(self.first(x) * (1 + scale) + shift)
        if self.gated is not None and conditions is not None:
            x = x + self.gated(x, conditions)
        out: Tensor = x + open2 * self.mlp(self.second(x) * (1 + scale2) + shift2)
        return out


def zero(layer: nn.Module) -> None:
    """Weights and bias of a linear layer."""
    for value in layer.parameters():
        nn.init.zeros_(value)


def places(width: int, side: int) -> Tensor:
    """Fixed sine and cosine places of side x side patches, [N,width]."""
    return torch.as_tensor(get_2d_sincos_pos_embed(width, side, output_type="pt")).float()


class Encoder(nn.Module):
    """Patches that are seen, in the light of time and conditions. Teacher and student have the same one."""

    place: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.patch = shape.patch
        self.noisy = nn.Linear(2 * shape.patch**2, shape.width)
        self.given = nn.Linear(GIVEN * shape.patch**2, shape.width)
        self.register_buffer("place", places(shape.width, shape.size // shape.patch), persistent=False)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.width, shape.condition, shape.gate) for _ in range(shape.blocks))

    def forward(self, x: Tensor, given: Tensor, told: Tensor, conditions: Tensor, seen: Tensor | None) -> Tensor:
        """Noisy maps [B,2,H,W] and given channels [B,13,H,W] to tokens [B,V,width] of the patches that are `seen` [B,V]."""
        tokens = gathered(patches(x, self.patch), seen)  # what is not seen is never embedded
        h = (
            self.noisy(tokens)
            + self.given(gathered(patches(given, self.patch), seen))
            + gathered(self.place.expand(x.shape[0], -1, -1), seen)
        )
        for block in self.blocks:
            h = block(h, told, conditions)
        return h  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Tokens of the patches that are seen to all patches: clean values, and the log of their spread.

    A patch gets one value of each, between which others lie: values of its own at every pixel, or every second one, let through noise that
    the map has not. What varies faster, as fields do and the layer below, comes by a factor for each of these given channels.
    """

    place: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, values = shape.decoder_width, shape.patch**2
        self.patch, self.side = shape.patch, shape.size // shape.patch
        self.enter = nn.Linear(shape.width, width)
        self.given = nn.Linear(GIVEN * values, width)
        self.hole = nn.Parameter(0.02 * torch.randn(width)) if shape.holes == "mask_token" else nn.Linear(2 * values, width)
        self.register_buffer("place", places(width, self.side), persistent=False)
        heads = max(1, shape.heads * width // shape.width)
        self.blocks = nn.ModuleList(Block(width, heads, shape.width) for _ in range(shape.decoder_blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(shape.width, 2 * width))
        self.leave, self.factors = nn.Linear(width, 4), nn.Linear(width, 2 * FACTORS)
        for layer in (self.modulation[1], self.leave, self.factors):
            zero(layer)

    def forward(self, h: Tensor, x: Tensor, given: Tensor, told: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """(x0 [B,2,H,W], log b [B,2,H,W])."""
        h = self.enter(h)
        if seen is not None:
            holes = (
                self.hole(patches(x, self.patch)) if isinstance(self.hole, nn.Linear) else self.hole.expand(x.shape[0], self.side**2, -1)
            )
            h = scattered(h, seen, holes.to(h.dtype))
        h = h + self.given(patches(given, self.patch)) + self.place
        for block in self.blocks:
            h = block(h, told)
        scale, shift = self.modulation(told)[:, None].chunk(2, -1)
        h = self.norm(h) * (1 + scale) + shift
        planes = interpolate(self.laid(self.leave(h)), scale_factor=self.patch, mode="bilinear")
        factors = self.laid(self.factors(h)).unflatten(1, (2, FACTORS))[..., :, None, :, None]
        cells = (
            torch.cat([given[:, :2], given[:, 3:]], 1).unflatten(3, (self.side, self.patch)).unflatten(2, (self.side, self.patch))[:, None]
        )
        mixed = (factors * cells).sum(2).flatten(4, 5).flatten(2, 3)
        return planes[:, :2] + mixed, planes[:, 2:]

    def laid(self, tokens: Tensor) -> Tensor:
        """Tokens [B,N,d] where their patches are, [B,d,side,side]."""
        laid: Tensor = tokens.transpose(1, 2).unflatten(2, (self.side, self.side))
        return laid


class Ikddit(nn.Module):
    """Encoder and decoder with what both are told: the time, and the conditions as one vector beside their tokens.

    What they are told also gives factors of the `shapes` [K,2,H,W] of overlay's terms, each of which is a sum over the whole wafer.
    """

    shapes: Tensor

    def __init__(self, shape: Shape, shapes: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.wiener = Wiener(shape.size, shape.schedule)
        self.terms = nn.Sequential(nn.SiLU(), nn.Linear(shape.width, shape.width), nn.SiLU(), nn.Linear(shape.width, len(shapes)))
        zero(self.terms[-1])
        self.register_buffer("shapes", shapes, persistent=False)
        self.waves = Timesteps(FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(FREQUENCIES, shape.width)
        self.summary = nn.Linear(sum(TOKENS.values()) * shape.condition, shape.width)
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)

    def told(self, t: Tensor, conditions: Tensor) -> Tensor:
        """[B,width]."""
        told: Tensor = self.time(self.waves(t).to(conditions.dtype)) + self.summary(conditions.flatten(1))
        return told

    def encode(self, x: Tensor, given: Tensor, t: Tensor, conditions: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens [B,V,width] of what is seen; of the whole map without `seen`."""
        found: Tensor = self.encoder(x, given, self.told(t, conditions), conditions, seen)
        return found

    def forward(self, x: Tensor, given: Tensor, t: Tensor, conditions: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(x0 [B,2,H,W], log b [B,2,H,W], tokens [B,V,width]) for noisy maps [B,2,H,W] at times t [B]."""
        told = self.told(t, conditions)
        h = self.encoder(x, given, told, conditions, seen)
        estimate, spread = self.decoder(h, x, given, told, seen)
        estimate = estimate + torch.einsum("bk,kchw->bchw", self.terms(told), self.shapes.to(told.dtype))
        return self.wiener(x, t, estimate, self.shown(seen, x)), spread, h

    def shown(self, seen: Tensor | None, x: Tensor) -> Tensor | None:
        """[B,1,H,W], 1 in patches whose noisy values encoder or decoder are given; None where those are all."""
        if seen is None or self.shape.holes == "noisy_patch":
            return None
        here = visible(seen, x.shape[0], self.shape.tokens).to(x.dtype)
        side = self.shape.size // self.shape.patch
        return interpolate(here.reshape(-1, 1, side, side), scale_factor=self.shape.patch)


def patches(x: Tensor, patch: int) -> Tensor:
    """[B,C,H,W] to [B,N,C patch^2]."""
    return pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)
