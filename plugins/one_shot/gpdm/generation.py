"""Sampling: the canvas through the scales, its pixels optimised at each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.patch_scales import refine
from fabloom.plugins.blocks.streams import stream

from .distance import directions, distance_and_gradient
from .params import SampleParams

ASK_EVERY = 20
"""Steps between two looks whether to stop."""


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    return refine(ctx, "gpdm", params, model, lambda reference: Course(reference.images, params, ctx.seed, ctx.stop_requested).matched)


@dataclass(frozen=True)
class Course:
    """How the pixels of a scale are optimised. All images see the same directions, so that batches do not matter."""

    images: Sequence[Tensor]
    params: SampleParams
    seed: int
    stopped: Callable[[], bool]

    def rate(self, step: int) -> float:
        """The learning rate of a step, over the largest: 1, and falling to 0 over the last share."""
        falling = round(self.params.settle * self.params.steps)
        return min(1.0, (self.params.steps - step) / (falling + 1))

    def matched(self, scale: int, canvas: Tensor) -> Tensor:
        """The canvas [B,C,h,w] with patches distributed as those of the image at this scale, within -1 to 1."""
        reference, draw, params = self.images[scale], stream(self.seed, f"directions/{scale}"), self.params
        pixels = canvas.clone()
        optimizer = torch.optim.Adam([pixels], lr=params.lr)
        for step in range(params.steps):
            if step % ASK_EVERY == 0 and self.stopped():
                raise Interrupted(f"stopped at scale {scale} of {len(self.images)}. Run the same command again to start over.")
            views = directions(draw, params.projections, pixels.shape[1], params.patch).to(pixels)
            pixels.grad = distance_and_gradient(pixels, reference, views, pooled=params.pooled)[1]
            optimizer.param_groups[0]["lr"] = params.lr * self.rate(step)
            optimizer.step()
        return pixels.clamp(-1, 1)
