"""Parameters that SinSEMI and SinDDM share: one network over the scales of one image's pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any, Literal

from pydantic import Field

from fabloom.errors import PipelineError
from fabloom.method import PlannedStep
from fabloom.params import Params, Precision

PUBLISHED: Mapping[str, Any] = {
    "steps": 120_000, "batch": 32, "width": 160, "decay": "halvings", "precision": "fp32", "ema_every": 10, "ema_start": 2000,
    "anchor": "none", "window": None, "coarse_window": None, "max_pixels": 50_000, "defect_pixels": None,
}  # fmt: skip
"""What both papers train with, and without."""
SHORTEST = 42
"""Fewest pixels of the short side of a training image."""
SIDES = {"images.load": "tile", "line-pair.simulate": "size", "contact-hole.simulate": "size", "sram-cell.simulate": "size"}
"""Parameter of a task that says the side of its square images."""
LARGE = 256
"""Side in pixels of a square scale above which sampling takes fewer steps, since what is left there is fine detail, and above which an
image's defects are too small a part of it to be learnt from it alone."""


def filled(presets: Mapping[str, Mapping[str, Any]], given: Any) -> Any:
    """Parameters as given, with what they leave out taken from their preset; the key then holds the values, not the name alone.

    A nested group is filled field by field. For a `model_validator(mode="before")`.
    """
    if not isinstance(given, Mapping):
        return given
    chosen = presets.get(given.get("preset", "small"), {})
    merged = {**chosen, **given}
    for name, value in chosen.items():
        if isinstance(value, Mapping) and isinstance(given.get(name), Mapping):
            merged[name] = {**value, **given[name]}
    return merged


def steps_by_size(steps: int, sizes: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Sampling steps of every scale (height, width): `steps`, fewer in proportion to a side above 256 pixels, but a quarter of them."""
    sides = (sqrt(height * width) for height, width in sizes)
    return tuple(steps if side <= LARGE else max(int(steps * LARGE / side), ceil(steps / 4)) for side in sides)


def check_anchor(step: PlannedStep, upstream: Mapping[str, PlannedStep], *, guided: bool = False) -> None:
    """Refuse what a step and its neighbours show, in `Method.check` of `train` and `sample`.

    A reference that would be ignored, a clean image that is wanted where the loaded files have none, images too small for a
    pyramid, and a size beside a clean image, which gives the size itself. Raises PipelineError.
    """
    place = f"steps.{step.name}"
    if isinstance(step.params, ScaleTraining):
        _check_training(place, step.params, step.inputs, upstream.get("images"))
    elif (model := upstream.get("model")) is not None and isinstance(model.params, ScaleTraining):
        anchor = "reference" if "reference" in model.inputs else model.params.anchor
        if anchor in {"none", "lattice"} and "reference" in step.inputs and not guided:
            unguided = " and guidance.strength is 0" if hasattr(step.params, "guidance") else ""
            why = f"step '{model.name}' has anchor: {anchor}{unguided}, so the reference would be ignored: drop it or train anchored to it"
            raise PipelineError(f"{place}.inputs.reference", why)
        if anchor == "reference" and getattr(step.params, "size", None) is not None and "reference" not in step.inputs:
            why = f"the structure follows the clean image of step '{model.name}', in its size: leave size out, or connect another reference"
            raise PipelineError(f"{place}.params.size", why)


def _check_training(place: str, params: ScaleTraining, inputs: Mapping[str, Any], images: PlannedStep | None) -> None:
    if params.anchor in {"none", "lattice"} and "reference" in inputs:
        why = f"anchor is {params.anchor}, so the reference would be ignored: drop one of the two"
        raise PipelineError(f"{place}.inputs.reference", why)
    if images is None:
        return
    size = _size_of(images)
    if size is not None and min(size) < SHORTEST:
        why = f"step '{images.name}' gives images of {size[0]} x {size[1]}, too small for a pyramid: {SHORTEST} pixels or more"
        raise PipelineError(f"{place}.inputs.images", why)
    if params.anchor == "reference" and "reference" not in inputs and images.task == "images.load" and not _may_have_clean(images):
        why = f"anchor is reference, but step '{images.name}' loads no clean image; connect one as `reference`"
        raise PipelineError(f"{place}.params.anchor", why)


def _size_of(images: PlannedStep) -> tuple[int, int] | None:
    """(height, width) of the images of a step, as a parameter or the header of the first file says; None where neither does."""
    side = getattr(images.params, SIDES.get(images.task, ""), None)
    if isinstance(side, int):
        return side, side
    scene = getattr(images.params, "scene", None)
    entries: list[Any] = [] if scene is None else scene().entries
    if not entries or getattr(images.params, "info_bar", False):
        return None
    from PIL import Image

    try:
        with Image.open(entries[0].path) as picture:
            return picture.height - getattr(images.params, "crop_bottom", 0), picture.width
    except Exception:  # NPY, say; and what cannot be read is for the loading to tell
        return None


def _may_have_clean(images: PlannedStep) -> bool:
    """Whether files that are loaded may hold a clean image: by their names and annotations, which masks say more than."""
    scene = getattr(images.params, "scene", None)
    entries: list[Any] = [] if scene is None else scene().entries
    return not entries or any(entry.domain == 0 or entry.reference or entry.masks or entry.shapes == () for entry in entries)


class ScaleTraining(Params):
    """Training of a `ScaleNetwork` on one image. Subclass it with a `preset` and what is the method's own."""

    image: int | None = Field(None, ge=0, description="row of the training image; left out: the only image, or the only one with a defect")
    steps: int = Field(4500, ge=0, description="optimizer steps (published 120,000)")
    batch: int = Field(8, ge=1, description="noisy copies of the image a step (published 32)")
    width: int = Field(64, ge=8, multiple_of=2, description="channels of the middle blocks (published 160: 1,104,892 parameters in grey)")
    decay: Literal["cosine", "halvings"] = Field(
        "cosine", description="course of the learning rate; published halvings after 1/6, 1/3, 7/12, 2/3, 3/4 and 11/12 of the steps"
    )
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the weight average, which is what samples (published 0.995)")
    ema_every: int = Field(1, ge=1, description="steps between updates of the average (published 10)")
    ema_start: int = Field(0, ge=0, description="until this step the average is a copy (published 2000)")
    precision: Precision = "auto"
    anchor: Literal["auto", "lattice", "reference", "none"] = Field(
        "auto",
        description="lattice: two input channels a direction with the phase of the periodic structure, so that lines stay in place "
        "after few steps; reference: the clean image of the same place as input channels, for any structure; none: as published, the "
        "zero padding alone shows where the borders are; auto: the input `reference`, else a lattice where the image has one, else a "
        "clean image of the set that shows the same place, else none; above 256 x 256 pixels the clean image before the lattice",
    )
    copies: int | None = Field(
        None,
        ge=0,
        description="with a reference: copies of the image to train on beside it, in which its defect lies elsewhere; 0: none; "
        "null: 64, fewer where they hold more than 4 million pixels, 8 at least",
    )
    defects: float = Field(
        2.0,
        gt=0,
        description="with a reference: defects on each copy of 96 x 96 pixels, on larger ones in proportion to the side; samples of a "
        "short training have fewer than it was shown",
    )
    defect_pixels: float | None = Field(
        3.0,
        gt=0,
        description="with a reference: the defect is at least so thick at the coarsest scale, which is made larger for it, since a defect "
        "that is lost there comes back in hardly any sample; null: as published, the same for any defect",
    )
    window: int | None = Field(
        44, ge=33, description="train the finer scales on random windows of this many pixels: cheaper; null: whole scales, as published"
    )  # fmt: skip
    coarse_window: int | None = Field(
        51, ge=33, description="the same for the coarsest scale: a defect is then not tied to its distance from the borders, but a window "
        "that always holds it also makes it more frequent; null: the whole scale, as published"
    )  # fmt: skip
    quantise: bool = Field(False, description="round the pyramid to 8 bits, as the files of the released code do")
    max_pixels: int | None = Field(
        None, ge=42 * 42, description="a larger image is shrunk to this many pixels first (published 50,000); null: never"
    )
