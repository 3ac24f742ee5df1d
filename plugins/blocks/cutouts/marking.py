"""Defect images, each with its clean one and its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.difference import blur, blurred_known, contrast_of, resolved
from fabloom.plugins.blocks.labels import LabelParams
from fabloom.plugins.blocks.references import name_of
from fabloom.plugins.blocks.registration import Placement

from .pairing import Clean, laid, own_mask, place

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


def pairs_of(ctx: Context, images: ImageSet, rows: NDArray[np.intp], clean: Clean) -> list[Pair]:
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
