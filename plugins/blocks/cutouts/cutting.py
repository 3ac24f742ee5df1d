"""From a set of images to the defects that are cut out of it, the noise, and the clean images; and as a model keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.kinds.masks import is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.grain import ROUNDING, denoised, fine_noise, softened, spread
from fabloom.plugins.blocks.ground import chosen
from fabloom.plugins.blocks.references import name_of
from fabloom.plugins.blocks.truth import LABELLED, label_attrs

from .marking import Marked, marked, pairs_of
from .pairing import Clean, defect_rows, laid
from .params import Cutting
from .residuals import Residual, cut

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Deviations of the noise of the images and of the clean images, and what they differ by away from defects [N,C,H,W]."""

    image: float
    clean: float
    apart: Real

    @classmethod
    def of(cls, pairs: Sequence[Marked], margin: int) -> Noise:
        """The difference has the noise of both; how much of it is whose, their fine noise tells."""
        apart = []
        for pair in pairs:
            away = ndimage.distance_transform_edt(pair.mask == 0) > margin
            apart.append(np.where(away, levelled(pair.image - pair.held), np.nan))
        stack = np.stack(apart)
        both = spread(stack) ** 2
        ours, theirs = (sum(fine_noise(getattr(pair, name).astype(float)) ** 2 for pair in pairs) for name in ("image", "clean"))
        share = ours / (ours + theirs) if ours + theirs > 0 else 0.5
        return cls(float(np.sqrt(share * both)), float(np.sqrt((1 - share) * both)), stack)


def levelled(gap: Real) -> Real:
    """A difference [C,H,W], NaN where not known, less the median of each channel: one image may be brighter."""
    return gap - np.nanmedian(gap, axis=(1, 2), keepdims=True)


@dataclass(frozen=True)
class Cut:
    """A defect as it was cut out: the image that it is from, what it changes, and the clean picture [C,H,W] of its place, without noise."""

    pair: Marked
    piece: Residual
    ground: Real


@dataclass(frozen=True)
class Cutouts:
    """All defects of a set; the clean images [K,C,H,W] that are kept, with the names of their sources; the noise of both."""

    found: Sequence[Cut]
    clean: Pixels
    names: Sequence[str]
    noise: Noise

    def written(self, images: ImageSet) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and config of a model of the set `images`; sources are counted in one list of names."""
        names = list(dict.fromkeys([*(name_of(images, one.pair.row) for one in self.found), *self.names]))
        number = {name: index for index, name in enumerate(names)}
        state: dict[str, torch.Tensor] = {}
        told: list[dict[str, Any]] = []
        for index, one in enumerate(self.found):
            for name in ("change", "weight", "around"):
                state[f"defect.{index}.{name}"] = torch.from_numpy(getattr(one.piece, name).astype(np.float32))
            state[f"defect.{index}.mask"] = torch.from_numpy(one.piece.mask)
            told.append({"at": list(one.piece.at), "source": number[name_of(images, one.pair.row)], **_label(images, one)})
        config = {"defects": told, "clean_source": [number[name] for name in self.names], "source_names": names}
        beside = {"image": list(images.images.shape[1:]), "noise": self.noise.image, **self._attributes(images)}
        return state, {**config, **beside}

    def _attributes(self, images: ImageSet) -> dict[str, Any]:
        """Classes, and who made the masks."""
        ruled = [one.pair.ruled for one in self.found]
        made = label_attrs(images) if not any(ruled) else {LABELLED: "all" if all(ruled) else "some"}
        told = {"class_names": images.class_names} if images.class_names else {}
        return {**told, **made}


def cut_out(ctx: Context, params: Cutting, images: ImageSet, reference: ImageSet | None, *, quiet: bool = False) -> Cutouts:
    """Cut the defects out of all images that have one; `quiet`: with most of the noise taken off what they change.

    Raises DataError where there is none, and where one cannot be held against a clean image.
    """
    rows = defect_rows(images, alone=reference is not None)
    clean = Clean.of(images, reference)
    pairs = marked(ctx, params.labels, images, pairs_of(ctx, images, rows, clean))
    noise = Noise.of(pairs, params.margin)
    found: list[Cut] = []
    for pair in pairs:
        smooth = laid(denoised(pair.clean.astype(np.float64), noise.clean), pair.placement)  # the residual has the noise of the image alone
        whole = np.where(np.isfinite(smooth), smooth, pair.image)
        residual = levelled(pair.image - smooth)
        if quiet and noise.image**2 > ROUNDING:
            residual = np.where(np.isfinite(residual), softened(np.nan_to_num(residual)), np.nan)
        found += [Cut(pair, piece, whole) for piece in cut(residual, whole, pair.mask, params.margin)]
    if not found:
        raise DataError(f"no defect of set {images.key[:12]} lies where its clean image shows anything: give one of the same place")
    kept = chosen(len(clean.pixels), (pairs[0].mask.shape[0], pairs[0].mask.shape[1]), params.cleans)
    return Cutouts(found, clean.pixels[kept][:, : len(pairs[0].image)], [clean.names[row] for row in kept], noise)


def _label(images: ImageSet, one: Cut) -> dict[str, int]:
    """The class of a defect: the one that its mask tells, else that of its image; {} where images have no classes."""
    if images.labels is None:
        return {}
    if images.mask_names == images.class_names and not one.pair.ruled:
        return {"label": int(np.bincount(one.piece.mask[is_defect(one.piece.mask)]).argmax())}
    return {"label": int(images.labels[one.pair.row])}


def pieces_of(model: Model, told: Sequence[Mapping[str, Any]]) -> list[Residual]:
    """The defects that a model keeps; `told` is `defects` of its config."""
    return [_read(model, index, one) for index, one in enumerate(told)]


def _read(model: Model, index: int, told: Mapping[str, Any]) -> Residual:
    state = {name: value.numpy() for name, value in model.state(f"defect.{index}.").items()}
    change, weight, around = (state[name].astype(np.float64) for name in ("change", "weight", "around"))
    return Residual(change, weight, state["mask"], around, (int(told["at"][0]), int(told["at"][1])))
