"""A third party's one-shot method as it lies in site-packages: it moves the defect of the image along the lines."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fabloom import Context, ImageSet, Method, Model, Params, hookimpl, task


class TrainParams(Params):
    preset: str = Field("small", description="Nothing to choose.")


class SampleParams(Params):
    count: int = Field(8, gt=0, description="Images.")
    steps: int = Field(1, gt=0, description="More steps, less noise.")
    reach: float = Field(0.5, ge=0, description="How far the defect moves, as a share of the height.")


class Loom(Method):
    """The image itself, rolled along its lines, with fresh noise."""

    name = "loom"
    tags = frozenset({"one-shot"})
    variants: ClassVar[dict[str, dict[str, Any]]] = {"far": {"reach": 1.0}}
    ablations: ClassVar[dict[str, list[dict[str, Any]]]] = {"steps": [{"steps": 1}, {"steps": 4, "reach": 0.1}]}

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Keep the image with the defect."""
        import torch

        row = int(np.argmax(images.domain[...])) if images.domain is not None else 0
        return Model.write(ctx, {"image": torch.from_numpy(images.images[row])}, {"role": "loom"})

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Roll and add noise."""
        image = model.state()["image"].numpy().astype(float)
        rng = np.random.default_rng(ctx.seed)
        moves = rng.integers(0, max(1, round(params.reach * image.shape[1])), params.count)
        noise = rng.normal(0, 1 / params.steps, (params.count, *image.shape))
        moved = np.stack([np.roll(image, move, 1) for move in moves]) + noise
        return ImageSet.write(ctx, moved.clip(0, 255).round().astype(np.uint8))


@hookimpl
def fabloom_methods():
    return [Loom]
