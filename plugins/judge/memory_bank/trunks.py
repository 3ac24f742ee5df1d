"""Frozen networks as trunks: layers, each with the stride of its cells and the pixel under the middle of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.plugins.blocks import weights

from . import weighing
from .filters import Filters
from .params import NETS, OWN, TIMM

Layer = tuple[Tensor, float, float]
"""Features [B,c,h,w]; cell i lies at pixel stride * i + first."""
TAPS: dict[str, tuple[tuple[int, float, float], ...]] = {
    "squeeze": ((4, 4, 3.0), (7, 8, 7.0), (12, 16, 15.0)),
    "alex": ((1, 4, 3.0), (4, 8, 7.0), (7, 16, 15.0)),
    "vgg": ((8, 2, 0.5), (15, 4, 1.5), (22, 8, 3.5)),
}
"""Of torchvision's `features`: the module after which a layer is taken, its stride, and the pixel of its first cell."""
USUAL = {"squeeze": (0, 1), "alex": (0, 1), "vgg": (0, 1)}
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images on [0, 1]."""


class Trunk(Protocol):
    """Images [B,C,H,W] on [-1, 1], sides multiples of `unit`, to layers; `stride` is that of the finest of them."""

    stride: int
    unit: int

    def __call__(self, x: Tensor) -> list[Layer]: ...
    def state_dict(self) -> Any: ...


def load(trunk: str, layers: Sequence[int] | None, channels: int, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """The trunk of that name for images of so many channels: with the weights at hand, or with those that a model kept.

    Raises MissingWeights without them, DataError for layers that it does not have.
    """
    if trunk == OWN:
        return Filters(channels)
    if trunk in NETS:
        return Features(trunk, layers, weights.load(NETS[trunk]) if state is None else state)
    return Timm(trunk, layers, state)


def prepared(x: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """[-1, 1] as a network that learned from ImageNet has it; one channel stands for three."""
    found: Tensor = ((x.expand(-1, 3, -1, -1) + 1) / 2 - mean) / spread
    return found


def chosen(trunk: str, layers: Sequence[int] | None, count: int, usual: Sequence[int]) -> list[int]:
    """Numbers of the layers to take, rising. Raises DataError for one that is not there."""
    wanted = sorted(set(usual if layers is None else layers))
    if wrong := [layer for layer in wanted if not 0 <= layer < count]:
        raise DataError(f"layers: trunk '{trunk}' has the layers 0 to {count - 1}, not {wrong[0]}")
    return wanted


class Features(nn.Module):
    """The convolutional part of a network of torchvision, cut behind the last layer that is asked for."""

    def __init__(self, trunk: str, layers: Sequence[int] | None, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        import torchvision  # type: ignore[import-untyped]

        taps = TAPS[trunk]
        self.taps = {taps[layer][0]: taps[layer][1:] for layer in chosen(trunk, layers, len(taps), USUAL[trunk])}
        self.stride, self.unit = int(min(stride for stride, _ in self.taps.values())), 1
        with torch.device("meta"):  # no random weights are drawn, no global generator moves
            net = getattr(torchvision.models, NETS[trunk])(weights=None).features
        self.features = nn.Sequential(*list(net)[: max(self.taps) + 1])
        names = self.state_dict()
        self.load_state_dict({name: state[name] for name in names}, assign=True)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD)[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Layer]:
        """The layers that are asked for, finest first."""
        x, found = prepared(x, self.mean, self.spread), []  # type: ignore[arg-type]
        for number, part in enumerate(self.features):
            x = part(x)
            if number in self.taps:
                found.append((x.clone(), *self.taps[number]))  # what follows may write into it
        return found


class Timm(nn.Module):
    """A network of timm with weights from a file: blocks of a transformer, or stages of a convolutional network."""

    def __init__(self, trunk: str, layers: Sequence[int] | None, state: Mapping[str, Tensor] | None) -> None:
        super().__init__()
        import timm

        name = trunk.removeprefix(TIMM)
        if name not in timm.list_models():
            raise DataError(f"trunk: timm {timm.__version__} has no network '{name}'")
        transformer = "vit" in name or "deit" in name or "eva" in name
        options: dict[str, Any] = {"dynamic_img_size": True} if transformer else {}
        net: Any = timm.create_model(name, pretrained=False, num_classes=0, **options)
        self.net = net
        strides = [int(info["reduction"]) for info in net.feature_info]
        usual = (len(strides) // 2, 3 * len(strides) // 4) if transformer else range(1, min(3, len(strides)))
        self.layers = chosen(trunk, layers, len(strides), [*usual])
        self.strides = [strides[layer] for layer in self.layers]
        self.stride = min(self.strides)
        self.unit = max(strides) if not transformer else self.stride
        self.transformer = transformer
        given = read(trunk) if state is None else state
        missing = self.load_state_dict({f"net.{k.removeprefix('net.')}": v for k, v in given.items()}, strict=False).missing_keys
        if missing:
            raise DataError(f"trunk: {name}.safetensors lacks {len(missing)} weights of timm's '{name}', such as {missing[0][4:]}")
        config = net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config.get("mean", MEAN))[:, None, None], persistent=False)
        self.register_buffer("spread", torch.tensor(config.get("std", SPREAD))[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Layer]:
        """The layers that are asked for, finest first."""
        x, net = prepared(x, self.mean, self.spread), cast(Any, self.net)  # type: ignore[arg-type]
        found = net.forward_intermediates(x, indices=self.layers, intermediates_only=True)
        return [(one, float(s), (s - 1) / 2 if self.transformer else 0.0) for one, s in zip(found, self.strides, strict=True)]


def read(trunk: str) -> dict[str, Tensor]:
    """The weights of a network of timm."""
    from safetensors.torch import load_file

    return load_file(weighing.file(trunk))
