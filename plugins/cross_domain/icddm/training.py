"""The task `train`: one denoiser for both domains."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import build, kept
from fabloom.plugins.blocks.denoising import Batch, fit
from fabloom.plugins.blocks.domains.coupling import ROLE
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT, HELD, NAMES, domains_of
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS, operations_of
from fabloom.plugins.blocks.pool import Pool
from fabloom.plugins.blocks.seen import remembered

from .params import TrainParams

FEWEST_CLEAN, FEWEST_HELD, FEWEST_DEFECT = 8, 4, 2


def train(ctx: Context, params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights, and the clean images that it did not see."""
    codec = None if autoencoder is None else Codec.of(autoencoder, ctx.device)
    learned, held = split(ctx, images, params.held_out)
    pixels = np.asarray(images.images)
    pool = Pool.of_pixels(torch.from_numpy(pixels[np.concatenate(learned)]), params.flip_x, params.flip_y, codec)
    fold = 1 if codec else params.fold
    net = build(params, params.network, folded(pool.shape, fold), len(NAMES), film=True).to(ctx.device)
    name = BETA_SCHEDULES[params.schedule]
    schedule = noise_schedule(name, params.beta_start, params.beta_end)
    counts = (len(learned[CLEAN]), len(learned[DEFECT]))
    weights, operations = fit(ctx, params, net, schedule, lambda draw: draw_batch(params, pool, fold, counts, draw))
    state, network = kept(net, weights)
    tensors, told = pool.kept()
    config = {
        "role": ROLE,
        **network,
        "prediction_type": params.prediction,
        "schedule": name,
        "beta_start": params.beta_start,
        "beta_end": params.beta_end,
        "image": list(images.images.shape[1:]),
        "fold": fold,
        "times": list(params.times),
        "label_dropout": params.label_dropout,
        OPERATIONS: operations + (operations_of(autoencoder.config) if autoencoder else 0),
    }
    state |= {HELD: torch.from_numpy(pixels[held])} | remembered(pixels[row] for row in range(len(pixels)))
    return Model.write(ctx, state | tensors, config | told)


def split(ctx: Context, images: ImageSet, share: float) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.intp]]:
    """((clean, defect) rows to learn from, clean rows held out). Raises DataError where either domain has too few."""
    domain = domains_of(images)
    clean, defect = (np.flatnonzero(domain == number) for number in (CLEAN, DEFECT))
    if len(clean) < FEWEST_CLEAN or len(defect) < FEWEST_DEFECT:
        raise DataError(
            f"set {images.key[:12]} has {len(clean)} clean and {len(defect)} defect images; both domains are learned: give "
            f"{FEWEST_CLEAN} clean ones and {FEWEST_DEFECT} with a defect at least"
        )
    order = torch.randperm(len(clean), generator=ctx.generator("held out")).numpy()
    count = max(FEWEST_HELD, round(len(clean) * share))
    return (np.sort(clean[order[count:]]), defect), np.sort(clean[order[:count]])


def folded(shape: tuple[int, int, int], fold: int) -> tuple[int, int, int]:
    """Images [C,H,W] with squares of pixels as channels. Raises DataError where they do not divide."""
    channels, height, width = shape
    if height % fold or width % fold:
        raise DataError(f"images of {height} x {width} do not divide by fold={fold}; give fold: 1, or crop them")
    return channels * fold**2, height // fold, width // fold


def draw_batch(params: TrainParams, pool: Pool, fold: int, counts: tuple[int, int], draw: torch.Generator) -> Batch:
    """Half of a batch from each domain, times spread evenly over all; all draws come from the CPU stream."""
    clean, defect = counts
    half = params.batch // 2
    rows = torch.cat([torch.randint(clean, (params.batch - half,), generator=draw), clean + torch.randint(defect, (half,), generator=draw)])
    x0 = pixel_unshuffle(pool.chosen(rows, draw), fold)
    labels = torch.where(rows < clean, CLEAN, DEFECT)
    hidden = torch.rand(len(rows), generator=draw) < params.label_dropout
    return Batch(
        x0, torch.randn(x0.shape, generator=draw), spread(params.batch, params.times, draw), torch.where(hidden, len(NAMES), labels)
    )


def spread(count: int, times: tuple[float, float], draw: torch.Generator) -> Tensor:
    """Times [count] within a span, one of each of as many equal parts of it, in any order."""
    first, last = times
    at = first + (last - first) * (torch.randperm(count, generator=draw) + torch.rand(count, generator=draw)) / count
    return (at * TIMES).long().clamp(max=TIMES - 1)
