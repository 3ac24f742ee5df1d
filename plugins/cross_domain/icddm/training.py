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
from fabloom.plugins.blocks.domains.given import Given
from fabloom.plugins.blocks.domains.seeing import Seeing
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT, HELD, NAMES, domains_of
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS, operations_of
from fabloom.plugins.blocks.pool import Pool
from fabloom.plugins.blocks.seen import remembered
from fabloom.plugins.blocks.sources import groups

from .params import NO_LATENTS, TrainParams

FEWEST_CLEAN, FEWEST_HELD, FEWEST_DEFECT = 8, 4, 2


def train(ctx: Context, params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights, and the clean images that it did not see."""
    given = known(params, images, autoencoder)
    codec = None if autoencoder is None else Codec.of(autoencoder, ctx.device)
    learned, held = split(ctx, images, params.held_out)
    pixels = np.asarray(images.images)
    pool = Pool.of_pixels(torch.from_numpy(pixels[np.concatenate(learned)]), params.flip_x, params.flip_y, codec)
    channels, height, width = images.images.shape[1:]
    seeing = Seeing((channels, height, width), 1 if codec else params.fold, codec)
    net = build(params, params.network, seeing.hidden, len(NAMES), film=True).to(ctx.device)
    name = BETA_SCHEDULES[params.schedule]
    schedule = noise_schedule(name, params.beta_start, params.beta_end)
    counts = (len(learned[CLEAN]), len(learned[DEFECT]))
    weights, operations = fit(ctx, params, net, schedule, lambda draw: draw_batch(params, pool, seeing.fold, given, counts, draw))
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
        "fold": seeing.fold,
        **given.kept(),
        "times": list(params.times),
        "label_dropout": params.label_dropout,
        OPERATIONS: operations + (operations_of(autoencoder.config) if autoencoder else 0),
    }
    state |= {HELD: torch.from_numpy(pixels[held])} | remembered(pixels[row] for row in range(len(pixels)))
    return Model.write(ctx, state | tensors, config | told)


def known(params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Given:
    """What is given of the images. Raises DataError where it is no mask, leaves nothing to learn, or would go into latents."""
    if params.given and autoencoder is not None:
        raise DataError(f"given={params.given}: {NO_LATENTS}")
    given = Given(images.images.shape[1], params.given)
    given.check(images)
    return given


def split(ctx: Context, images: ImageSet, share: float) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], NDArray[np.intp]]:
    """((clean, defect) rows to learn from, clean rows held out). Raises DataError where either domain has too few."""
    domain = domains_of(images)
    clean, defect = (np.flatnonzero(domain == number) for number in (CLEAN, DEFECT))
    if len(clean) < FEWEST_CLEAN or len(defect) < FEWEST_DEFECT:
        raise DataError(
            f"set {images.key[:12]} has {len(clean)} clean and {len(defect)} defect images; both domains are learned: give "
            f"{FEWEST_CLEAN} clean ones and {FEWEST_DEFECT} with a defect at least"
        )
    held = set_aside(groups(images)[clean], max(FEWEST_HELD, round(len(clean) * share)), ctx.generator("held out"))
    return (clean[~held], defect), clean[held]


def set_aside(sources: NDArray[np.int64], count: int, draw: torch.Generator) -> NDArray[np.bool_]:
    """Which of some images [N] of these sources are held out, `count` or a little more: whole sources, so that none is on both sides.

    Where that would take more than half of them, there are too few sources, and images are held out whatever they come from.
    """
    _, first, numbered = np.unique(sources, return_index=True, return_inverse=True)
    own = np.argsort(np.argsort(first))[numbered]  # sources by their first image
    order = torch.randperm(len(first), generator=draw).numpy()
    rank = np.argsort(order)[own]
    sizes = np.bincount(own)[order].cumsum()
    held: NDArray[np.bool_] = rank <= int(np.searchsorted(sizes, count))
    if held.sum() > len(sources) / 2:
        held = np.isin(np.arange(len(sources)), torch.randperm(len(sources), generator=draw)[:count].numpy())
    return held


def draw_batch(params: TrainParams, pool: Pool, fold: int, given: Given, counts: tuple[int, int], draw: torch.Generator) -> Batch:
    """Half of a batch from each domain, times spread evenly over all; all draws come from the CPU stream."""
    clean, defect = counts
    half = params.batch // 2
    rows = torch.cat([torch.randint(clean, (params.batch - half,), generator=draw), clean + torch.randint(defect, (half,), generator=draw)])
    x0 = pixel_unshuffle(pool.chosen(rows, draw), fold)
    labels = torch.where(rows < clean, CLEAN, DEFECT)
    hidden = torch.rand(len(rows), generator=draw) < params.label_dropout
    noise, times = torch.randn(x0.shape, generator=draw), spread(params.batch, params.times, draw)
    return Batch(x0, noise, times, torch.where(hidden, len(NAMES), labels), given.free(x0) if given.count else None)


def spread(count: int, times: tuple[float, float], draw: torch.Generator) -> Tensor:
    """Times [count] within a span, one of each of as many equal parts of it, in any order."""
    first, last = times
    at = first + (last - first) * (torch.randperm(count, generator=draw) + torch.rand(count, generator=draw)) / count
    return (at * TIMES).long().clamp(max=TIMES - 1)
