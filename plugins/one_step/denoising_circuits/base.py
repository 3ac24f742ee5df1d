"""The base U-Net: from a model of ours, from a diffusers folder, or trained here as an ordinary v-prediction DDPM."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pixel_shuffle, pixel_unshuffle

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.plugins.blocks.operations import counted, operations_of

from .params import TrainParams

if TYPE_CHECKING:
    from .training import Pool

FOLDERS = (".", "unet_ema", "unet")
BETAS = {"beta_start": 1e-4, "beta_end": 0.02}
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@dataclass(frozen=True)
class BaseNet:
    """Weights and config of a UNet2DModel, the range of its time values, its patch and (if known) its grey map."""

    config: dict[str, Any]
    state: dict[str, Tensor]
    timesteps: int = TIMES
    patch: int = 1
    grey: GreyMap | None = None
    prediction: str = "v_prediction"
    operations: int = 0
    """Multiply-adds that its training took, where that is known."""


def given_base(params: TrainParams, images: ImageSet, base: Model | None) -> BaseNet | None:
    """The base that input `base` or `base_path` names, checked against the images; None where it is to be trained."""
    if base is not None and params.base_path is not None:
        raise DataError("both the input 'base' and the parameter base_path are given; leave one out")
    found: BaseNet | None = None
    if base is not None:
        config = base.config
        if "unet" not in config:
            raise DataError(f"base model {base.key[:12]} has no U-Net in its config; give a model of ddpm.train")
        if "codec" in config:
            raise DataError(f"base model {base.key[:12]} knows latents, which a circuit does not; train one without an autoencoder")
        if config.get("classes"):
            raise DataError(f"base model {base.key[:12]} is conditioned on classes; train one without labels")
        grey = GreyMap(*config["grey"]) if "grey" in config else None
        steps, patch = int(config.get("num_train_timesteps", TIMES)), int(config.get("patch", 1))
        if config.get("schedule", params.schedule) != params.schedule:
            raise DataError(f"base model {base.key[:12]} knows another noise schedule: give schedule: {config['schedule']}")
        ends = tuple(config.get(name, value) for name, value in BETAS.items())
        if params.schedule != "squaredcos_cap_v2" and ends != tuple(BETAS.values()):
            raise DataError(f"base model {base.key[:12]} has betas {ends[0]:g} to {ends[1]:g}, a circuit has 0.0001 to 0.02: train another")
        prediction = str(config.get("prediction_type", "epsilon"))
        found = BaseNet(dict(config["unet"]), base.state("unet."), steps, patch, grey, prediction, operations_of(config))
    elif params.base_path is not None:
        found = read_folder(params.base_path.path)
    _, channels, height, width = images.images.shape
    patch = found.patch if found is not None else params.patch
    if found is None and not params.base.steps and not params.train_backbone:
        raise DataError("a frozen backbone needs weights: give the input 'base', base_path, or base.steps > 0")
    if found is not None and found.config["in_channels"] != channels * patch**2:
        raise DataError(f"the base takes {found.config['in_channels']} channels, the images have {channels}: convert one of them")
    levels = len(found.config["block_out_channels"] if found is not None else params.base.channels)
    unit = patch * 2 ** (levels - 1)
    if height % unit or width % unit:
        raise DataError(f"images of {height} x {width} do not divide by {unit} (patch {patch}, {levels} levels): crop or resize them")
    return found


def plain_config(unet: UNet2DModel) -> dict[str, Any]:
    """The U-Net's own settings. What diffusers adds under a leading underscore is in the order of a set, new in every process."""
    return {name: value for name, value in unet.config.items() if not name.startswith("_")}


def read_folder(root: Path) -> BaseNet:
    """A local diffusers folder: config.json with safetensors or .bin weights, there or under unet_ema/ or unet/. Never a pickle run."""
    for folder in (root / name for name in FOLDERS):
        for weights in (folder / name for name in WEIGHTS):
            if (folder / "config.json").is_file() and weights.is_file():
                config = json.loads((folder / "config.json").read_text())
                if weights.suffix == ".safetensors":
                    from safetensors.torch import load_file

                    state = load_file(weights)
                else:
                    state = torch.load(weights, map_location="cpu", weights_only=True)
                unet = UNet2DModel.from_config(config)
                try:
                    unet.load_state_dict(state)
                except RuntimeError as error:
                    raise DataError(f"base_path: {weights.name} does not fit config.json beside it: {error}") from error
                return BaseNet(plain_config(unet), unet.state_dict(), prediction="epsilon")
    raise DataError(f"base_path: no UNet2DModel here; wanted config.json beside one of {', '.join(WEIGHTS)}, also under unet_ema/ or unet/")


def new_unet(params: TrainParams, image: torch.Size) -> UNet2DModel:
    """A fresh U-Net of the wanted widths for pixels folded by `patch`."""
    base, channels = params.base, image[0] * params.patch**2
    down = ["AttnDownBlock2D" if level in base.attention else "DownBlock2D" for level in range(len(base.channels))]
    return UNet2DModel(
        sample_size=(image[1] // params.patch, image[2] // params.patch),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(base.channels),
        layers_per_block=base.layers,
        norm_num_groups=min(8, *base.channels),
        down_block_types=tuple(down),
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
        attention_head_dim=None,
    )


def train_base(ctx: Context, params: TrainParams, pool: Pool) -> BaseNet:
    """Ordinary diffusion training at all times, so that steps finer than the recurrence's can be taken; gives the averaged weights."""
    from .training import LOG_EVERY, descend, optimizer_for

    unet = new_unet(params, pool.pixels.shape[1:]).to(ctx.device, memory_format=torch.channels_last)
    base = params.base
    schedule = NoiseSchedule.make(TIMES, params.schedule)
    average = ema(unet, params.ema_decay)
    operations = 0

    def loss_of(draw: torch.Generator) -> Tensor:
        x0 = pool.batch(base.batch, draw).to(ctx.device)
        t = torch.randint(TIMES, (len(x0),), generator=draw)
        noise = torch.randn(x0.shape, generator=draw).to(ctx.device)
        with ctx.autocast(params.precision):
            v = velocity(unet, schedule.add_noise(x0, noise, t), t.to(ctx.device), params.patch)
        return mse_loss(v, schedule.velocity(x0, noise, t))

    if base.steps:
        optimizer, cycle = optimizer_for(unet, base.steps, base.lr, params.weight_decay, params.cycle_momentum)
        operations = counted(lambda: loss_of(ctx.generator("counted")).backward())[1] * base.steps
        draw = ctx.generator("base")
        for step in ctx.loop(base.steps, name="base", net=unet, average=average, optimizer=optimizer, cycle=cycle):
            loss = loss_of(draw)
            descend(loss, unet, optimizer, cycle, params.grad_clip)
            average.update_parameters(unet)
            if step.index % LOG_EVERY == 0:
                step.log(loss=float(loss.detach()))
    return BaseNet(plain_config(unet), average.module.state_dict(), TIMES, params.patch, operations=operations)


def velocity(unet: nn.Module, x: Tensor, times: Tensor, patch: int) -> Tensor:
    """The U-Net's v for pixels x [B,C,H,W] at its own times [B]."""
    return pixel_shuffle(unet(pixel_unshuffle(x, patch), times).sample.float(), patch)
