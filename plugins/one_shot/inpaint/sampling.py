"""The task `sample`: defects on clean images, which stay as they are outside of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.cutouts.cutting import pieces_of
from fabloom.plugins.blocks.cutouts.places import Places
from fabloom.plugins.blocks.ground import held_by
from fabloom.plugins.blocks.pasted import Sample, batches
from fabloom.plugins.blocks.streams import numpy_stream
from fabloom.plugins.blocks.truth import LABELLED

from .frames import Frames, kept_sources
from .painting import Painted, Painter, Tally
from .params import SampleParams
from .wishes import Drawn, Shapes, Wishes


@dataclass(frozen=True)
class Plan:
    """A sample before it is put together: its clean frame and the defects on it."""

    frame: int
    defects: Sequence[Painted]


def sample(ctx: Context, params: SampleParams, model: Model, images: ImageSet | None, masks: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    config = held_by(model, "inpaint")
    frames = Frames.of(model, images)
    wishes = wishes_of(ctx, params, model, frames, masks)
    own, tally = ctx.rows(params.count), Tally()
    plans = planned(ctx, Painter.of(ctx, params, model), frames, wishes, own, tally)
    channels = int(config["image"][0]) if images is None else int(images.images.shape[1])
    values = config["values"]

    def make(number: int) -> Sample:
        plan = plans[number - own.start]
        clean = frames.read(plan.frame)
        image, mask = clean.copy(), np.zeros(clean.shape[1:], np.uint8)
        for one in plan.defects:
            one.put(image, mask, values[one.wish.kind])
        return Sample(image, mask, clean)

    names, numbers = kept_sources(dict(config), frames)
    classes = config.get("class_names")
    first = [plan.defects[0] if plan.defects else None for plan in plans]
    source = [numbers[p.frame] if one is None or one.wish.source is None else one.wish.source for p, one in zip(plans, first, strict=True)]
    labels = None if classes is None else np.array([0 if one is None else config["kinds"][one.wish.kind] for one in first], np.int16)
    told = {name: config[name] for name in (LABELLED,) if name in config and masks is None}
    if classes is not None and max(values) > 1:
        told["mask_classes"] = True  # also where no defect of a later class happens to be among them
    return ImageSet.write(
        ctx,
        batches(ctx, make, own, params.batch, channels),
        count=len(own),
        source=np.array(source, np.int32),
        source_names=names,
        labels=labels,
        class_names=classes,
        channels=channels,
        attrs={"method": "inpaint", **asdict(tally), **told},
    )


def wishes_of(ctx: Context, params: SampleParams, model: Model, frames: Frames, masks: ImageSet | None) -> Wishes:
    """Whose shapes: those of drawn masks, else those of the model's defects. Raises DataError for frames that hold none."""
    config: dict[str, Any] = dict(model.config)
    if masks is not None:
        return Drawn.read(masks, frames.size, config.get("class_names", []), config["kinds"], ctx.seed)
    pieces = pieces_of(model, config["defects"])
    largest = tuple(max(piece.box[axis] for piece in pieces) for axis in (0, 1))
    if frames.size[0] < largest[0] or frames.size[1] < largest[1]:
        raise DataError(
            f"the clean images are {frames.size[0]} x {frames.size[1]}, too small for a defect of {largest[0]} x {largest[1]} with its "
            "margin: give larger ones, or masks"
        )
    places, sources = Places(pieces, frames.grey, frames.size, params.mirror), [int(one["source"]) for one in config["defects"]]
    return Shapes(params, pieces, config["defect_kinds"], sources, places, ctx.seed)


def planned(ctx: Context, painter: Painter, frames: Frames, wishes: Wishes, own: range, tally: Tally) -> list[Plan]:
    """The samples of these numbers; each follows from the seed and its number alone. Raises Interrupted on a stop."""
    found: list[Plan] = []
    with ctx.progress(len(own), unit="image", name="paint") as bar:
        for number in own:
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {len(found)} of {len(own)} images. Run the same command again to start over.")
            frame = number % frames.count if frames.given else int(numpy_stream(ctx.seed, f"choice/{number}").integers(frames.count))
            made = [
                painter.paint(frames, frame, wish, f"noise/{number}/{index}", tally) for index, wish in enumerate(wishes.of(number, frame))
            ]
            found.append(Plan(frame, [one for one in made if one is not None]))
            bar.advance()
    return found
