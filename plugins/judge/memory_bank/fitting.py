"""The task `fit`: which images are clean, where they lie, their patches, the bank and its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, LazyArray, Model
from fabloom.kinds.masks import UNKNOWN
from fabloom.method import Context
from fabloom.plugins.blocks.alarms import choose
from fabloom.plugins.blocks.defects import height
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.references import SAMPLE, name_of, spread
from fabloom.plugins.blocks.registration import STRUCTURE, Placement
from fabloom.plugins.blocks.seen import remembered
from fabloom.plugins.blocks.sources import copies, joined

from . import trunks
from .bank import Bank
from .features import Reader
from .maps import Mapper
from .params import MIN_AREA, OWN, FitParams
from .places import Anchor, one_place, phase, places
from .pool import ROOM, Pool

ROLE = "memory-bank"


@dataclass(frozen=True)
class Clean:
    """The clean images: rows of an array uint8 [N,C,H,W], the name and the group of origin of each."""

    pixels: LazyArray
    rows: NDArray[np.int64]
    names: Sequence[str]
    groups: NDArray[np.int64]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def taken(self, numbers: Any) -> NDArray[np.uint8]:
        """Some of them [n,C,H,W]."""
        return np.stack([self.pixels[int(row)] for row in self.rows[numbers]])


def fit(ctx: Context, params: FitParams, images: ImageSet) -> Model:
    """The task `fit`."""
    clean = clean_images(ctx, images)
    sample = clean.taken(spread(len(clean.rows), clean.size[0] * clean.size[1], SAMPLE))
    trunk: Any = trunks.load(params.trunk, params.layers, sample.shape[1]).to(ctx.device)
    reader = Reader(trunk, GreyMap.fit(sample), params.averaged, params.enlarged(min(clean.size)), ctx.device)
    anchor, lies = registered(ctx, params, clean, sample)
    clean, lies = without(ctx, clean, lies)
    pool = gathered(ctx, clean, reader, lies)
    weights = pool.weights(params.radius, ctx.generator("scale"))
    pool = replace(pool, features=pool.features * weights)
    heights = held_out(ctx, params, clean, pool, Mapper(reader, weights.to(ctx.device), no_bank(pool), anchor, params.smooth))
    chosen = choose(heights, params.false_alarms)
    bank = banked(ctx, params, pool, reader.stride, "bank")
    ctx.log(
        f"{len(bank.entries)} of {len(pool)} patches of {len(clean.rows)} clean images stand for the others; "
        f"a defect begins at a distance of {chosen.distance:.3g}: {chosen.why}"
    )
    config = {
        "role": ROLE, "image": list(sample.shape[1:]), "grey": [reader.grey.low, reader.grey.high], "trunk": params.trunk,
        "layers": None if params.layers is None else list(params.layers), "zoom": reader.zoom, "patch": reader.patch,
        "smooth": params.smooth, "registered": anchor is not None, "radius": params.radius,
        "images": {"clean": len(clean.rows), "left_out": len(images) - len(clean.rows)},
        "threshold": 0.5, "distance": chosen.distance, "threshold_choice": chosen.as_dict(MIN_AREA),
        **({} if anchor is None else {"anchor_noise": anchor.register.noise}),
    }  # fmt: skip
    seen = remembered(clean.pixels[int(row)] for row in clean.rows)
    return Model.write(ctx, written(params, trunk, weights, bank, anchor) | seen, config)


def written(params: FitParams, trunk: Any, weights: Tensor, bank: Bank, anchor: Anchor | None) -> dict[str, Tensor]:
    """Tensors of the model; the weights of a network are among them, so that it works where they are not at hand."""
    state = {"bank": bank.entries, "weights": weights}
    if bank.places is not None and anchor is not None:
        state |= {"places": bank.places, "anchor": torch.from_numpy(anchor.register.reference.astype(np.float32))}
    if params.trunk != OWN:
        state |= {f"trunk.{name}": value for name, value in trunk.state_dict().items()}
    return state


def clean_images(ctx: Context, images: ImageSet) -> Clean:
    """The clean images of a set, or where it has none the references that its images have. Raises DataError for fewer than two."""
    rows, pixels = np.arange(len(images)), images.images
    if images.domain is not None:
        rows = np.flatnonzero(np.asarray(images.domain) == 0)
        if images.masks is not None:
            rows = np.array([row for row in rows if not (images.masks[int(row)] == UNKNOWN).any()], np.int64)
        left = len(images) - len(rows)
        if not len(rows) and images.references is not None:
            rows, pixels = np.arange(len(images)), images.references
            ctx.log(f"set {images.key[:12]} has no clean image: the references of its {len(images)} images are taken")
        elif left:
            ctx.log(f"{left} of {len(images)} images are left out: they have a defect, or pixels of which nobody can tell")
    else:
        ctx.log(f"set {images.key[:12]} does not say which images have a defect: all {len(images)} are taken for clean")
    if len(rows) < 2:
        raise DataError(
            f"memory-bank.fit needs two clean images or more, to see how far clean ones lie apart; of the {len(images)} images of set "
            f"{images.key[:12]} {len(rows)} {'is' if len(rows) == 1 else 'are'} clean (domain 0, no pixel of 255). Load more, "
            "or cut a large one with images.tile"
        )
    source = None if images.source is None else np.asarray(images.source)[rows]
    groups = joined(copies(pixels[int(row)] for row in rows), source)
    if groups.max() == 0:
        if len(np.unique(copies(pixels[int(row)] for row in rows))) == 1:
            raise DataError(
                f"the {len(rows)} clean images of set {images.key[:12]} are one and the same: how far they lie apart is unknown"
            )
        ctx.log("all clean images are of one source: the threshold knows no other")
        groups = copies(pixels[int(row)] for row in rows)
    return Clean(pixels, rows, [name_of(images, int(row)) for row in rows], groups)


def registered(ctx: Context, params: FitParams, clean: Clean, sample: NDArray[np.uint8]) -> tuple[Anchor | None, list[Placement | None]]:
    """What images are placed on, and where each clean one lies; nothing where they are not registered."""
    nowhere: list[Placement | None] = [None] * len(clean.rows)
    if params.registered == "no":
        return None, nowhere
    anchor = Anchor.of(sample)
    if params.registered == "auto" and anchor.register.clarity < STRUCTURE:
        return None, nowhere
    if params.registered == "yes" or one_place([anchor.place(image) for image in sample]):
        lies = [anchor.place(clean.taken([row])[0]) for row in range(len(clean.rows))]
        if one_place(lies):
            ctx.log("the clean images show one place: a patch is held against those of the same place alone")
            return anchor, [*lies]
        if params.registered == "yes":
            odd = next(row for row, one in enumerate(lies) if one.verdict == "unlike")
            raise DataError(
                f"registered: yes, but clean image '{clean.names[odd]}' {lies[odd]}: give images of one place, or registered: no"
            )
    ctx.log("the clean images do not show one place: a patch is held against the whole bank")
    return None, nowhere


def without(ctx: Context, clean: Clean, lies: list[Placement | None]) -> tuple[Clean, list[Placement | None]]:
    """The same without the few clean images that show another place."""
    odd = [row for row, one in enumerate(lies) if one is not None and one.verdict == "unlike"]
    for row in odd:
        ctx.log(f"clean image '{clean.names[row]}' {lies[row]} and is left out")
    kept = np.setdiff1d(np.arange(len(lies)), odd)
    return (
        replace(clean, rows=clean.rows[kept], names=[clean.names[row] for row in kept], groups=clean.groups[kept]),
        [lies[row] for row in kept],
    )


def gathered(ctx: Context, clean: Clean, reader: Reader, lies: Sequence[Placement | None]) -> Pool:
    """The patches of all clean images; of many or large ones so many of each, drawn, that they fit into memory."""
    cells, many = int(np.prod(reader.grid(clean.size))), len(clean.rows)
    features, where, image, draw = [], [], [], ctx.generator("patches")
    with ctx.progress(many, unit="image", name="patches of clean images") as bar:
        for number, placed in enumerate(lies):
            for part in reader.windows(clean.taken([number]), phase(placed, reader.stride)):
                grid = part.features[0].cpu()
                own = torch.arange(grid.shape[0] * grid.shape[1])
                if (room := ROOM // (many * grid.shape[2])) < cells:
                    own = torch.randperm(len(own), generator=draw)[: max(1, room * len(own) // cells)].sort().values
                features.append(grid.flatten(0, 1)[own])
                image.append(torch.full((len(own),), int(clean.groups[number])))
                if placed is not None:
                    where.append(places(part, clean.size, reader.stride, placed).flatten(0, 1)[own])
            bar.advance()
    if not where:
        return Pool(torch.cat(features), torch.cat(image), None)
    known = torch.cat(where).isfinite().all(1).nonzero()[:, 0]
    return Pool(torch.cat(features), torch.cat(image), torch.cat(where)).of(known)


def no_bank(pool: Pool) -> Bank:
    """A bank of nothing, in the place of one that comes."""
    return Bank(pool.features[:0], None, 0.0)


def banked(ctx: Context, params: FitParams, pool: Pool, stride: int, stream: str) -> Bank:
    """The bank of some patches."""

    def go_on() -> None:
        if ctx.stop_requested():
            raise Interrupted("stopped while the patches that stand for the others were chosen. Run the same command again to start over.")

    return pool.bank(params.share, params.entries, params.radius, stride, ctx.generator(stream), go_on)


def held_out(ctx: Context, params: FitParams, clean: Clean, pool: Pool, mapper: Mapper) -> NDArray[np.float64]:
    """The height of each clean image [n] over a bank of the images of other parts; what is of one source is in one part."""
    known = np.unique(clean.groups)
    parts = np.zeros(int(known.max()) + 1, np.int64)
    order = torch.randperm(len(known), generator=ctx.generator("parts")).numpy()
    parts[known[order]] = np.arange(len(known)) % params.folds
    own, found = parts[clean.groups], np.empty(len(clean.rows))
    at_once = mapper.reader.at_once(clean.size)
    with ctx.progress(len(own), unit="image", name="threshold") as bar:
        for part in range(int(own.max()) + 1):
            others = torch.from_numpy(parts[pool.image.numpy()] != part).nonzero()[:, 0]
            tried = replace(mapper, bank=banked(ctx, params, pool.of(others), mapper.reader.stride, f"part_{part}"))
            rows = np.flatnonzero(own == part)
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                found[some] = [height(one, MIN_AREA) for one in tried.of(clean.taken(some))[0]]
                bar.advance(len(some))
    return found
