"""Training segmenters: which images, how many times, what is kept."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.kinds.masks import UNKNOWN, drawn_domain, is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.seen import remembered
from fabloom.plugins.blocks.structure import pitch

from .calibration import HeldOut
from .fitting import Recipe, Split, fit, watched
from .networks import any_defect, build, head, prefix
from .params import TrainParams

UNIT = GreyMap(-255.0, 255.0)
"""Grey / 255, the input of the published recipe."""


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`. Each training has streams of its own; what it starts from does not depend on the ones before it."""
    recipe = Recipe.of(params)
    pixels, masks, rows = prepare(recipe, images)
    recipe = recipe.fitted(*masks.shape[1:])
    names, held = told_classes(recipe, images), HeldOut()
    if untold := untold_classes(recipe, images):
        ctx.log(
            f"the labels tell {', '.join(untold)} apart and the masks do not: learned as one class. images.class_masks makes masks that do"
        )
    grey = UNIT if params.preset == "published" else GreyMap.fit(pixels[rows])
    domain = drawn_domain(masks) > 0
    state: dict[str, torch.Tensor] = {}
    trained = {name: value for part in ctx.parts if isinstance(part, Model) for name, value in part.state().items()}
    for repeat in ctx.rows(params.repeats):
        train_rows, watch_rows = parted(recipe, rows, domain, ctx.generator(f"split_{repeat}"))
        split = Split(*(torch.from_numpy(a) for a in (pixels, masks, train_rows, watch_rows)))
        torch.manual_seed(int(torch.randint(2**62, (), generator=ctx.generator(f"weights_{repeat}"))))
        net = build(recipe.encoder, recipe.depth, recipe.decoder_channels, pixels.shape[1], head(names))
        net.to(ctx.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter less time on a CPU
        if trained:
            own = prefix(repeat)
            net.load_state_dict({name.removeprefix(own): value for name, value in trained.items() if name.startswith(own)})
        else:
            fit(ctx, recipe, net, split, grey, repeat)
        state |= {f"{prefix(repeat)}{name}": value for name, value in net.state_dict().items()}
        if ctx.part is not None:
            continue  # the threshold is chosen with all of them
        rows_left = iter(watch_rows.tolist())
        for out in watched(ctx, recipe, net.eval(), split, grey):
            for probability in any_defect(out).sigmoid().numpy():
                held.add(next(rows_left), probability)
    if ctx.part is not None:
        return Model.write(ctx, state, {"role": "a part of a unet"})
    chosen = held.choose(masks, recipe.false_alarms, None if images.source is None else np.asarray(images.source))
    ctx.log(f"threshold {chosen.threshold:g}, {chosen.why}")
    config = {
        "role": "unet",
        "repeats": params.repeats,
        "encoder": recipe.encoder,
        "depth": recipe.depth,
        "decoder_channels": list(recipe.decoder_channels),
        "grey": [grey.low, grey.high],
        "image": list(pixels.shape[1:]),
        "pitch": pitch(images.images),
        "images": {"train": len(train_rows), "validation": len(watch_rows)},
        "class_names": names,
        "threshold": chosen.threshold,
        "threshold_choice": chosen.as_dict(),
    }
    return Model.write(ctx, state | remembered(pixels[rows]), config)


def prepare(recipe: Recipe, images: ImageSet) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
    """Images [N,C,H,W], masks [N,H,W] of the classes that are told apart and the rows to use, checked.

    Raises DataError before anything is built.
    """
    if images.masks is None:
        raise DataError(f"training set {images.key[:12]} has no masks; label it first (reference-difference.label, or a set with masks)")
    masks = np.asarray(images.masks)
    if head(told_classes(recipe, images)) == 1:
        masks = defect_masks(masks)
    height, width = masks.shape[1:]
    if recipe.augment.shift >= min(height, width):
        raise DataError(f"augment.shift={recipe.augment.shift} must stay below the side of images of {height} x {width}")
    smallest = 1 if recipe.epochs else recipe.batch
    if smallest * -(-height // 2**recipe.depth) * -(-width // 2**recipe.depth) < 2:
        cure = "take larger images or lower depth" if recipe.epochs else "raise batch to 2 or lower depth"
        raise DataError(f"depth={recipe.depth} leaves one pixel of a {height} x {width} image; {cure}")
    return np.asarray(images.images), masks, first(drawn_domain(masks) > 0, recipe.limit)


def told_classes(recipe: Recipe, images: ImageSet) -> list[str]:
    """Name of each value of the masks that are trained on, clean first."""
    names = images.mask_names
    return names if recipe.classes == "given" or len(names) <= 2 else ["clean", "defect"]


def untold_classes(recipe: Recipe, images: ImageSet) -> list[str]:
    """Classes of defects that labels tell apart and masks do not, where classes are asked for; [] of fewer than two."""
    if recipe.classes != "given" or images.labels is None or images.mask_names == images.class_names:
        return []
    found = [images.class_names[label] for label in np.unique(np.asarray(images.labels)[drawn_domain(np.asarray(images.masks)) > 0])]
    return found if len(found) > 1 else []


def defect_masks(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Masks of any classes as 0 clean, 1 defect, 255 cannot tell."""
    found: NDArray[np.uint8] = is_defect(masks).astype(np.uint8)
    found[masks == UNKNOWN] = UNKNOWN
    return found


def parted(
    recipe: Recipe, rows: NDArray[np.int64], domain: NDArray[np.bool_], draw: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training, validation) rows. Raises DataError where no training image has a defect."""
    if recipe.epochs is None:
        kept, held = holdout(rows, domain, recipe.validation, draw)
    else:
        last = len(rows) - int(recipe.validation * len(rows))
        kept, held = rows[:last], rows[last:]
    if not domain[kept].any() and not recipe.accept_clean:
        raise DataError(f"no image of the {len(kept)} training images has a defect pixel: there is nothing to learn. "
                        "Look at the labels, raise `limit`, or set `accept_clean` to train a network that finds nothing.")  # fmt: skip
    return kept, held


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
