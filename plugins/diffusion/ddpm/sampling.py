"""From noise to images with a scheduler of diffusers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from fabloom.errors import DataError, Interrupted, did_you_mean
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.denoisers import evaluate, load
from fabloom.plugins.blocks.diffusion import Network, guided, velocity_of
from fabloom.plugins.blocks.generated import shape_of, write
from fabloom.plugins.blocks.noise import NoiseSchedule, Prediction, clean_image, noise_schedule

from .params import SampleParams

SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler-ancestral": (EulerAncestralDiscreteScheduler, {}),
}


@dataclass(frozen=True)
class Sampler:
    """A network with all that says how to walk from noise to images. `beta_schedule` is diffusers' name."""

    network: Network
    prediction: Prediction
    beta_schedule: Any
    beta_start: float
    beta_end: float
    null: int
    params: SampleParams

    def scheduler(self) -> Any:
        """A fresh diffusers scheduler: they count their steps. 'trailing' starts at the noisiest time (Lin et al. 2023)."""
        kind, options = SCHEDULERS[self.params.scheduler]
        made = kind(
            num_train_timesteps=TIMES,
            beta_schedule=self.beta_schedule,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            **options,
        )
        made.set_timesteps(self.params.steps)
        return made

    @torch.no_grad()
    def draw(
        self, generators: list[torch.Generator], shape: tuple[int, ...], labels: Tensor | None, device: torch.device,
        watch: Callable[[], None] = lambda: None,
    ) -> Tensor:  # fmt: skip
        """x_0 [B,*shape] float32 on the CPU, one image for each generator. `watch` is called before every step."""
        schedule = noise_schedule(self.beta_schedule, self.beta_start, self.beta_end)
        scheduler = self.scheduler()
        x = torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device) * float(scheduler.init_noise_sigma)
        for time in scheduler.timesteps:
            watch()
            scaled = scheduler.scale_model_input(x, time)
            t = torch.full((len(x),), round(float(time)), device=device)
            v = self.velocity(schedule, scaled, t, labels)
            x = scheduler.step(v, time, x, generator=generators, return_dict=False)[0]
        return x.float().cpu()

    def velocity(self, schedule: NoiseSchedule, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The guided, clipped prediction as a velocity, which is what the schedulers are told to expect."""
        output = guided(self.network, x, t, labels, self.null, self.params.guidance_scale).float()
        x0 = clean_image(schedule, self.prediction, x, output, t)
        return velocity_of(schedule, x, x0.clamp(-1, 1) if self.params.clip else x0, t)


def image_generator(seed: int, index: int) -> torch.Generator:
    """The stream of image `index`: its start and all noise it meets, whatever the batch."""
    digest = hashlib.blake2b(f"ddpm/{seed}/{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


ASKED = {"asked": True}
"""Attributes of images whose domain or classes are what was asked of the model; what came out may be another."""


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    config = model.config
    unet = load(model, "ddpm", ctx.device)
    classes = drawn_classes(params, config)
    network = ctx.autocast(params.precision)(lambda x, t, labels: evaluate(unet, x, t, labels))
    sampler = Sampler(
        network, config["prediction_type"], config["schedule"], config["beta_start"],
        config["beta_end"], len(config["classes"]), params if "codec" not in config else params.model_copy(update={"clip": False}),
    )  # fmt: skip
    numbers = None if not classes else np.resize(np.array(classes, np.int16), params.count)

    def draw(index: range) -> Tensor:
        labels = None if numbers is None else torch.from_numpy(numbers[index.start : index.stop]).long().to(ctx.device)
        return sampler.draw([image_generator(ctx.seed, i) for i in index], shape_of(config), labels, ctx.device, lambda: watch(ctx))

    own, columns = ctx.rows(params.count), dict[str, Any]()
    if numbers is not None and config["class_source"] == "domain":
        columns = {"domain": numbers[own.start : own.stop].astype(np.int8), "attrs": ASKED}
    elif numbers is not None:
        columns = {"labels": numbers[own.start : own.stop], "class_names": config["classes"], "attrs": ASKED}
    return write(ctx, model, params.count, params.batch, draw, **columns)


def watch(ctx: Context) -> None:
    """Between the steps of a batch, each of which may take long on a CPU."""
    if ctx.stop_requested():
        raise Interrupted("stopped while sampling. Run the same command again to start over.")


def drawn_classes(params: SampleParams, config: dict[str, Any]) -> list[int]:
    """Class numbers to draw in turn; empty for a model without classes. Raises DataError for a class that is not the model's."""
    names: list[str] = config["classes"]
    if not names and (params.labels or params.guidance_scale != 1):
        raise DataError("this model knows no classes: leave out labels and guidance_scale, or train with classes=labels or domain")
    for label in params.labels:
        if label not in names:
            raise DataError(f"the model has no class '{label}'.{did_you_mean(label, names)}")
    return [names.index(label) for label in params.labels or names]
