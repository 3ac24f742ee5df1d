"""Training a segmenter: which images, which loss, the loop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fabloom.artifacts import ImageSet, Model
from fabloom.context import Context
from fabloom.errors import DataError
from fabloom.plugins.blocks.grey import GreyMap

from .augmentation import augment
from .method import TrainParams
from .metrics import image_iou
from .networks import build, logits

LOG_EVERY = 10


@dataclass(frozen=True)
class Split:
    """Images uint8 [N,C,H,W], masks uint8 [N,H,W], and the rows that train and that only watch."""

    images: Tensor
    masks: Tensor
    train: Tensor
    watch: Tensor


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    split = prepare(params, images, ctx.generator("split"))
    used = split.images[torch.cat([split.train, split.watch])].numpy()
    grey = GreyMap.fit(split.images[split.train].numpy())
    shape = split.images.shape[1:]
    net = build(params.encoder, params.depth, params.decoder_channels, shape[0]).to(ctx.device)
    fit(ctx, params, net, split, grey)
    config = {
        "role": "unet",
        "encoder": params.encoder,
        "depth": params.depth,
        "decoder_channels": list(params.decoder_channels),
        "grey": [grey.low, grey.high],
        "image": list(shape),
        "images": {"train": len(split.train), "validation": len(split.watch)},
    }
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    return Model.write(ctx, state | {SEEN: torch.from_numpy(fingerprints(used))}, config)


SEEN = "train_digest_rows"
"""Tensor of a model: sorted fingerprints of the images that it was trained or watched on."""


def fingerprints(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Sorted 64-bit blake2b of each image's shape and bytes [N]; two different images collide with a chance of 2^-64."""
    head = str(images.shape[1:]).encode()
    rows = [hashlib.blake2b(head + image.tobytes(), digest_size=8).digest() for image in images]
    return np.sort(np.frombuffer(b"".join(rows), np.int64))


def prepare(params: TrainParams, images: ImageSet, draw: torch.Generator) -> Split:
    """Read, check and split the set. Raises DataError before anything is built."""
    if images.masks is None:
        raise DataError(f"training set {images.key[:12]} has no masks; label it first (reference-difference.label, or a set with masks)")
    masks = np.asarray(images.masks)
    domain = masks.reshape(len(masks), -1).max(1) > 0
    rows = first(domain, params.limit)
    train_rows, watch_rows = holdout(rows, domain, params.validation, draw)
    if not domain[train_rows].any():
        raise DataError(f"no image of the {len(train_rows)} training images has a defect pixel: there is nothing to learn. "
                        "Look at the labels, or raise `limit`.")  # fmt: skip
    height, width = masks.shape[1:]
    if params.augment.shift >= min(height, width):
        raise DataError(f"augment.shift={params.augment.shift} must stay below the side of images of {height} x {width}")
    if params.batch * -(-height // 2**params.depth) * -(-width // 2**params.depth) < 2:
        raise DataError(f"depth={params.depth} leaves one pixel of a {height} x {width} image; raise batch to 2 or lower depth")
    pixels = np.asarray(images.images)
    return Split(torch.from_numpy(pixels), torch.from_numpy(masks), torch.from_numpy(train_rows), torch.from_numpy(watch_rows))


def first(domain: NDArray[np.bool_], limit: int | None) -> NDArray[np.int64]:
    """Rows of the first `limit` images, clean and defect in the proportion of the set, at least one of each that there is."""
    if limit is None or limit >= len(domain):
        return np.arange(len(domain))
    defects, clean = np.flatnonzero(domain), np.flatnonzero(~domain)
    wanted = round(limit * len(defects) / len(domain))
    wanted = min(max(wanted, min(1, len(defects))), limit - min(1, len(clean)))
    return np.sort(np.concatenate([defects[:wanted], clean[: limit - wanted]]))


def holdout(
    rows: NDArray[np.int64], domain: NDArray[np.bool_], share: float, draw: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training, validation) rows; `share` of each domain, rounded down, is held out at random."""
    held = []
    for value in (False, True):
        group = rows[domain[rows] == value]
        order = torch.randperm(len(group), generator=draw).numpy()
        held.append(group[order[: int(share * len(group))]])
    watch = np.sort(np.concatenate(held))
    return np.setdiff1d(rows, watch), watch


def segmentation_loss(out: Tensor, masks: Tensor, dice_weight: float) -> Tensor:
    """dice_weight * Dice + (1 - dice_weight) * binary cross-entropy of logits [B,H,W]; Dice is pooled over the batch."""
    target = masks.to(out.dtype)
    dice: Tensor = smp.losses.DiceLoss("binary")(out[:, None], target[:, None])
    entropy = nn.functional.binary_cross_entropy_with_logits(out, target)
    return dice_weight * dice + (1 - dice_weight) * entropy


def fit(ctx: Context, params: TrainParams, net: nn.Module, split: Split, grey: GreyMap) -> None:
    """The loop: AdamW, one cycle, batches drawn with replacement so that a handful of images fills a batch."""
    if not params.steps:
        return
    optimizer = torch.optim.AdamW(net.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, params.lr, total_steps=max(params.steps, 2), pct_start=0.1, cycle_momentum=False)
    draw = ctx.generator("batches")
    watch_every = max(params.steps // 10, 1)
    net.train()
    for step in ctx.loop(params.steps, net=net, optimizer=optimizer, cycle=cycle):
        rows = split.train[torch.randint(len(split.train), (params.batch,), generator=draw)]
        x, y = augment(grey.forward(split.images[rows]), split.masks[rows], params.augment, draw)
        loss = segmentation_loss(logits(net, x.to(ctx.device), params.depth), y.to(ctx.device), params.dice_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        cycle.step()
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()))
        if len(split.watch) and (step.index + 1) % watch_every == 0:
            step.log(validation_iou=watch(ctx, params, net, split, grey))


def watch(ctx: Context, params: TrainParams, net: nn.Module, split: Split, grey: GreyMap) -> float:
    """Mean IoU on the validation images; they choose nothing, so the number is honest."""
    from .prediction import predict

    net.eval()
    found = predict(net, split.images[split.watch].numpy(), grey, params.depth, ctx.device, threshold=0.5, batch=256)
    net.train()
    return float(image_iou(found, split.masks[split.watch].numpy()).mean())
