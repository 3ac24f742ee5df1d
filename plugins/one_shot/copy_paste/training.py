"""The task `train`: every defect image against its clean one, the defects cut out, and the noise measured. Nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.kinds.masks import is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.difference import blur, blurred_known, contrast_of, resolved
from fabloom.plugins.blocks.grain import denoised, fine_noise, spread
from fabloom.plugins.blocks.ground import Ground, chosen
from fabloom.plugins.blocks.labels import LabelParams
from fabloom.plugins.blocks.references import name_of
from fabloom.plugins.blocks.registration import Placement
from fabloom.plugins.blocks.truth import LABELLED, label_attrs

from .pairing import Clean, defect_rows, laid, own_mask, place
from .params import TrainParams
from .residuals import Residual, cut

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A defect image [C,H,W] of a row, and the clean image that is nearest to it, as it is; where it lies on that."""

    row: int
    image: Pixels
    clean: Pixels
    placement: Placement

    @property
    def held(self) -> Real:
        """The clean image as it lies on the image [C,H,W], NaN where it shows nothing of that place."""
        return laid(self.clean.astype(np.float64), self.placement)


@dataclass(frozen=True)
class Marked(Pair):
    """The same with its mask [H,W], and whether a rule made that."""

    mask: Pixels
    ruled: bool


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    rows = defect_rows(images, alone=reference is not None)
    clean = Clean.of(images, reference)
    pairs = marked(ctx, params.labels, images, _pairs(ctx, images, rows, clean))
    noise = Noise.of(pairs, params.margin)
    kept = chosen(len(clean.pixels), pairs[0].mask.shape, params.cleans)
    ground = Ground.of(clean.pixels[kept][:, : len(pairs[0].image)], noise.clean, noise.apart, noise.image)
    found: list[tuple[Marked, Residual]] = []
    for pair in pairs:
        smooth = laid(denoised(pair.clean.astype(np.float64), noise.clean), pair.placement)  # the residual has the noise of the image alone
        whole = np.where(np.isfinite(smooth), smooth, pair.image)
        found += [(pair, piece) for piece in cut(levelled(pair.image - smooth), whole, pair.mask, params.margin)]
    if not found:
        raise DataError(f"no defect of set {images.key[:12]} lies where its clean image shows anything: give one of the same place")
    ctx.log(
        f"{len(found)} defects of {len(pairs)} images cut out, for {len(kept)} clean images; nothing was trained. Noise: {noise.image:.2f} "
        f"grey levels in the images, {noise.clean:.2f} in the clean ones; {ground.grain.deviation:.2f} are drawn anew"
    )
    state, config = _written(found, images, [clean.names[row] for row in kept])
    config |= {
        "role": "copy-paste",
        "image": list(images.images.shape[1:]),
        "noise": noise.image,
        "noise_share": noise.image**2 / ground.grain.deviation**2 if ground.grain.deviation else 0.0,
        **_attributes(images, pairs),
    }
    return Model.write(ctx, {**ground.written(), **state}, config)


def _pairs(ctx: Context, images: ImageSet, rows: NDArray[np.intp], clean: Clean) -> list[Pair]:
    """The defect images that lie on a clean one; channels that are all equal are one. DataError where none does."""
    pixels = {int(row): np.asarray(images.images[int(row) : int(row) + 1])[0] for row in rows}
    equal = all((one == one[:1]).all() for one in pixels.values()) and bool((clean.pixels == clean.pixels[:, :1]).all())
    channels = 1 if equal else len(clean.pixels[0])
    found, odd = [], []
    with ctx.progress(len(rows), unit="image", name="cut out") as bar:
        for row, whole in pixels.items():
            if ctx.stop_requested():
                raise Interrupted("stopped while defects were cut out. Run the same command again to start over.")
            image, other = whole[:channels], clean.nearest(whole, row)[:channels]
            lies = place(image, other)
            if lies.verdict == "unlike":
                odd.append(f"'{name_of(images, row)}' does not show the place of its clean image (correlation {lies.agreement:.2f})")
            else:
                found.append(Pair(row, image, other, lies))
            bar.advance()
    _tell(ctx, len(rows), len(found), odd)
    return found


def _tell(ctx: Context, many: int, used: int, problems: Sequence[str]) -> None:
    """Log what is left out. Raises DataError where nothing else is there."""
    if not used:
        raise DataError(f"none of the {many} images with a defect can be used: {problems[0]}")
    for problem in problems:
        ctx.log(f"left out: {problem}")


def marked(ctx: Context, params: LabelParams, images: ImageSet, pairs: Sequence[Pair]) -> list[Marked]:
    """The pairs with a mask: their own, else what differs by the rule of all those without one. DataError where none has a defect."""
    own = {pair.row: own_mask(images, pair.row) for pair in pairs}
    bare = [pair for pair in pairs if own[pair.row] is None]
    ruled = dict(zip((pair.row for pair in bare), ruled_masks(params, bare), strict=True)) if bare else {}
    found, odd = [], []
    for pair in pairs:
        mask = own[pair.row]
        one = Marked(pair.row, pair.image, pair.clean, pair.placement, ruled[pair.row] if mask is None else mask, mask is None)
        if is_defect(one.mask).any():
            found.append(one)
        else:
            odd.append(f"'{name_of(images, pair.row)}' differs from its clean image nowhere; draw a mask, or lower labels.threshold")
    _tell(ctx, len(pairs), len(found), odd)
    return found


def ruled_masks(params: LabelParams, pairs: Sequence[Pair]) -> list[Pixels]:
    """The mask [H,W] of what differs in each, as `reference-difference.label` finds it in images with a reference each."""
    published = params.preset == "published"
    values, held = ([grey.mean(0) for grey in pictures] for pictures in ([p.image for p in pairs], [p.held for p in pairs]))
    goals = np.stack([blurred_known(picture, published) for picture in held])
    gaps = np.stack([blur(value, published) for value in values]) - goals
    rule = resolved(params, goals[0], gaps, goals, float(np.median([contrast_of(picture) for picture in held])))
    return [rule.against(picture).find(value).mask for value, picture in zip(values, held, strict=True)]


def levelled(gap: Real) -> Real:
    """A difference [C,H,W], NaN where not known, less the median of each channel: one image may be brighter."""
    return gap - np.nanmedian(gap, axis=(1, 2), keepdims=True)


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


def _written(
    found: Sequence[tuple[Marked, Residual]], images: ImageSet, cleans: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and config of the cut-out defects; sources are counted in one list of names."""
    names = list(dict.fromkeys([*(name_of(images, pair.row) for pair, _ in found), *cleans]))
    number = {name: index for index, name in enumerate(names)}
    state: dict[str, torch.Tensor] = {}
    told: list[dict[str, Any]] = []
    for index, (pair, piece) in enumerate(found):
        for name in ("change", "weight", "around"):
            state[f"defect.{index}.{name}"] = torch.from_numpy(getattr(piece, name).astype(np.float32))
        state[f"defect.{index}.mask"] = torch.from_numpy(piece.mask)
        told.append({"at": list(piece.at), "source": number[name_of(images, pair.row)], **_label(images, pair, piece)})
    return state, {"defects": told, "clean_source": [number[name] for name in cleans], "source_names": names}


def _label(images: ImageSet, pair: Marked, piece: Residual) -> dict[str, int]:
    """The class of a defect: the one that its mask tells, else that of its image; {} where images have no classes."""
    if images.labels is None:
        return {}
    if images.mask_names == images.class_names and not pair.ruled:
        return {"label": int(np.bincount(piece.mask[is_defect(piece.mask)]).argmax())}
    return {"label": int(images.labels[pair.row])}


def _attributes(images: ImageSet, pairs: Sequence[Marked]) -> dict[str, Any]:
    """Classes, and who made the masks."""
    ruled = [pair.ruled for pair in pairs]
    made = label_attrs(images) if not any(ruled) else {LABELLED: "all" if all(ruled) else "some"}
    told = {"class_names": images.class_names} if images.class_names else {}
    return {**told, **made}
