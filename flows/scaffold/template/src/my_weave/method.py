"""The method as fabloom sees it: its parameters and its tasks.

Every `fabloom` command imports this module, so that torch is imported inside the tasks, through `flow.py`.
"""

from __future__ import annotations

from pydantic import Field

from fabloom import Context, ImageSet, Method, Model, Params, task


class TrainParams(Params):
    """Training. Descriptions become the help of `fabloom tasks my-weave.train`."""

    steps: int = Field(300, gt=0, description="optimizer steps")
    batch: int = Field(8, gt=0, description="images an optimizer step")
    width: int = Field(32, gt=0, description="channels of the hidden layers")
    lr: float = Field(3e-3, gt=0, description="learning rate of Adam")


class SampleParams(Params):
    """Sampling."""

    count: int = Field(16, gt=0, description="images to draw")
    steps: int = Field(12, gt=0, description="Euler steps from noise to image")


class MyWeave(Method):
    """Flow matching with a small convolutional network that is told where it is (Lipman et al. 2023, equation 23)."""

    name = "my-weave"
    api = ">=1,<2"
    # methods that learn from a single image carry this tag; `fabloom plan one-shot-leaderboard` then has a row for them
    tags = frozenset({"one-shot"})

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Learn from a few images of one structure. Raises DataError for images that are not grey."""
        from . import flow

        return flow.train(ctx, params, images)

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Draw images. Image i depends on (seed, i) only, so that a larger count keeps the earlier ones."""
        from . import flow

        return flow.sample(ctx, params, model)
