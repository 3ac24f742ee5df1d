"""A diffusion model of one image at its full size (SinDiffusion, SinFusion): training on views of the image, sampling at any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.optimization import get_scheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.network import Network

from .anchor import fitting
from .ema import ema
from .graphs import example, traceable
from .grey import GreyMap
from .noise import NoiseSchedule, Prediction, target
from .one_shot import images_at_once, pick, write_samples
from .pyramid import resize
from .scale_graph import SPACE
from .scale_training import Windows
from .single_params import SMALLEST, SingleSampling, SingleTraining
from .streams import normal, streams

LOG_EVERY = 10
WHITE = 255.0
Denoise: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(state [B,C,H,W], noise levels [B]) to what the model predicts, [B,C,H,W]."""
Views: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""(image [1,C,H,W], stream) to what a step is trained on, [B,C,h,w]."""


@dataclass(frozen=True)
class Diffusion:
    """T noise levels, what the network predicts, and the variance of ancestral steps. Stored in a model's config.

    `linear`: betas from 0.1 / T to 20 / T (Ho et al. 2020, Dhariwal & Nichol 2021); `cosine`: cumulative alphas cos^2 of
    (t / T + 0.008) / 1.008 pi / 2, betas of at most 0.999 (Nichol & Dhariwal 2021).
    """

    times: int
    schedule: Literal["linear", "cosine"]
    prediction: Prediction
    variance: Literal["fixed_large", "fixed_small"]

    @property
    def options(self) -> dict[str, Any]:
        """What diffusers' schedulers are told."""
        betas = {"linear": ("linear", 0.1 / self.times, 20 / self.times), "cosine": ("squaredcos_cap_v2", 0.0, 0.0)}
        name, low, high = betas[self.schedule]
        return {
            "num_train_timesteps": self.times, "beta_schedule": name, "beta_start": low, "beta_end": high,
            "prediction_type": self.prediction, "clip_sample": True,
        }  # fmt: skip

    @property
    def noise(self) -> NoiseSchedule:
        """a_t and s_t of every level."""
        cumulative = DDPMScheduler(**self.options).alphas_cumprod.double()
        return NoiseSchedule(cumulative.sqrt(), (1 - cumulative).sqrt())

    def scheduler(self, kind: str, steps: int | None) -> Any:
        """A fresh scheduler of diffusers: they count their steps. Raises DataError for steps that it cannot take."""
        wanted = self.times if steps is None else steps
        if wanted > self.times:
            raise DataError(f"steps: the model was trained on {self.times} noise levels and takes at most as many steps, not {wanted}")
        if kind == "ddim":
            if self.times % wanted:
                raise DataError(f"steps: ddim takes equal strides through {self.times} noise levels, so a divisor of it, not {wanted}")
            made: Any = DDIMScheduler(**self.options, timestep_spacing="trailing")
        else:
            # both ends are visited, since noise is added in every step but that of level 0
            made = DDPMScheduler(**self.options, variance_type=self.variance, timestep_spacing="linspace")
        made.set_timesteps(wanted)
        return made


@dataclass(frozen=True)
class SingleScale:
    """What a method of this kind does, under its name and with its network: `network(channels, **shape)`."""

    role: str
    network: Callable[..., nn.Module]

    def train(
        self, ctx: Context, params: SingleTraining, images: ImageSet, diffusion: Diffusion, views: Views, shape: Mapping[str, Any]
    ) -> Model:
        """The task `train`: the averaged weights of a network of this `shape`, and how to read them.

        Raises DataError for a set that leaves a choice, a constant image, and one of less than 16 pixels either way.
        """
        picture = pick(images, params.image)
        size, shrinks = fitting(picture, params.max_pixels)
        if min(size) < SMALLEST:
            raise DataError(f"image {picture.row} has {size[0]} x {size[1]} pixels, too few to learn from: {SMALLEST} or more each way")
        values = GreyMap.fit(picture.pixels, margin=0) if params.stretch else GreyMap(0.0, WHITE)
        # a cubic kernel overshoots at edges, and sampling clips to the range
        image = resize(values.forward(picture.pixels)[None], size, "bicubic").clamp(-1, 1)
        channels = len(picture.pixels)
        # the starting weights come from the global generator, which the engine seeds
        net = self.network(channels, **shape).to(ctx.device)
        ctx.log(f"{shrinks}{sum(weight.numel() for weight in net.parameters()):,} parameters")
        state = fit(ctx, params, net, diffusion, lambda draw: views(image, draw))
        config = {
            "role": self.role,
            "image": [channels, *size],
            "channels": channels,
            "set_channels": picture.channels,
            "sizes": [list(size)],
            "values": [values.low, values.high],
            "diffusion": asdict(diffusion),
            "network": dict(shape),
        }
        return Model.write(ctx, {f"net.{name}": value for name, value in state.items()}, config)

    def sample(
        self, ctx: Context, params: SingleSampling, model: Model, around: Callable[[Denoise], Denoise] = lambda denoise: denoise
    ) -> ImageSet:
        """The task `sample`, with what `around` makes of the network.

        Raises DataError for the model of another method, and for steps that its noise levels do not allow.
        """
        config, net = model.config, self.load(model).to(ctx.device)
        diffusion, values = Diffusion(**config["diffusion"]), GreyMap(*config["values"])
        height, width = params.size or config["sizes"][-1]
        diffusion.scheduler(params.scheduler, params.steps)  # refuses before anything is drawn
        denoise = around(ctx.autocast(params.precision)(net))

        def watch() -> None:
            if ctx.stop_requested():
                raise Interrupted("stopped while sampling. Run the same command again to start over.")

        def draw(numbers: range) -> NDArray[np.uint8]:
            sources = streams(ctx.seed, numbers)
            start = normal(sources, (config["channels"], height, width), ctx.device)
            made = walk(denoise, diffusion.scheduler(params.scheduler, params.steps), start, sources, watch)
            return values.inverse(made).cpu().numpy()

        attrs = {"method": self.role, "scheduler": params.scheduler, "steps": params.steps or diffusion.times}
        return write_samples(ctx, params.count, images_at_once(params.batch, (height, width)), config["set_channels"], draw, attrs)

    def load(self, model: Model) -> nn.Module:
        """The network of a model in evaluation mode, on the CPU. Raises DataError for the model of another method."""
        config = model.config
        if config.get("role") != self.role:
            raise DataError(f"model {model.key[:12]} is no model of {self.role}.train (role '{config.get('role')}')")
        net = self.network(config["channels"], **config["network"])
        net.load_state_dict(model.state("net."))
        return net.eval().requires_grad_(False)

    def networks(self, model: Model) -> dict[str, Network]:
        """`denoiser`: one evaluation at any height and width."""
        config = model.config
        height, width = config["sizes"][-1]
        times, prediction = config["diffusion"]["times"], config["diffusion"]["prediction"]
        inputs = {"x": example(2, config["channels"], height, width), "time": torch.tensor([times - 1, 0])}
        meaning = {
            "x": "noisy state x_t; grey levels [low, high] of the config's `values` are [-1, 1]",
            "time": f"noise level t, 0 to {times - 1}",
            "prediction": f"what the network predicts: {prediction}",
        }
        return {"denoiser": Network(traceable(self.load(model)), inputs, ("prediction",), {"x": SPACE, "time": {0: "batch"}}, meaning)}


def fit(
    ctx: Context, params: SingleTraining, net: nn.Module, diffusion: Diffusion, view: Callable[[torch.Generator], Tensor]
) -> dict[str, Tensor]:
    """The loop; returns the averaged weights. The loss is the mean squared error of what is predicted, at uniformly random levels."""
    average = ema(net, params.ema_decay, warmup=params.ema_warmup)
    # SinDiffusion's AdamW has no weight decay, so it is Adam
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    rate = get_scheduler(params.decay, optimizer, num_warmup_steps=0, num_training_steps=max(params.steps, 1))
    noise, draw = diffusion.noise, ctx.generator("batches")
    net.train()
    forward = ctx.autocast(params.precision)(net)
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, rate=rate):
        clean = view(draw)
        t, drawn = torch.randint(diffusion.times, (len(clean),), generator=draw), torch.randn(clean.shape, generator=draw)
        x0, drawn = clean.to(ctx.device), drawn.to(ctx.device)
        out = forward(noise.add_noise(x0, drawn, t), t.to(ctx.device)).float()
        loss = mse_loss(out, target(noise, diffusion.prediction, x0, drawn, t))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        average.update_parameters(net)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()))
    state: dict[str, Tensor] = average.module.state_dict()
    return state


def windows(whole: Tensor, height: int, width: int, count: int, draw: torch.Generator) -> Tensor:
    """Random windows [count,C,h,w] of an image [1,C,H,W], no larger than it is."""
    height, width = min(height, whole.shape[-2]), min(width, whole.shape[-1])
    tops = torch.randint(whole.shape[-2] - height + 1, (count,), generator=draw).tolist()
    lefts = torch.randint(whole.shape[-1] - width + 1, (count,), generator=draw).tolist()
    return Windows([0] * count, tops, lefts, height, width).of(whole)


@torch.no_grad()
def walk(
    denoise: Denoise, scheduler: Any, start: Tensor, sources: Sequence[torch.Generator], watch: Callable[[], None] = lambda: None
) -> Tensor:
    """From noise [B,C,H,W] to images [B,C,H,W] float32; row b takes its noise from `sources[b]`. `watch` is called before every step."""
    x = start
    for time in scheduler.timesteps:
        watch()
        out = denoise(x, torch.full((len(x),), int(time), device=x.device)).float()
        x = scheduler.step(out, time, x, generator=list(sources), return_dict=False)[0]
    return x
