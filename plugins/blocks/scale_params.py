"""Parameters that SinSEMI and SinDDM share: one network over the scales of one image's pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from fabloom.params import Params, Precision

PUBLISHED: Mapping[str, Any] = {
    "steps": 120_000, "batch": 32, "width": 160, "decay": "halvings", "precision": "fp32", "ema_every": 10, "ema_start": 2000,
    "anchor": "none", "window": None, "coarse_window": None,
}  # fmt: skip
"""What both papers train with, and without."""


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
    anchor: Literal["auto", "lattice", "none"] = Field(
        "auto",
        description="lattice: two input channels a direction with the phase of the periodic structure, so that lines stay in place "
        "after few steps; none: as published, the zero padding alone shows where the borders are; auto: lattice where the image has one",
    )
    window: int | None = Field(
        44, ge=33, description="train the finer scales on random windows of this many pixels: cheaper; null: whole scales, as published"
    )  # fmt: skip
    coarse_window: int | None = Field(
        51, ge=33, description="the same for the coarsest scale: a defect is then not tied to its distance from the borders, but a window "
        "that always holds it also makes it more frequent; null: the whole scale, as published"
    )  # fmt: skip
    quantise: bool = Field(False, description="round the pyramid to 8 bits, as the files of the released code do")
    max_pixels: int = Field(50_000, ge=42 * 42, description="a larger image is shrunk to this many pixels first (published 50,000)")
