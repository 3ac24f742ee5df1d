"""From noise to images in one step, or in a few with noise between them."""

from __future__ import annotations

from torch import Tensor

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.generated import shape_of, write
from fabloom.plugins.blocks.streams import normal, streams

from .function import generate
from .networks import ROLE, function_of
from .params import SampleParams


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    function = function_of(model, ctx.device, ctx.autocast(params.precision))
    shape, known = shape_of(model.config), "codec" not in model.config

    def draw(numbers: range) -> Tensor:
        sources = streams(ctx.seed, numbers)
        return generate(function, normal(sources, shape, ctx.device), params.steps, lambda: normal(sources, shape, ctx.device), known)

    return write(ctx, model, params.count, params.batch, draw, attrs={"method": ROLE, "steps": params.steps})
