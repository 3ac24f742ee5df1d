"""Sampling: the canvas through the scales, its pixels optimised at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.one_shot import images_at_once, write_samples
from fabloom.plugins.blocks.patch_scales import Reference, truncated_sizes, write_reference
from fabloom.plugins.blocks.pyramid import coarse_to_fine
from fabloom.plugins.blocks.streams import stream, streams

from .distance import directions, distance_and_gradient
from .params import SampleParams, TrainParams

ROLE = "gpdm"
ASK_EVERY = 20
"""Steps between two looks whether to stop."""


def prepare(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    return write_reference(
        ctx, ROLE, images, params.image, partial(truncated_sizes, ratio=params.ratio, coarsest=params.coarsest), params.stretch
    )


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    reference = Reference.load(model, ROLE, ctx.device)
    sizes = reference.fitting(params.size, params.patch)
    filled = params.filled()
    steps, lr = filled["steps"], filled["lr"]
    course = Course(reference.images, params.projections, params.patch, steps, lr, params.settle, ctx.seed, ctx.stop_requested)

    def draw(numbers: range) -> NDArray[np.uint8]:
        canvas = reference.canvas(streams(ctx.seed, numbers), sizes[0], params.start, params.noise)
        return reference.values.inverse(coarse_to_fine(canvas, sizes, course.matched)).cpu().numpy()

    at_once = images_at_once(params.batch, sizes[-1])
    return write_samples(ctx, params.count, at_once, reference.channels, draw, {"sampler": ROLE, "model": model.key})


@dataclass(frozen=True)
class Course:
    """How the pixels of a scale are optimised. All images see the same directions, so that batches do not matter."""

    images: Sequence[Tensor]
    projections: int
    patch: int
    steps: int
    lr: float
    settle: float
    seed: int
    stopped: Callable[[], bool]

    def rate(self, step: int) -> float:
        """The learning rate of a step, over the largest: 1, and falling to 0 over the last share."""
        falling = round(self.settle * self.steps)
        return min(1.0, (self.steps - step) / (falling + 1))

    def matched(self, scale: int, canvas: Tensor) -> Tensor:
        """The canvas [B,C,h,w] with patches distributed as those of the image at this scale, within -1 to 1."""
        reference, draw = self.images[scale], stream(self.seed, f"directions/{scale}")
        pixels = canvas.clone()
        optimizer = torch.optim.Adam([pixels], lr=self.lr)
        for step in range(self.steps):
            if step % ASK_EVERY == 0 and self.stopped():
                raise Interrupted(f"stopped at scale {scale} of {len(self.images)}. Run the same command again to start over.")
            views = directions(draw, self.projections, pixels.shape[1], self.patch).to(pixels)
            pixels.grad = distance_and_gradient(pixels, reference, views)[1]
            optimizer.param_groups[0]["lr"] = self.lr * self.rate(step)
            optimizer.step()
        return pixels.clamp(-1, 1)
