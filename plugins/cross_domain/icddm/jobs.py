"""The tasks that translate."""

from __future__ import annotations

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.domains import detecting
from fabloom.plugins.blocks.domains.coupling import Coupling
from fabloom.plugins.blocks.domains.differences import Finder

from .params import DetectParams


def detect(ctx: Context, params: DetectParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `detect`."""
    return detecting.detect(ctx, images, model, Finder(Coupling.of(ctx, model, params), params, ctx.device, ctx.seed))
