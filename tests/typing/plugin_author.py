"""What a plugin author writes must type-check under strict mypy without a cast or an ignore."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fabloom import Context, ImageSet, Method, Model, Params, hookimpl, task


class TrainParams(Params):
    steps: int = Field(20, gt=0, description="Optimizer steps.")


class SampleParams(Params):
    count: int = Field(8, gt=0, description="Images to draw.")


class Fade(Method):
    """Learns the mean image and fades noise into it."""

    name = "fade"
    tags = frozenset({"one-shot"})

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        net = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        target = torch.from_numpy(images.images[:].astype(np.float32)).mean()
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            loss = (net(torch.ones(1, 1)) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        return Model.write(ctx, state=net.state_dict(), config={"shape": list(images.images.shape[1:])})

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        shape = model.config["shape"]
        generator = ctx.generator()

        def batches() -> Iterator[NDArray[np.uint8]]:
            for _ in range(params.count):
                noise = torch.randint(0, 255, (1, *shape), generator=generator, dtype=torch.uint8)
                yield noise.numpy()

        return ImageSet.write(ctx, images=batches())


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    return [Fade]
