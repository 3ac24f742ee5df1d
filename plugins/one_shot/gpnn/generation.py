"""Sampling: the canvas through the scales, its patches replaced at each by those of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.patch_scales import Reference, refine
from fabloom.plugins.blocks.patch_search import Keys, overlapped, patches, weights
from fabloom.plugins.blocks.pyramid import resize

from .params import SampleParams


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    return refine(ctx, "gpnn", params, model, lambda reference: partial(rearranged, ctx, reference, params))


def rearranged(ctx: Context, reference: Reference, params: SampleParams, number: int, canvases: Tensor) -> Tensor:
    """Canvases [B,C,h,w] at one scale, unless a stop is asked for: large images take minutes. Patches of one scale are held at a time."""
    scale, made = Scale.of(reference, number, params), []
    for canvas in canvases.split(1):
        if ctx.stop_requested():
            raise Interrupted(f"stopped at scale {number} of {len(reference.images)}. Run the same command again to start over.")
        made.append(scale.rearrange(canvas))
    whole = torch.cat(made)
    return widened(whole) if params.contrast == "full" and number == len(reference.images) - 1 else whole


def widened(images: Tensor) -> Tensor:
    """Images [B,C,h,w] with the range of each mapped to -1..1, as the released code writes them."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return 2 * (images - low) / (high - low).clamp(min=torch.finfo(images.dtype).tiny) - 1


@dataclass(frozen=True)
class Scale:
    """The patches of the image at one scale: `values` [P,d] that replace, and the `keys` that are compared."""

    values: Tensor
    keys: Keys
    patch: int
    iterations: int
    alpha: float | None
    weight: Tensor

    @classmethod
    def of(cls, reference: Reference, number: int, params: SampleParams) -> Scale:
        """Keys are blurred as the canvas is, which comes from a coarser scale."""
        image = reference.images[number]
        keys = blurred(reference.images, number, params.keys)
        iterations = 1 if number == 0 else params.iterations
        values, weight = patches(image, params.patch), weights(params.patch, params.reduce)
        return cls(values, Keys.of(patches(keys, params.patch)), params.patch, iterations, params.alpha, weight)

    def rearrange(self, canvas: Tensor) -> Tensor:
        """A canvas [1,C,h,w] made of patches of the image; once no choice changes, no further search would change one."""
        size, last = (canvas.shape[2], canvas.shape[3]), None
        for _ in range(self.iterations):
            chosen = self.keys.nearest(patches(canvas, self.patch), self.alpha)
            if last is not None and torch.equal(chosen, last):
                break
            canvas, last = overlapped(self.values[chosen.to(self.values.device)], size, self.patch, self.weight), chosen
        return canvas


def blurred(images: Sequence[Tensor], number: int, keys: str) -> Tensor:
    """What the patches of a scale are compared by: its image with the detail taken out that a coarser canvas lacks."""
    image = images[number]
    size = (int(image.shape[2]), int(image.shape[3]))
    if keys == "coarser":
        return image if number == 0 else resize(images[number - 1], size)
    ratio = images[0].shape[2] / images[1].shape[2] if number == 0 and len(images) > 1 else 1.0
    coarser = images[number - 1] if number else resize(image, (max(int(ratio * size[0]), 1), max(int(ratio * size[1]), 1)))
    return resize(resize(image, (coarser.shape[2], coarser.shape[3])), size)
