"""A labelled set of pictures of one stage."""

from __future__ import annotations

import numpy as np

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet
from fabloom.method import Context

from .params import Simulation
from .scene import Scene, Structure
from .stage import Stage


def simulate(ctx: Context, params: Simulation, structure: Structure, *, references: bool = False) -> ImageSet:
    """Pictures of a structure under the microscope."""
    return write(ctx, Scene.build(params, structure), references=references)


def write(ctx: Context, stage: Stage, *, references: bool = False) -> ImageSet:
    """Draw `params.count` pictures and write them with masks, domain, labels and, where they are wanted, references."""
    params = stage.params
    shape = (params.count, params.size, params.size)
    images, masks = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    clean = np.empty(shape, np.uint8) if references else None
    labels = np.empty(params.count, np.int16)
    with ctx.progress(params.count, unit="image", name="simulate") as bar:
        for index in range(params.count):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {params.count} images. Run the same command again to start over.")
            picture = stage.draw(ctx.seed, index)
            images[index], masks[index], labels[index] = picture.image, picture.mask, picture.label
            if clean is not None:
                clean[index] = stage.reference(picture, ctx.seed, index)
            bar.advance()
    attrs = {
        "settings": params.model_dump(mode="json"),
        **stage.facts(),
        "defects": int((labels > 0).sum()),
    }
    return ImageSet.write(
        ctx,
        images[:, None],
        masks=masks,
        references=None if clean is None else clean[:, None],
        domain=(labels > 0).astype(np.int8),
        labels=labels,
        class_names=stage.class_names,
        attrs=attrs,
    )
