"""Images from a teacher by the recurrence, or from a student in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap

from .params import SampleParams
from .recurrence import labels, readout, run, starting_noise
from .student import load_student
from .training import load_circuit

Generator = Callable[[Tensor], Tensor]
"""x_T [B,C,H,W] to x_0 [B,C,H,W], both on the device, not clipped."""


def generator_of(model: Model, device: torch.device, apply_t0: bool = False) -> Generator:
    """What turns noise into images; a teacher walks the recurrence, a student takes one step."""
    role = model.config.get("role")
    if role == "teacher":
        circuit = load_circuit(model, device)
        at = labels(circuit.config.timesteps, apply_t0)
        return lambda x: readout(circuit, run(circuit, x, at))
    if role == "student":
        if apply_t0:
            raise DataError("apply_t0 is the teacher's; a student takes one step")
        return load_student(model, device)
    raise DataError(f"model {model.key[:12]} is neither teacher nor student of denoising-circuits, but '{role}'")


@torch.no_grad()
def generate(generator: Generator, x: Tensor, device: torch.device, batch: int) -> Iterator[Tensor]:
    """x_0 (CPU, float32, clipped to [-1, 1]) of x_T [N,C,H,W], batch by batch."""
    for part in x.split(batch):
        yield generator(part.to(device)).float().clamp(-1, 1).cpu()


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    generator = ctx.autocast(params.precision)(generator_of(model, ctx.device, params.apply_t0))
    grey = GreyMap(*model.config["grey"])
    shape: tuple[int, int, int] = tuple(model.config["image"])
    seed = ctx.seed if params.noise_seed is None else params.noise_seed

    own = ctx.rows(params.count)

    def batches() -> Iterator[NDArray[np.uint8]]:
        with ctx.progress(len(own), unit="image", name="sample") as bar:
            for start in range(own.start, own.stop, params.batch):
                if ctx.stop_requested():
                    done = start - own.start
                    raise Interrupted(f"stopped after {done} of {len(own)} images. Run the same command again to start over.")
                x = starting_noise(seed, range(start, min(start + params.batch, own.stop)), shape)
                for images in generate(generator, x, ctx.device, params.batch):
                    yield grey.inverse(images).numpy()
                    bar.advance(len(images))

    return ImageSet.write(ctx, batches(), count=len(own), channels=shape[0], attrs={"noise_seed": seed, "role": model.config["role"]})
