"""What SinSEMI and SinDDM do alike in training: pictures, windows, the learning rate and the average of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR
from torch.optim.swa_utils import AveragedModel

from fabloom.kinds import ImageSet

from .anchor import Anchor
from .components import EIGHT
from .ema import ema
from .one_shot import Picture
from .registered import defect_mask
from .scale_params import ScaleTraining
from .streams import numpy_stream
from .transplants import copies_of, number_of, transplanted

Mask = NDArray[np.bool_]
HALVINGS = (1 / 6, 1 / 3, 7 / 12, 2 / 3, 3 / 4, 11 / 12)
"""20k, 40k, 70k, 80k, 90k and 110k of 120k iterations."""


def defects_of(picture: Picture, anchor: Anchor, images: ImageSet) -> Mask | None:
    """Where the training image has its defects [H,W], if a clean image anchors it; None where nothing, or all of it, differs."""
    if anchor.clean is None:
        return None
    mask = defect_mask(picture, images, anchor.clean[0])
    return mask if mask.any() and not mask.all() else None


def coarsest_side(params: ScaleTraining, defects: Mask | None) -> int:
    """Short side of a scale at which the defects [H,W] of an image are `defect_pixels` thick, half of them more; 0 where none are known.

    The coarsest scale makes the image from noise. What it does not show, the finer ones, which sharpen, hardly ever add.
    """
    if defects is None or params.defect_pixels is None:
        return 0
    parts, count = ndimage.label(defects, EIGHT)
    depth = ndimage.distance_transform_edt(np.pad(defects, 1))[1:-1, 1:-1]
    thick = 2 * float(np.median(ndimage.maximum(depth, parts, range(1, count + 1)))) - 1
    short: int = min(defects.shape)
    return ceil(short * params.defect_pixels / thick)


def pictures(params: ScaleTraining, picture: Picture, anchor: Anchor, defects: Mask | None, seed: int) -> list[NDArray[np.uint8]]:
    """What is trained on, uint8 [C,H,W] each: the image, and with a reference copies of it whose defect lies elsewhere."""
    if anchor.clean is None or defects is None or params.copies == 0:
        return [picture.pixels]
    size = defects.shape[0], defects.shape[1]
    counts = copies_of(size) if params.copies is None else params.copies, number_of(params.defects, size)
    return [picture.pixels, *transplanted(picture.pixels, anchor.clean[0], defects, counts, numpy_stream(seed, "transplants"))]


def counted(shown: Sequence[NDArray[np.uint8]]) -> str:
    """How many pictures are trained on, for the log."""
    return f"; beside the image {len(shown) - 1} copies with its defect elsewhere" if len(shown) > 1 else ""


@dataclass(frozen=True)
class Windows:
    """Where the examples of a batch lie in their scale: one window each, of `height` x `width` pixels, of the picture of that row."""

    rows: Sequence[int]
    tops: Sequence[int]
    lefts: Sequence[int]
    height: int
    width: int

    @classmethod
    def draw(cls, params: ScaleTraining, scale: int, whole: Tensor, source: torch.Generator) -> Windows:
        """Random windows of a scale [P,C,H,W] of random pictures, or the whole scale."""
        size = int(whole.shape[-2]), int(whole.shape[-1])
        rows = [0] * params.batch if len(whole) == 1 else torch.randint(len(whole), (params.batch,), generator=source).tolist()
        window = params.window if scale else params.coarse_window
        height, width = ((side if window is None else min(side, window)) for side in size)
        tops = torch.randint(size[0] - height + 1, (params.batch,), generator=source).tolist()
        lefts = torch.randint(size[1] - width + 1, (params.batch,), generator=source).tolist()
        return cls(rows, tops, lefts, height, width)

    def of(self, whole: Tensor) -> Tensor:
        """The windows [B,C,h,w] of a scale [P,C,H,W], or of one [1,C,H,W] that all pictures share."""
        places = zip(self.rows if len(whole) > 1 else [0] * len(self.rows), self.tops, self.lefts, strict=True)
        return torch.stack([whole[row, :, top : top + self.height, left : left + self.width] for row, top, left in places])


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
