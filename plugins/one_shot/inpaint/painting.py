"""Making one defect: the network's change inside of a mask, checked for whether it shows, put on the clean image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.grain import softened
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.streams import stream

from .flow import TIME_UNIT, solve
from .frames import Frames
from .params import SampleParams
from .windows import AROUND, Units, widened
from .wishes import Wish

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Painted:
    """A defect as it is put on a clean image: `levels` [C,h,w] of the pixels that are `changed` [h,w], its `mask` [h,w], where it lies."""

    levels: Pixels
    changed: Mask
    mask: Mask
    corner: tuple[int, int]
    wish: Wish

    def put(self, image: Pixels, mask: Pixels, value: int) -> None:
        """On an image [C,H,W] and into its mask [H,W]."""
        part = tuple(slice(at, at + side) for at, side in zip(self.corner, self.mask.shape, strict=True))
        free = self.mask | (self.changed & (mask[part] == 0))  # what fades out does so beside other defects, not over them
        image[:, *part] = np.where(free, self.levels, image[:, *part])
        mask[part] = np.where(self.mask, value, mask[part])


@dataclass
class Tally:
    """Defects that were asked for and left out; pixels of masks that were drawn, and of those without visible change."""

    defects_asked: int = 0
    defects_left_out: int = 0
    mask_pixels: int = 0
    mask_pixels_unseen: int = 0


@dataclass(frozen=True)
class Painter:
    """A trained network with what its numbers mean; `edges` are the least visible changes of each class, in grey levels."""

    net: Callable[..., Tensor]
    units: Units
    limit: float
    window: int
    margin: int
    soft: bool
    edges: Sequence[float]
    params: SampleParams
    device: torch.device
    seed: int

    @classmethod
    def of(cls, ctx: Context, params: SampleParams, model: Model) -> Painter:
        """The network of a model."""
        config = model.config
        net = ScaleNetwork(config["channels"], config["width"], config["channels"] + 1)
        net.load_state_dict(model.state("net."))
        net.to(ctx.device).eval().requires_grad_(False)
        units = Units(GreyMap(*config["grey"]), float(config["unit"]))
        return cls(
            net=ctx.autocast(params.precision)(net),
            units=units,
            limit=float(config["limit"]),
            window=int(config["window"]),
            margin=int(config["margin"]),
            soft=bool(config["soft"]),
            edges=config["edges"],
            params=params,
            device=ctx.device,
            seed=ctx.seed,
        )

    def paint(self, frames: Frames, frame: int, wish: Wish, name: str, tally: Tally) -> Painted | None:
        """A defect on a clean frame; None where no try gives one that shows. `name` tells its noise from that of others."""
        sides = [max(self.window, side + 2 * max(AROUND, self.params.fade + 1)) for side in wish.mask.shape]
        first = [at - (side - own) // 2 for at, side, own in zip(wish.corner, sides, wish.mask.shape, strict=True)]
        ground = frames.ground(frame, (first[0], first[1]), (sides[0], sides[1]))
        at = [corner - start for corner, start in zip(wish.corner, first, strict=True)]
        mask = np.zeros(sides, bool)
        mask[at[0] : at[0] + wish.mask.shape[0], at[1] : at[1] + wish.mask.shape[1]] = wish.mask
        tally.defects_asked += 1
        for turn in range(self.params.redraw + 1):
            change = self.change(ground, mask, wish.kind, stream(self.seed, f"{name}/{turn}"))
            made = self._put(frames.read(frame), change, mask, (first[0], first[1]), wish, tally)
            if made is not None:
                return made
        tally.defects_left_out += 1
        return None

    def change(self, ground: Real, mask: Mask, kind: int, source: torch.Generator) -> Real:
        """What a defect of a class changes in a clean window [C,h,w], grey levels; also around its mask [h,w], as far as it fades."""
        drawn = torch.from_numpy(mask).float()[None, None].to(self.device)
        context = torch.cat([self.units.grey.forward(torch.from_numpy(ground))[None].to(self.device), drawn], 1)
        wide = widened(drawn, self.margin)
        kinds = torch.tensor([kind], device=self.device)
        z = torch.randn(ground.shape, generator=source)[None].to(self.device)
        found = solve(lambda x, t: self.net(wide * x, TIME_UNIT * t, kinds, context).float(), z, self.params.steps, self.limit)
        grey: Real = found[0].cpu().numpy().astype(np.float64) * self.units.change
        if self.soft:  # as what it was trained on: a short training leaves noise in place of it
            grey = softened(grey)
        faded: Real = grey * wide[0, 0].cpu().numpy()
        return faded

    def _put(self, clean: Pixels, change: Real, mask: Mask, first: tuple[int, int], wish: Wish, tally: Tally) -> Painted | None:
        """The part of a window that lies in the frame; None where too little of the mask shows."""
        inside = [(max(-at, 0), min(whole - at, side)) for at, whole, side in zip(first, clean.shape[1:], mask.shape, strict=True)]
        part = tuple(slice(*span) for span in inside)
        corner = first[0] + inside[0][0], first[1] + inside[1][0]
        change, mask = change[:, *part], mask[part]
        under = clean[:, corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]].astype(np.float64)
        away = ndimage.distance_transform_edt(~mask)
        seen = (np.abs(np.clip(under + change, 0, 255) - under).max(0) >= self.edges[wish.kind]) & mask
        if seen.sum() < self.params.shown * mask.sum() or (self.params.tighten and not seen.any()):
            return None
        tally.mask_pixels += int(mask.sum())
        tally.mask_pixels_unseen += int(mask.sum() - seen.sum())
        if self.params.tighten:
            mask = seen
            away = ndimage.distance_transform_edt(~mask)
        weight = np.clip(1 - away / (self.params.fade + 1), 0, 1)
        levels = np.clip(np.rint(under + weight * change), 0, 255).astype(np.uint8)
        return Painted(levels, weight > 0, mask, corner, wish)
