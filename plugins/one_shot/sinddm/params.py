"""Parameters of `sinddm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.scale_params import PUBLISHED, ScaleTraining, filled

TIMES = 100
"""Noise levels T of the schedule, as published."""
PUBLISHED_TRAIN: dict[str, Any] = {
    **PUBLISHED, "lr": 1e-3, "prediction": "epsilon", "loss": "l1", "stretch": False, "blur": "fractions", "levels": "all",
}  # fmt: skip
STEPS = 20
"""Most steps a scale of the preset `small`."""
TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED_TRAIN,
    "parity": {**PUBLISHED_TRAIN, "blur": "overflow", "quantise": True},
}
PUBLISHED_SAMPLE: dict[str, Any] = {"steps": TIMES, "eta": 1.0, "order": 1, "precision": "fp32"}
SAMPLE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED_SAMPLE,
    "parity": {**PUBLISHED_SAMPLE, "start_noise": "above"},
}


class TrainParams(ScaleTraining):
    """Training on one image. The defaults are the preset `small`: some 10 CPU minutes for 96 x 96."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. small: a CPU setting with declared departures (anchor, windows, stretched grey "
        "levels); published: the paper's network and 120,000 iterations of batch 32; parity: published with the 8-bit overflow and the "
        "8-bit pyramid of the released code, for study",
    )
    lr: float = Field(2e-3, gt=0, description="Adam learning rate (published 1e-3)")
    prediction: Literal["epsilon", "v_prediction", "sample"] = Field(
        "v_prediction",
        description="what the network predicts: the noise (published; needs many steps, since its error is multiplied by up to 2029), "
        "the velocity of Salimans & Ho, or the clean image",
    )
    loss: Literal["l1", "l2"] = Field("l2", description="l1 (published) predicts medians, l2 means; medians leave out rare defects")
    stretch: bool = Field(
        True, description="map the image's own grey range to [-1, 1]; off (published): 0..255, of which the line pair spans 27 levels"
    )  # fmt: skip
    blur: Literal["equivalent", "fractions", "overflow"] = Field(
        "equivalent",
        description="noise level at which a scale starts from the blurred one before: equivalent: where noise hides the detail that the "
        "blur took; fractions: given shares of all levels; overflow: the released code's 8-bit wrap-around",
    )
    detectability: float = Field(
        2.0,
        gt=0,
        description="equivalent: separability d' of blurred and sharp behind the noise, seen through one receptive field: 2 is mistaken "
        "in 16 % of cases, 1 in 31 % and starts higher",
    )
    fractions: tuple[float, ...] = Field(
        (0.43, 0.27),
        min_length=1,
        description="fractions: start of scale 1, 2, ... as a share of the levels; the last holds for all further scales "
        "(0.43 and 0.27 are what the overflow gives for the line pair)",
    )
    levels: Literal["all", "visited"] = Field(
        "visited", description="noise levels that are trained: all at all scales (published), or those below T_s, which sampling visits"
    )
    area: float = Field(3110.0, gt=0, description="about the pixels of the coarsest scale (published 3110)")
    ratio: float = Field(1.411, gt=1, description="about the ratio of neighbouring scales (published 1.411)")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.fractions) <= 0 or max(self.fractions) > 1:
            raise ValueError(f"fractions: shares of the levels lie in (0, 1], not {self.fractions}")
        return self


class Box(Params):
    """A rectangle in pixels of the finest scale."""

    top: int = Field(ge=0, description="first row")
    left: int = Field(ge=0, description="first column")
    height: int = Field(ge=1, description="rows")
    width: int = Field(ge=1, description="columns")


class Region(Params):
    """Content of the training image at `source` that shall appear at `target` of the output (stretched to its size)."""

    source: Box = Field(description="what to repeat, in the training image")
    target: Box = Field(description="where it shall be, in the output")


class SampleParams(Params):
    """Sampling. The defaults are the preset `small`; `published` and `parity` are the paper's sampler as described and as released."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. small: at most 20 deterministic second-order steps a scale; published: all steps, "
        "ancestral at the coarsest scale; parity: also the released code's start noise",
    )
    count: int = Field(200, ge=1, description="images")
    batch: int = Field(16, ge=1, description="images generated at once; fewer where they hold more than a million pixels together")
    size: tuple[int, int] | None = Field(
        None, description="height and width of the output; null is the training image's, or that of the clean image that anchors it"
    )
    steps: int | tuple[int, ...] | None = Field(
        None,
        description="at most so many steps a scale, or one number for each scale, coarsest first; a scale that starts at level T_s has "
        "T_s at most (published 100: all); null: 20, fewer in proportion to the side at scales of more than 256 x 256 pixels, but 5",
    )
    start: tuple[int, ...] | None = Field(
        None, description="levels T_s at which scale 1, 2, ... start, within the trained ones; null: those that the training chose"
    )  # fmt: skip
    start_noise: Literal["level", "above"] = Field(
        "level", description="noise at the start of a scale: of its first level T_s - 1, or of T_s, one above (released code)"
    )
    eta: float = Field(0.0, ge=0, le=1, description="noise of the coarsest scale's steps: 1 ancestral (published), 0 none, as DDIM")
    order: Literal[1, 2] = Field(
        2, description="1: the clean image is held during a step (published; shrinks contrast at few steps); 2: carried on linearly"
    )
    omega: float = Field(0.0, ge=0, le=1, description="share of fresh noise in the steps of the finer scales (published 0: none)")
    extra_scales: int = Field(
        0, ge=0, le=8, description="further scales beyond the finest; without `size` the output grows by the ratio of the last two scales"
    )  # fmt: skip
    regions: tuple[Region, ...] = Field((), description="what shall be repeated where (ROI guidance)")
    region_strength: float = Field(
        0.8, gt=0, le=1, description="share of a region's content in the clean image of each step (published 0.8)"
    )
    composite_start: int = Field(
        15, ge=1, le=TIMES, description="with `composite`: noise level from which the composite is repaired; more changes more"
    )
    composite_margin: int = Field(2, ge=0, description="with `composite`: pixels by which its mask is widened before it is softened")
    precision: Precision = "auto"

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(SAMPLE_PRESETS, given)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is not None and min((self.steps,) if isinstance(self.steps, int) else self.steps, default=0) < 1:
            raise ValueError("steps: every scale needs one step or more")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: height and width must be positive, not {self.size}")
        if self.start is not None and not all(0 <= level <= TIMES for level in self.start):
            raise ValueError(f"start: levels lie in 0..{TIMES}, not {self.start}")
        return self
