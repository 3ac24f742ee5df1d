"""Flow matching: x_t = (1 - t) n + t x, and a network that learns the velocity x - n (Lipman et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom import Context, DataError, ImageSet, Model

from .method import SampleParams, TrainParams
from .network import Velocity


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    if images.images.shape[1] != 1:
        raise DataError(f"my-weave learns grey images; these have {images.images.shape[1]} channels. Load them as grey.")
    data = to_signal(images.images[:]).to(ctx.device)
    net = Velocity(params.width, tuple(data.shape[2:])).to(ctx.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    draw = ctx.generator()  # one stream, seeded by the step and kept in every checkpoint
    # the loop restores, checkpoints and shows progress; it must be given everything that has state
    for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
        rows = torch.randint(len(data), (params.batch,), generator=draw)
        time = torch.rand(params.batch, 1, 1, 1, generator=draw).to(ctx.device)
        noise = torch.randn(params.batch, *data.shape[1:], generator=draw).to(ctx.device)
        target = data[rows.to(ctx.device)]
        loss = (net((1 - time) * noise + time * target, time) - (target - noise)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step.log(loss=loss.item())
    return Model.write(ctx, net.state_dict(), {"width": params.width, "size": list(data.shape[2:])})


@torch.no_grad()
def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`: Euler steps along the learned velocity."""
    config = model.config
    height, width = config["size"]
    net = Velocity(config["width"], (height, width))
    net.load_state_dict(model.state())
    net.to(ctx.device).eval()
    draw = ctx.generator()

    def images() -> Iterator[NDArray[np.uint8]]:
        with ctx.progress(params.count, unit="image") as bar:
            for _ in range(params.count):
                x = torch.randn(1, 1, height, width, generator=draw).to(ctx.device)
                for index in range(params.steps):
                    time = torch.full((1, 1, 1, 1), index / params.steps, device=ctx.device)
                    x = x + net(x, time) / params.steps
                yield to_pixels(x)
                bar.advance()

    return ImageSet.write(ctx, images())


def to_signal(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [N,1,H,W] to float32 on [-1, 1]."""
    return torch.from_numpy(pixels).float() / 127.5 - 1


def to_pixels(signal: Tensor) -> NDArray[np.uint8]:
    """float32 on [-1, 1] to uint8."""
    pixels: NDArray[np.uint8] = ((signal.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    return pixels
