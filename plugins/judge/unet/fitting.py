"""One training: the recipe, the loop, and which weights are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from fabloom.kinds.masks import UNKNOWN
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.metrics import image_iou

from .augmentation import augment
from .cropping import Windows
from .networks import any_defect, outputs
from .params import Augment, TrainParams
from .tiling import tiled

LOG_EVERY = 10
DECAY_EPOCHS, DECAY = 20, 0.1
"""The published learning rate is multiplied by `DECAY` after every `DECAY_EPOCHS` epochs."""
PATIENCE = 20
"""Epochs without a smaller validation loss after which a training by epochs stops."""
WATCH_BATCH, WATCH_PIXELS = 256, 256 * 128 * 128
"""Most images, and most pixels of larger images, that are predicted at once."""
CLASS_WEIGHT = 0.1
"""Of what class a defect is of, beside where it is: at 1 the finding of faint defects suffers (docs/methods/unet.md)."""
WATCH_TILE, WATCH_OVERLAP = 1024, 64
"""Validation images with a longer side are predicted in tiles."""


@dataclass(frozen=True)
class Recipe:
    """`TrainParams` with nothing left out; exactly one of `steps` and `epochs` is a number."""

    encoder: str
    depth: int
    decoder_channels: tuple[int, ...]
    steps: int | None
    epochs: int | None
    batch: int
    lr: float
    weight_decay: float
    dice_weight: float
    augment: Augment
    accept_clean: bool
    limit: int | None
    validation: float
    crop: int
    pixels: int | None
    classes: str
    false_alarms: float
    precision: str

    @classmethod
    def of(cls, params: TrainParams) -> Self:
        """The preset of `params` with what it overrides."""
        filled = params.filled()
        return cls(**{field.name: filled[field.name] for field in fields(cls)})

    def fitted(self, height: int, width: int) -> Self:
        """With the batch that `pixels` allows for images of this size."""
        if self.pixels is None:
            return self
        return replace(self, batch=min(self.batch, max(2, self.pixels // (min(height, self.crop) * min(width, self.crop)))))


@dataclass(frozen=True)
class Split:
    """Images uint8 [N,C,H,W], masks uint8 [N,H,W] (0 clean, 1..K a defect, 255 not known), and the rows that train and that only watch."""

    images: Tensor
    masks: Tensor
    train: Tensor
    watch: Tensor


class Best:
    """The weights of the smallest validation loss so far, and how many epochs ago that was; checkpointed with the loop."""

    def __init__(self) -> None:
        self.loss = float("inf")
        self.age = 0
        self.weights: dict[str, Tensor] = {}

    def offer(self, loss: float, net: nn.Module) -> None:
        """Keep the weights of `net` if its loss is smaller than any before."""
        if loss < self.loss:
            self.loss, self.age = loss, 0
            self.weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
        else:
            self.age += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"loss": self.loss, "age": self.age, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.loss, self.age, self.weights = state["loss"], state["age"], dict(state["weights"])


def segmentation_loss(out: Tensor, masks: Tensor, dice_weight: float) -> Tensor:
    """dice_weight * Dice + (1 - dice_weight) * binary cross-entropy of logits [B,H,W]; Dice is pooled over the batch.

    Of logits [B,1+K,H,W], clean and K classes, that of a defect of any class, and a tenth of `class_loss`. Pixels of 255 in the masks
    are left out; a batch of nothing else has loss 0.
    """
    known = masks != UNKNOWN
    if not known.any():
        return out.sum() * 0
    if out.ndim == 4:
        defects = torch.where(known, (masks > 0).to(masks.dtype), masks)
        return segmentation_loss(any_defect(out), defects, dice_weight) + CLASS_WEIGHT * class_loss(out, masks)
    target = masks.to(out.dtype)
    seen = (out, target) if known.all() else (out[known], target[known])
    entropy = nn.functional.binary_cross_entropy_with_logits(*seen)
    if not dice_weight:
        return entropy
    dice: Tensor = smp.losses.DiceLoss("binary", ignore_index=UNKNOWN)(out[:, None], target[:, None])
    return dice_weight * dice + (1 - dice_weight) * entropy


def class_loss(out: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of the class of a pixel that is one of a defect: the mean over the classes of masks [B,H,W] of their own means.

    log p(class) = log p(defect) + log p(class | defect), and this is the second part. Over all pixels it would be next to nothing, since
    few are of a defect. The first part is learned as one class is: a Dice for each class, as is usual, credits a found defect only as
    far as its class is known, and finds rare ones later (docs/methods/unet.md).
    """
    defect = (masks > 0) & (masks != UNKNOWN)
    if not defect.any():
        return out.sum() * 0
    logits, classes = out[:, 1:].movedim(1, -1)[defect], masks[defect].long() - 1
    shares = 1 / classes.bincount(minlength=logits.shape[1]).clamp(min=1)
    return nn.functional.cross_entropy(logits, classes, weight=shares.to(logits))


def fit(ctx: Context, recipe: Recipe, net: nn.Module, split: Split, grey: GreyMap, repeat: int) -> None:
    """Train `net` in place; by epochs the weights of the smallest validation loss are put back at the end."""
    turn = -(-len(split.train) // recipe.batch)
    total = recipe.epochs * turn if recipe.epochs else recipe.steps or 0
    if not total:
        return
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    rate = schedule(recipe, optimizer, total, turn)
    draw, best = ctx.generator(f"batches_{repeat}"), Best()
    watch_every = turn if recipe.epochs else max(total // 10, 1)
    windows, forward = Windows(split.images, split.masks, recipe.crop), ctx.autocast(recipe.precision)(net)
    net.train()
    for step in ctx.loop(total, name=f"net_{repeat}", net=net, optimizer=optimizer, rate=rate, best=best):
        if best.age >= PATIENCE:
            break
        rows = batch_rows(recipe, split.train, step.index % turn, draw)
        pixels, masks = windows.take(rows, draw)
        x, y = augment(grey.forward(pixels), masks, recipe.augment, draw)
        loss = segmentation_loss(squeezed(outputs(forward, x.to(ctx.device), recipe.depth)), y.to(ctx.device), recipe.dice_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()))
        if len(split.watch) and (step.index + 1) % watch_every == 0:
            watched, iou = watch(ctx, recipe, net, split, grey)
            step.log(validation_loss=watched, validation_iou=iou)
            if recipe.epochs:
                best.offer(watched, net)
    if best.weights:
        net.load_state_dict(best.weights)


def schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, total: int, turn: int) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle over all steps, or the published staircase by epochs of `turn` steps."""
    if recipe.epochs:
        return torch.optim.lr_scheduler.StepLR(optimizer, DECAY_EPOCHS * turn, DECAY)
    warm_up = 0.2 if total == 10 else 0.1  # a warm-up of exactly one step has no slope, and torch divides by zero
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=max(total, 2), pct_start=warm_up, cycle_momentum=False)


def batch_rows(recipe: Recipe, rows: Tensor, turn: int, draw: torch.Generator) -> Tensor:
    """Rows of a step: drawn with replacement, so that a handful of images fills a batch; by epochs the next in order."""
    if recipe.epochs:
        return rows[turn * recipe.batch : (turn + 1) * recipe.batch]
    return rows[torch.randint(len(rows), (recipe.batch,), generator=draw)]


def squeezed(out: Tensor) -> Tensor:
    """Logits [B,1,H,W] of one class as [B,H,W], those of several as they are."""
    return out[:, 0] if out.shape[1] == 1 else out


@torch.no_grad()
def watch(ctx: Context, recipe: Recipe, net: nn.Module, split: Split, grey: GreyMap) -> tuple[float, float]:
    """(loss, mean IoU) on the validation images as they are; batch statistics stay those of the training images."""
    net.eval()
    out = torch.cat(list(watched(ctx, recipe, net, split, grey)))
    net.train()
    masks = split.masks[split.watch]
    found, truth = (any_defect(out) > 0).numpy(), masks.numpy()
    return float(segmentation_loss(squeezed(out), masks, recipe.dice_weight)), float(image_iou(found, truth).mean())


@torch.no_grad()
def watched(ctx: Context, recipe: Recipe, net: nn.Module, split: Split, grey: GreyMap) -> Iterator[Tensor]:
    """Logits [B,M,H,W] on the CPU of the validation images, in order, for a network in evaluation mode."""
    forward = ctx.autocast(recipe.precision)(net)
    height, width = split.images.shape[-2:]
    for rows in split.watch.split(max(1, min(WATCH_BATCH, WATCH_PIXELS // (height * width)))):
        x = grey.forward(split.images[rows]).to(ctx.device)
        yield tiled(lambda part: outputs(forward, part, recipe.depth), x, WATCH_TILE, WATCH_OVERLAP).cpu()
