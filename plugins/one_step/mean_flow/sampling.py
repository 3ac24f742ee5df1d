"""From noise to images in one step, or in a few."""

from __future__ import annotations

from torch import Tensor

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.denoisers import load
from fabloom.plugins.blocks.generated import shape_of, write
from fabloom.plugins.blocks.streams import normal, streams

from .flow import generate
from .networks import ROLE, velocity
from .params import SampleParams


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    config = model.config
    network = ctx.autocast(params.precision)(velocity(load(model, ROLE, ctx.device), config["time_unit"]))

    def draw(numbers: range) -> Tensor:
        return generate(network, normal(streams(ctx.seed, numbers), shape_of(config), ctx.device), params.steps)

    return write(ctx, model, params.count, params.batch, draw, attrs={"method": ROLE, "steps": params.steps})
