"""Training a diffusion model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import build, kept
from fabloom.plugins.blocks.denoising import Batch, fit
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS
from fabloom.plugins.blocks.pool import Pool

from .params import TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights."""
    labels, names = class_numbers(params, images)
    codec = None if autoencoder is None else Codec.of(autoencoder, ctx.device)
    pool = Pool.of(images, params.flip_x, params.flip_y, codec)
    unet = build(params, params.network, pool.shape, len(names)).to(ctx.device)
    name = BETA_SCHEDULES[params.schedule]
    schedule = noise_schedule(name, params.beta_start, params.beta_end)
    weights, operations = fit(ctx, params, unet, schedule, lambda draw: draw_batch(params, pool, labels, len(names), draw))
    state, network = kept(unet, weights)
    config = {
        "role": "ddpm",
        **network,
        "prediction_type": params.prediction,
        "schedule": name,
        "beta_start": params.beta_start,
        "beta_end": params.beta_end,
        "num_train_timesteps": TIMES,
        "image": list(images.images.shape[1:]),
        "classes": names,
        "class_source": params.classes,
        OPERATIONS: operations,
    }
    tensors, told = pool.kept()
    return Model.write(ctx, state | tensors, config | told)


def class_numbers(params: TrainParams, images: ImageSet) -> tuple[Tensor | None, list[str]]:
    """Class of every image [N] and the names; (None, []) without conditioning. Raises DataError where the set has none."""
    if params.classes == "none":
        return None, []
    column = images.labels if params.classes == "labels" else images.domain
    if column is None:
        raise DataError(f"classes={params.classes}, but training set {images.key[:12]} has no {params.classes}; use classes=none")
    names = images.class_names if params.classes == "labels" else ["clean", "defect"]
    return torch.from_numpy(np.asarray(column)).long(), names


def draw_batch(params: TrainParams, pool: Pool, labels: Tensor | None, null: int, draw: torch.Generator) -> Batch:
    """A batch; all draws come from the CPU stream."""
    x0, rows = pool.batch(params.batch, draw)
    picked = None
    if labels is not None:
        hidden = torch.rand(len(x0), generator=draw) < params.label_dropout
        picked = torch.where(hidden, null, labels[rows])
    t = torch.randint(TIMES, (len(x0),), generator=draw)
    return Batch(x0, torch.randn(x0.shape, generator=draw), t, picked)
