"""The tasks that translate."""

from __future__ import annotations

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.domains import detecting, pairing
from fabloom.plugins.blocks.domains.differences import Finder

from .networks import Student
from .params import DetectParams, PairParams


def detect(ctx: Context, params: DetectParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `detect`."""
    return detecting.detect(ctx, images, model, Finder(Student.of(ctx, model, params.precision), params, ctx.device, ctx.seed))


def pair(ctx: Context, params: PairParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `pair`."""
    finder = Finder(Student.of(ctx, model, params.precision), params, ctx.device, ctx.seed)
    return pairing.pair(ctx, images, model, finder, params.composite)
