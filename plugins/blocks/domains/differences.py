"""From an image and what it would be without a defect to a map of scores and a mask, by a threshold from clean images alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import Interrupted
from fabloom.method import Context
from fabloom.plugins.blocks.alarms import Chosen, choose, outlined
from fabloom.plugins.blocks.defects import height
from fabloom.plugins.blocks.smoothing import Maps, smoothed
from fabloom.plugins.blocks.streams import normal, stream

from .params import Found
from .translator import CLEAN, DEFECT, Translator, levels, stacked

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Finder:
    """A translator with what makes its differences a map."""

    translator: Translator
    params: Found
    device: torch.device
    seed: int

    def of(self, pixels: Pixels, rows: range, part: str = "image") -> tuple[Maps, Pixels]:
        """(maps [B,H,W] in units of the model, clean estimates) of images uint8 [B,C,H,W], each taken for one with a defect.

        Nobody knows of a new image whether it has one, so that clean ones go the same way, also those that set the threshold.
        """
        x, fresh = stacked(self.translator.grey, pixels, self.device), self.fresh(rows, part)
        if self.params.against == "input":
            (clean,) = self.translator.translate(x, DEFECT, [CLEAN], fresh)
            return self.map(x, clean), levels(self.translator.grey, clean)
        own, clean = self.translator.translate(x, DEFECT, [DEFECT, CLEAN], fresh)
        return self.map(own, clean), levels(self.translator.grey, clean)

    def fresh(self, rows: Iterable[int], part: str) -> Tensor | None:
        """Noise [B,*hidden] of images by their numbers and a name, where the translator draws any."""
        if not self.translator.draws:
            return None
        return normal([stream(self.seed, f"{part}/{row}") for row in rows], self.translator.hidden, self.device)

    def map(self, one: Tensor, other: Tensor) -> Maps:
        """Absolute difference of images [B,C,H,W] over their channels, smoothed; over what is free of them, and 0 elsewhere."""
        given = self.translator.given
        gap = given.mean((one - other).abs()).double().cpu().numpy()
        return smoothed(gap, self.params.smooth, given.free(one)[:, 0].cpu().numpy() if given.count else None)

    def threshold(self, ctx: Context, clean: Pixels) -> Chosen:
        """The difference that the stated share of clean images [M,C,H,W] exceeds somewhere. Raises Interrupted on a stop."""
        heights: list[float] = []
        with ctx.progress(len(clean), unit="image", name="threshold") as bar:
            for start in range(0, len(clean), self.params.batch):
                if ctx.stop_requested():
                    raise Interrupted("stopped while the threshold was chosen. Run the same command again to start over.")
                rows = range(len(clean))[start : start + self.params.batch]
                maps, _ = self.of(clean[rows.start : rows.stop], rows, "clean")
                heights += [height(one, self.params.min_area) for one in maps]
                bar.advance(len(rows))
        chosen = choose(np.array(heights), self.params.false_alarms)
        ctx.log(f"a defect begins at a difference of {chosen.distance:.3g}: {chosen.why}")
        return chosen

    def masks(self, maps: Maps, threshold: float) -> NDArray[np.uint8]:
        """Masks [B,H,W] of maps."""
        p = self.params
        return np.stack([outlined(one, threshold, p.min_area, p.outline, p.reach) for one in maps]).astype(np.uint8)
