"""The tasks that translate."""

from __future__ import annotations

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.domains import detecting, pairing
from fabloom.plugins.blocks.domains.coupling import Coupling
from fabloom.plugins.blocks.domains.differences import Finder

from .params import AugmentParams, DetectParams, PairParams


def detect(ctx: Context, params: DetectParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `detect`."""
    coupling = Coupling.of(ctx, model, params, random=params.noise == "random")
    return detecting.detect(ctx, images, model, Finder(coupling, params, ctx.device, ctx.seed))


def pair(ctx: Context, params: PairParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `pair`."""
    finder = Finder(Coupling.of(ctx, model, params), params, ctx.device, ctx.seed)
    return pairing.pair(ctx, images, model, finder, params.composite)


def augment(ctx: Context, params: AugmentParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `augment`."""
    finder, judge = (Finder(Coupling.of(ctx, model, params, share=share), params, ctx.device, ctx.seed) for share in (params.fresh, 0.0))
    return pairing.augment(ctx, params, images, model, finder, judge)
