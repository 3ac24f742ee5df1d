"""Images from a teacher by the recurrence, or from a student in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.generated import write
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.leftover import Leftover
from fabloom.plugins.blocks.streams import numpy_stream

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


Grained = Callable[[int, range], Tensor]
"""Seed and sample numbers to noise [B,C,H,W] in units of the images."""


def grain_of(model: Model) -> Grained | None:
    """The noise that a student leaves out, to be added to its images: each sample's follows from the seed and its number. None for a
    teacher, whose images have it.
    """
    if model.config.get("role") != "student":
        return None
    grain, half = Leftover.kept(model.state("grain.")), GreyMap(*model.config["grey"]).half

    def draw(seed: int, numbers: range) -> Tensor:
        drawn = [grain.draw(numpy_stream(seed, f"grain/{number}")) for number in numbers]
        return torch.from_numpy(np.stack(drawn)).float() / half

    return draw


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    generator = ctx.autocast(params.precision)(generator_of(model, ctx.device, params.apply_t0))
    shape: tuple[int, int, int] = tuple(model.config["image"])
    seed = ctx.seed if params.noise_seed is None else params.noise_seed

    grain = grain_of(model) if params.grain else None

    @torch.no_grad()
    def draw(numbers: range) -> Tensor:
        images: Tensor = generator(starting_noise(seed, numbers, shape).to(ctx.device)).float()
        return images if grain is None else images + grain(seed, numbers).to(images)

    return write(ctx, model, params.count, params.batch, draw, attrs={"noise_seed": seed, "role": model.config["role"]})
