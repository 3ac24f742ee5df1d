"""What a map is generated from, embedded: the layer below, the logs and the barcode, each as tokens and as one vector.

Any of the three may be missing; a learned token then stands in for it, as it does where guidance asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fabloom.plugins.blocks.overlay.maps import CHARACTERS

from .attention import Layer, Pooling

MODALITIES = ("previous", "logs", "barcode")
TOKENS = {"previous": 4, "logs": 4, "barcode": 2}
CODES = 1 + len(CHARACTERS)
"""No character of a barcode, and each."""


@dataclass(frozen=True)
class Told:
    """Of wafers: `previous` [B,3,H,W] (dx, dy in the model's unit, valid), `logs` [B,F] standardised, `logged` [B,F], `codes` [B,40]."""

    previous: Tensor
    logs: Tensor
    logged: Tensor
    codes: Tensor

    def renamed(self, own: Tensor, draw: torch.Generator) -> Told:
        """With the characters that are a wafer's `own` [B,L] drawn anew: a lot's name tells nothing of the next lot."""
        drawn = torch.randint(1, CODES, self.codes.shape, generator=draw)
        return Told(self.previous, self.logs, self.logged, torch.where(own, drawn, self.codes))

    def rows(self, index: Tensor) -> Told:
        """Those of these rows."""
        return Told(self.previous[index], self.logs[index], self.logged[index], self.codes[index])

    def to(self, device: torch.device) -> Told:
        """The same on a device."""
        return Told(self.previous.to(device), self.logs.to(device), self.logged.to(device), self.codes.to(device))


class Previous(nn.Module):
    """A transformer over 8 x 8 patches of the map of the layer below.

    Each patch is also weighed by where it lies: terms of overlay are sums over the wafer of displacement times place, which places that are
    only added do not give.
    """

    def __init__(self, size: int, width: int, layers: int) -> None:
        super().__init__()
        patch = size // 8
        self.stem = nn.Conv2d(3, width, patch, patch)
        self.weight = nn.Parameter(1 + torch.randn(64, width))
        self.place = nn.Parameter(0.02 * torch.randn(64, width))
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))

    def forward(self, told: Told) -> Tensor:
        """[B,64,width]."""
        out: Tensor = self.layers(self.stem(told.previous).flatten(2).transpose(1, 2) * self.weight + self.place)
        return out


class Logs(nn.Module):
    """A token for each log (Gorishniy et al. 2021, FT-Transformer, 2106.11959): w_j x_j + b_j, or a learned one where it is missing."""

    def __init__(self, count: int, width: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(count**-0.5 * torch.randn(count, width))
        self.bias = nn.Parameter(0.02 * torch.randn(count, width))
        self.missing = nn.Parameter(0.02 * torch.randn(count, width))
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))

    def forward(self, told: Told) -> Tensor:
        """[B,F,width]."""
        known = told.logged[..., None]
        tokens = known * (told.logs[..., None] * self.weight) + (1 - known) * self.missing + self.bias
        out: Tensor = self.layers(tokens)
        return out


class Barcode(nn.Module):
    """A transformer over characters, each weighed by its place: a barcode never seen still shares tool, chuck and reticle with others."""

    def __init__(self, length: int, width: int, layers: int) -> None:
        super().__init__()
        self.character = nn.Embedding(CODES, width)
        self.weight = nn.Parameter(1 + torch.randn(length, width))
        self.place = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))

    def forward(self, told: Told) -> Tensor:
        """[B,L,width]."""
        out: Tensor = self.layers(self.character(told.codes) * self.weight + self.place)
        return out


@dataclass(frozen=True)
class Shape:
    """Everything that is needed to build the encoders again."""

    size: int
    logs: int
    length: int
    width: int = 64
    layers: int = 2


class Conditions(nn.Module):
    """The three encoders. `embed` gives the vectors that are contrasted, `forward` the tokens that a network attends to."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoders = nn.ModuleDict({
            "previous": Previous(shape.size, shape.width, shape.layers),
            "logs": Logs(shape.logs, shape.width, shape.layers),
            "barcode": Barcode(shape.length, shape.width, shape.layers),
        })  # fmt: skip
        self.pools = nn.ModuleDict({name: Pooling(count, shape.width) for name, count in TOKENS.items()})
        self.heads = nn.ModuleDict({name: nn.Linear(shape.width, shape.width) for name in MODALITIES})
        self.kind = nn.Parameter(0.02 * torch.randn(len(MODALITIES), shape.width))
        self.null = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(count, shape.width)) for name, count in TOKENS.items()})

    def tokens(self, told: Told) -> dict[str, Tensor]:
        """Tokens [B,k,width] of each modality."""
        return {name: self.pools[name](self.encoders[name](told)) for name in MODALITIES}

    def embed(self, told: Told) -> dict[str, Tensor]:
        """A vector of length 1 [B,width] of each modality."""
        return {name: nn.functional.normalize(self.heads[name](tokens.mean(1)), dim=-1) for name, tokens in self.tokens(told).items()}

    def forward(self, told: Told, hidden: Tensor | None = None) -> Tensor:
        """All tokens [B,K,width]; those of modalities that are `hidden` [B,3] (bool) are the learned ones."""
        found = []
        for number, (name, tokens) in enumerate(self.tokens(told).items()):
            shown = tokens if hidden is None else torch.where(hidden[:, number, None, None], self.null[name], tokens)
            found.append(shown + self.kind[number])
        return torch.cat(found, 1)
