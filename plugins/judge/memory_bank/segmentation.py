"""The task `segment`: masks and score maps from distances to a bank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.alarms import outlined, scores
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.ground import held_by
from fabloom.plugins.blocks.seen import number_seen

from . import trunks
from .bank import Bank
from .features import Reader
from .maps import Mapper, distance
from .params import SegmentParams
from .places import Anchor


def segment(ctx: Context, params: SegmentParams, images: ImageSet, model: Model) -> ImageSet:
    """The task `segment`."""
    config = check(model, images)
    threshold = config["threshold"] if params.threshold is None else params.threshold
    attrs = {"segmenter": model.key, "threshold": threshold, "min_area": params.min_area, "seen": number_seen(model, images.images)}
    mapper = mapper_of(ctx, model)
    batches = found(ctx, params, images, mapper, config["distance"], threshold)
    return ImageSet.write(ctx, batches, count=len(images), channels=images.images.shape[1], attrs=attrs, **images.origins())


def found(
    ctx: Context, params: SegmentParams, images: ImageSet, mapper: Mapper, chosen: float, threshold: float
) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches of images with their masks, scores, and the references that come with them."""
    at_once = mapper.reader.at_once((images.images.shape[2], images.images.shape[3]))
    limit, elsewhere = distance(threshold, chosen), 0
    with ctx.progress(len(images), unit="image", name="segment") as bar:
        for start in range(0, len(images), at_once):
            rows = slice(start, start + at_once)
            pixels = np.asarray(images.images[rows])
            maps, unlike = mapper.of(pixels)
            elsewhere += unlike
            masks = [outlined(one, limit, params.min_area, params.outline) for one in maps]
            kept = {} if images.references is None else {"references": np.asarray(images.references[rows])}
            yield {"images": pixels, "masks": np.stack(masks).astype(np.uint8), "scores": scores(maps, chosen), **kept}
            bar.advance(len(pixels))
    if elsewhere:
        ctx.log(f"{elsewhere} of {len(images)} images do not show the place of the clean ones: they were held against the whole bank")


def check(model: Model, images: ImageSet) -> dict[str, Any]:
    """The config of a bank that takes these images. Raises DataError for anything else."""
    config = dict(held_by(model, "memory-bank"))
    wanted, given = config["image"], list(images.images.shape[1:])
    if wanted[0] != given[0]:
        cure = "load them with colour: grey" if wanted[0] == 1 else "load colour images"
        takes = f"model {model.key[:12]} takes {wanted[0]} channel{'s' * (wanted[0] > 1)}"
        raise DataError(f"{takes}, images {images.key[:12]} have {given[0]}; {cure}")
    if config["registered"] and wanted[1:] != given[1:]:
        raise DataError(
            f"model {model.key[:12]} knows what belongs where on {wanted[1]} x {wanted[2]} pixels, images {images.key[:12]} are "
            f"{given[1]} x {given[2]}; give images of that size, or fit with registered: no"
        )
    return config


def mapper_of(ctx: Context, model: Model) -> Mapper:
    """What a model keeps, ready to make maps."""
    config, state = model.config, model.state()
    kept = {name.removeprefix("trunk."): value for name, value in state.items() if name.startswith("trunk.")}
    trunk: Any = trunks.load(config["trunk"], config["layers"], config["image"][0], kept or None).to(ctx.device)
    reader = Reader(trunk, GreyMap(*config["grey"]), config["patch"], config["zoom"], ctx.device)
    anchor = Anchor.kept(state["anchor"], config["anchor_noise"]) if config["registered"] else None
    bank = Bank(state["bank"], state.get("places"), config["radius"])
    return Mapper(reader, state["weights"].to(ctx.device), bank, anchor, config["smooth"])
