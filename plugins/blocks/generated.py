"""What every task that samples a diffusion or one-step model does at its end: draw batch by batch, and write grey levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context

from .codec import Codec
from .grey import GreyMap
from .operations import OPERATIONS, TRAINING, counted, operations_of

STOPPED = "stopped after {done} of {count} images. Run the same command again to start over."


def shape_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """That of what a model draws: an image [C,H,W], or a latent."""
    return tuple(config.get("latent", config["image"]))


def write(ctx: Context, model: Model, count: int, batch: int, draw: Callable[[range], Tensor], **columns: Any) -> ImageSet:
    """Write this part's share of `count` images of a model, whose config says their shape and grey levels.

    `draw` gives [B,C,H,W] for a range of sample numbers, -1 to 1 and clipped to that here, or latents of the model's codec, which are
    decoded; each must follow from the seed and its number. The attributes say what an image, by the first batch, and the model's
    training took in multiply-adds.
    """
    config, own, codec = model.config, ctx.rows(count), Codec.inside(model, ctx.device)
    grey = GreyMap(*config["grey"])

    def computed(numbers: range) -> Tensor:
        drawn = draw(numbers).float()
        return drawn if codec is None else codec.decode(drawn.to(ctx.device)).float()

    with ctx.progress(len(own), unit="image", name="sample") as bar:
        if ctx.stop_requested():
            raise Interrupted(STOPPED.format(done=0, count=len(own)))
        leading = range(own.start, min(own.start + batch, own.stop))
        first, taken = counted(partial(computed, leading))

        def batches() -> Iterator[NDArray[np.uint8]]:
            for start in range(own.start, own.stop, batch):
                if ctx.stop_requested():
                    raise Interrupted(STOPPED.format(done=start - own.start, count=len(own)))
                numbers = range(start, min(start + batch, own.stop))
                images = first if start == own.start else computed(numbers)
                yield grey.inverse(images.clamp(-1, 1).cpu()).numpy()
                bar.advance(len(numbers))

        told = {OPERATIONS: taken // max(len(leading), 1), TRAINING: operations_of(config), **columns.pop("attrs", {})}
        return ImageSet.write(ctx, batches(), count=len(own), channels=config["image"][0], attrs=told, **columns)
