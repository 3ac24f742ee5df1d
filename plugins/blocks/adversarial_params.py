"""Parameters that SinGAN and ConSinGAN share: how critic and generator are trained. Light, since `fabloom plan` reads them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fabloom.errors import PipelineError
from fabloom.method import PlannedStep
from fabloom.params import Params


class AdversarialTraining(Params):
    """How critic and generator are trained at every scale. Subclass it with a `preset` and what is the method's own."""

    image: int | None = Field(None, ge=0, description="row of the training image; left out: the only image, or the only one with a defect")
    stretch: bool = Field(True, description="map the image's own grey range to about -1..1; off (published): 0..255")
    max_pixels: int | None = Field(
        None, ge=25 * 25, description="a larger image is shrunk to this many pixels first (published 62,500: sides of 250); null: never"
    )
    coarsest: int = Field(25, ge=11, description="pixels of the short side of the coarsest scale (published 25)")
    iterations: int = Field(300, ge=1, description="iterations at every scale (published 2000)")
    lr: float = Field(2e-3, gt=0, description="Adam learning rate of critic and generator (published 5e-4), a tenth in the last fifth")
    critic_steps: int = Field(1, ge=1, description="steps of the critic an iteration (published 3)")
    generator_steps: int = Field(
        3, ge=1, description="steps of the generator an iteration (published 3); with 1, some seeds learn nothing"
    )  # fmt: skip
    penalty: float = Field(0.1, ge=0, description="weight of the gradient penalty (published 0.1)")
    rebuild: float = Field(10.0, ge=0, description="weight of the squared error of the image that a fixed noise shall give (published 10)")
    noise: float = Field(0.1, ge=0, description="noise of a finer scale over the error that the scale before leaves (published 0.1)")
    inputs: int = Field(
        32, ge=0, description="inputs from the finished scales that a scale is trained on, drawn when it starts; 0 (published): always anew"
    )  # fmt: skip


class AdversarialSampling(Params):
    """Sampling: one pass through the generator."""

    count: int = Field(200, ge=1, description="images")
    batch: int = Field(16, ge=1, description="images generated at once; fewer where they hold more than a million pixels together")
    size: tuple[int, int] | None = Field(None, description="height and width of the output; null is that of the image (retargeting)")
    margin: int = Field(2, ge=0, description="with `composite`: pixels by which its mask is widened before it is softened")

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: height and width must be positive, not {self.size}")
        return self


def check_size(step: PlannedStep) -> None:
    """Refuse a size beside a composite, which has its own, in `Method.check`. Raises PipelineError."""
    if isinstance(step.params, AdversarialSampling) and "composite" in step.inputs and step.params.size is not None:
        raise PipelineError(f"steps.{step.name}.params.size", "a composite is harmonised in its own size: leave it out")
