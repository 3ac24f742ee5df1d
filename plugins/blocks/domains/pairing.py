"""The tasks `pair` and `augment`: sets of defect images with masks, each with its clean twin as reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context

from .differences import Finder
from .params import Varied
from .translator import CLEAN, DEFECT, check_images, domains_of, held_out
from .twins import Maker, Twins

STOPPED = "stopped after {done} of {count} images. Run the same command again to start over."


def maker(ctx: Context, model: Model, images: ImageSet, finder: Finder, composite: bool, judge: Finder | None = None) -> Maker:
    """What makes twins of a set; `judge` says from when on a difference is one, else the finder itself.

    Raises DataError for images of another size.
    """
    check_images(model, images)
    chosen = (judge or finder).threshold(ctx, held_out(model))
    return Maker(finder, chosen.distance, composite)


def pair(ctx: Context, images: ImageSet, model: Model, finder: Finder, composite: bool) -> ImageSet:
    """Every image with its twin in the other domain, where the two differ by a defect."""
    domain, making = domains_of(images), maker(ctx, model, images, finder, composite)
    made: list[Twins] = []
    rows: list[NDArray[np.intp]] = []
    with ctx.progress(len(images), unit="image", name="pair") as bar:
        for side in (CLEAN, DEFECT):
            for part in batches(np.flatnonzero(domain == side), finder.params.batch):
                if ctx.stop_requested():
                    raise Interrupted(STOPPED.format(done=sum(map(len, rows)), count=len(images)))
                made.append(making.paired(taken(images, part), side))
                rows.append(part)
                bar.advance(len(part))
    seen = np.concatenate([one.seen for one in made])
    every = np.concatenate(rows)
    if not seen.any():
        raise DataError(f"none of {len(images)} images differs visibly from its twin: train longer, or go deeper into the noise (depth)")
    kept = np.flatnonzero(seen)[np.argsort(every[seen], kind="stable")]
    if len(kept) < len(images):
        ctx.log(f"{len(images) - len(kept)} of {len(images)} images are left out: no difference to their twin is a defect")
    defect, clean, masks = (np.concatenate([getattr(one, name) for one in made])[kept] for name in ("defect", "clean", "masks"))
    attrs = {"maker": model.key, "left_out": len(images) - len(kept)}
    return ImageSet.write(
        ctx, defect, masks=masks, references=clean, domain=np.ones(len(kept), np.int8), attrs=attrs, channels=images.images.shape[1],
        **images.origins(every[kept]),
    )  # fmt: skip


def augment(ctx: Context, params: Varied, images: ImageSet, model: Model, finder: Finder, judge: Finder) -> ImageSet:
    """`params.count` defect images, image i from the (i mod N)-th of those that are asked for, with noise of (seed, i).

    `judge` draws no noise: with other noise a clean image may get a defect, and sets no threshold for one.
    """
    # with other noise an image differs from what it is made of all over: like is held against like
    alike, calm = (replace(one, params=one.params.model_copy(update={"against": "reconstruction"})) for one in (finder, judge))
    domain, making = domains_of(images), maker(ctx, model, images, alike, params.composite, calm)
    wanted = {"clean": [CLEAN], "defect": [DEFECT], "both": [CLEAN, DEFECT]}[params.of]
    sources = np.flatnonzero(np.isin(domain, wanted))
    if not len(sources):
        raise DataError(f"set {images.key[:12]} has no image of domain {params.of}")
    rows = sources[np.arange(params.count) % len(sources)]
    order = np.argsort(domain[rows], kind="stable")
    found: list[tuple[NDArray[np.intp], Twins]] = []
    tried = 0
    with ctx.progress(params.count, unit="image", name="augment") as bar:
        missing = order
        for attempt in range(params.attempts):
            left = []
            for part in one_domain(missing, domain[rows], finder.params.batch):
                if ctx.stop_requested():
                    raise Interrupted(STOPPED.format(done=params.count - len(missing), count=params.count))
                side = int(domain[rows[part[0]]])
                noise = finder.fresh(part, f"augment {attempt}")
                pixels = taken(images, rows[part])
                twins = making.paired(pixels, CLEAN, noise) if side == CLEAN else making.varied(pixels, DEFECT, noise)
                tried += len(part)
                found.append((part[twins.seen], twins.at(twins.seen)))
                left.append(part[~twins.seen])
                bar.advance(int(twins.seen.sum()))
            missing = np.concatenate(left)
            if not len(missing):
                break
        bar.advance(len(missing))
    numbers = np.concatenate([part for part, _ in found])
    if not len(numbers):
        raise DataError(f"none of {tried} tries shows a defect: train longer, go deeper into the noise (depth), or raise `fresh`")
    ctx.log(f"{len(numbers)} of {tried} tries show a defect; {len(missing)} of {params.count} images came to none")
    at = np.argsort(numbers)
    defect, clean, masks = (np.concatenate([getattr(twins, name) for _, twins in found])[at] for name in ("defect", "clean", "masks"))
    attrs = {"maker": model.key, "tries": tried, "left_out": len(missing)}
    return ImageSet.write(
        ctx, defect, masks=masks, references=clean, domain=np.ones(len(at), np.int8), attrs=attrs, channels=images.images.shape[1],
        **images.origins(rows[numbers[at]]),
    )  # fmt: skip


def batches(rows: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Rows in batches."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def one_domain(numbers: NDArray[np.intp], domain: NDArray[np.int8], size: int) -> Iterator[NDArray[np.intp]]:
    """Numbers in batches, each of images of one domain."""
    for side in (CLEAN, DEFECT):
        yield from batches(numbers[domain[numbers] == side], size)


def taken(images: ImageSet, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Some images [B,C,H,W]."""
    return np.stack([np.asarray(images.images[int(row)]) for row in rows])
