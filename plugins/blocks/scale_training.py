"""What SinSEMI and SinDDM do alike in training: scales, anchors, windows, the learning rate and the average of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR
from torch.optim.swa_utils import AveragedModel

from fabloom.errors import DataError

from .ema import ema
from .lattice import Lattice
from .one_shot import Picture
from .pyramid import Size, resize
from .scale_params import ScaleTraining

HALVINGS = (1 / 6, 1 / 3, 7 / 12, 2 / 3, 3 / 4, 11 / 12)
"""20k, 40k, 70k, 80k, 90k and 110k of 120k iterations."""


def find_lattice(picture: Picture, size: Size, anchor: str) -> Lattice:
    """The lattice of the picture at `size`, the finest scale; empty for `none`, and for `auto` without a periodic structure.

    Raises DataError where `lattice` is wanted and there is none.
    """
    if anchor == "none":
        return Lattice(())
    lattice = Lattice.fit(resize(torch.from_numpy(picture.grey)[None, None], size)[0, 0].numpy())
    if anchor == "lattice" and not lattice.frequencies:
        raise DataError("the image has no periodic structure that could anchor it; use `anchor: none`")
    return lattice


def lattice_of(config: Mapping[str, Any]) -> Lattice:
    """The lattice that a model's config holds."""
    return Lattice(tuple((float(y), float(x)) for y, x in config["lattice"]))


def described(lattice: Lattice) -> str:
    """What anchors the structure, for the log."""
    if not lattice.frequencies:
        return "no lattice anchors the structure"
    pitches = " and ".join(f"{1 / hypot(*frequency):.2f}" for frequency in lattice.frequencies)
    return f"anchored to a lattice with a pitch of {pitches} pixels"


def zooms_of(sizes: Sequence[Size]) -> list[tuple[float, float]]:
    """Finest pixels that a pixel of every scale spans, down and across."""
    return [(sizes[-1][0] / height, sizes[-1][1] / width) for height, width in sizes]


def anchors(lattice: Lattice, zooms: Sequence[tuple[float, float]], wanted: Sequence[Size]) -> list[Tensor | None]:
    """Context channels [1,2K,*wanted[s]] of every scale; None without a lattice.

    `zooms` are those of training, whatever the size that is wanted, so that the structure keeps its pitch.
    """
    if not lattice.frequencies:
        return [None for _ in wanted]
    return [lattice.phase(size, zoom)[None] for size, zoom in zip(wanted, zooms, strict=True)]


@dataclass(frozen=True)
class Windows:
    """Where the examples of a batch lie in their scale: one window each, of `height` x `width` pixels."""

    tops: Sequence[int]
    lefts: Sequence[int]
    height: int
    width: int

    @classmethod
    def draw(cls, params: ScaleTraining, scale: int, size: Size, source: torch.Generator) -> Windows:
        """Random windows of a scale, or the whole scale."""
        window = params.window if scale else params.coarse_window
        height, width = ((side if window is None else min(side, window)) for side in size)
        tops = torch.randint(size[0] - height + 1, (params.batch,), generator=source).tolist()
        lefts = torch.randint(size[1] - width + 1, (params.batch,), generator=source).tolist()
        return cls(tops, lefts, height, width)

    def of(self, whole: Tensor) -> Tensor:
        """The windows [B,C,h,w] of a scale [1,C,H,W]."""
        places = zip(self.tops, self.lefts, strict=True)
        return torch.cat([whole[:, :, top : top + self.height, left : left + self.width] for top, left in places])


def course(params: ScaleTraining, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The learning rate over the steps."""
    if params.decay == "cosine":
        return CosineAnnealingLR(optimizer, max(params.steps, 1))
    return MultiStepLR(optimizer, [round(share * params.steps) for share in HALVINGS], gamma=0.5)


def average_of(params: ScaleTraining, net: nn.Module) -> AveragedModel:
    """The average that samples. One that is a copy for its first steps needs no warm-up, as published."""
    return ema(net, params.ema_decay, warmup=params.ema_start == 0)


def update_average(params: ScaleTraining, average: AveragedModel, net: nn.Module, step: int) -> None:
    """Bring the average up to date after a step: a copy until `ema_start`, then every `ema_every` steps."""
    if step < params.ema_start:
        average.n_averaged.zero_()  # the next update is then a copy
    if step % params.ema_every == 0:
        average.update_parameters(net)
