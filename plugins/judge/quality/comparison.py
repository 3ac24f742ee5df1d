"""What is compared: generated images, the reference image, and a clean image of the same scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.plugins.blocks.difference import Real, blur, grey
from fabloom.plugins.blocks.grain import STRONGER, fine_noise
from fabloom.plugins.blocks.one_shot import images_at_once
from fabloom.plugins.blocks.perceptual import MIN_SIDE
from fabloom.plugins.blocks.references import SAMPLE
from fabloom.plugins.blocks.registration import Register

from .copies import noise_floor
from .denoising import Denoised
from .params import EvaluateParams

KNOWN = 16
"""Images of the reference set that might be repeated and are looked at: the pair, then those with a defect, evenly spread."""
WHITEST = 3.0
"""Most times the white part of noise that is believed."""
BATCH = 16
"""Images that a network sees at once; fewer where they hold more than a million pixels together."""


@dataclass(frozen=True)
class Comparison:
    """uint8 images [N,C,H,W], the reference [1,C,H,W] and the clean image [1,C,H,W] of the reference pair or None, with their rows.

    `known` are the images that might be repeated [K,C,H,W], the pair first; `defective` [K] says which of them show a defect.
    """

    images: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None
    row: int = 0
    clean_row: int | None = None
    known: NDArray[np.uint8] | None = None
    defective: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, params: EvaluateParams, images: ImageSet, reference: ImageSet) -> Comparison:
        """Read and check. Equal channels are collapsed, so that grey and replicated grey compare. Raises DataError."""
        size, wanted = images.images.shape[2:], reference.images.shape[2:]
        if size != wanted:
            raise DataError(f"images are {size[0]} x {size[1]} but the reference is {wanted[0]} x {wanted[1]}; they must have one size")
        if min(size) < MIN_SIDE:
            raise DataError(f"images of {size[0]} x {size[1]} are too small to be scored: a side must have {MIN_SIDE} pixels or more")
        if 2 * params.reach > min(size):
            raise DataError(f"reach: {params.reach} is more than half of {size[0]} x {size[1]} pixels; give {min(size) // 2} or less")
        row = reference_row(reference, params.reference_row)
        clean_row = clean_row_of(reference, params.clean_row, row)
        pixels, goal = collapsed(np.asarray(images.images)), collapsed(np.asarray(reference.images[row : row + 1]))
        clean = None if clean_row is None else collapsed(np.asarray(reference.images[clean_row : clean_row + 1]))
        for name, other in (("the reference", goal), ("the clean image", clean)):
            if other is not None and other.shape[1] != pixels.shape[1]:
                raise DataError(f"images have {pixels.shape[1]} channels but {name} has {other.shape[1]} (equal channels count as one)")
        if goal.min() == goal.max():
            raise DataError(f"the reference, row {row} of set {reference.key[:12]}, is constant: nothing can be compared with it")
        return cls(pixels, goal, clean, row, clean_row, *known_images(reference, row, clean_row))

    @cached_property
    def one_place(self) -> bool:
        """Whether the clean image shows the place of the reference, pixel on pixel."""
        return self.clean is not None and lies_on(grey(self.clean)[0], grey(self.reference)[0])

    @property
    def deviation(self) -> float:
        """Standard deviation of the reference in grey levels."""
        return float(self.reference.std())

    @cached_property
    def colour(self) -> float:
        """Noise over its white part, 1 to 3: by the difference of the pair where that lies on one place, else what finds all noise."""
        if not self.one_place:
            return STRONGER
        assert self.clean is not None
        both = noise_floor(grey(self.reference)[0], grey(self.clean)[0]) ** 2
        white = sum(fine_noise(grey(one)) ** 2 for one in (self.reference, self.clean))
        return float(np.clip(np.sqrt(both / max(white, 1e-12)), 1, WHITEST))

    def denoised(self, pixels: NDArray[np.uint8], ctx: Context | None = None) -> Denoised:
        """Images without their noise, and that; as the pair's is."""
        return Denoised.of(pixels, self.colour, ctx)

    def smooth(self, images: NDArray[np.float16]) -> Comparison:
        """The same without noise: images [N,C,H,W] whose noise was taken off, and the pair's taken off alike."""
        pair: dict[str, Any] = {
            name: Denoised.of(own).smooth for name in ("reference", "clean") if (own := getattr(self, name)) is not None
        }
        return replace(self, images=images, **pair)  # type: ignore[arg-type]  # networks take either

    def normal(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Pixels in standard deviations of the reference from its mean, float32."""
        return torch.from_numpy(((pixels - self.reference.mean()) / self.deviation).astype(np.float32))

    def anchors(self, seed: int) -> dict[str, NDArray[np.uint8]]:
        """What a score is read against: the clean image, the mirrored reference, and noise of its mean and deviation."""
        draw = np.random.default_rng(seed)
        noise = draw.normal(self.reference.mean(), self.deviation, self.reference.shape)
        found = {"mirrored_reference": self.reference[..., ::-1].copy(), "noise": np.clip(np.rint(noise), 0, 255).astype(np.uint8)}
        return found if self.clean is None else {"clean_reference": self.clean, **found}


def reference_row(reference: ImageSet, chosen: int | None) -> int:
    """The chosen row, else the only image with a defect (domain 1), else the only image. Raises DataError."""
    if chosen is not None:
        return _checked(reference, chosen, "reference_row")
    domain = reference.domain
    rows = range(len(reference)) if domain is None else np.flatnonzero(domain[...] == 1).tolist()
    if len(rows) == 1:
        return int(rows[0])
    held = "does not say which have a defect" if domain is None else f"{len(rows)} of them with a defect (domain 1)"
    raise DataError(
        f"generated images are compared with one image; reference {reference.key[:12]} holds {len(reference)} images, {held}. "
        "Choose one with `reference_row: ROW`, or load it with the `defect` and `clean` patterns of images.load"
    )


def clean_row_of(reference: ImageSet, chosen: int | None, row: int) -> int | None:
    """The chosen row, else the first clean image (domain 0) that lies where the reference, image `row`, does, else the first; or None."""
    if chosen is not None:
        return _checked(reference, chosen, "clean_row")
    rows = [] if reference.domain is None else np.flatnonzero(reference.domain[...] == 0)[:SAMPLE].tolist()
    if len(rows) < 2:
        return int(rows[0]) if rows else None
    goal = grey(reference.images[row : row + 1])[0]
    return next((one for one in rows if lies_on(grey(reference.images[one : one + 1])[0], goal)), int(rows[0]))


def known_images(reference: ImageSet, row: int, clean_row: int | None) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Images [K,C,H,W] of the set, the pair first, at most KNOWN of them, and which show a defect [K]: all that are not marked clean."""
    rows = [row] if clean_row is None else [row, clean_row]
    defect = np.ones(len(reference), bool) if reference.domain is None else np.asarray(reference.domain[...]) != 0
    if clean_row is not None:
        defect[clean_row] = False
    for kind in (True, False):
        left = np.setdiff1d(np.flatnonzero(defect == kind), rows)
        room = min(KNOWN - len(rows), len(left))
        rows += [int(left[n]) for n in np.linspace(0, len(left) - 1, max(room, 0)).round().astype(int)]
    return collapsed(np.stack([np.asarray(reference.images[one : one + 1])[0] for one in rows])), defect[rows]


def lies_on(clean: Real, image: Real) -> bool:
    """Whether an image [H,W] lies where a clean one does."""
    return Register.of(blur(clean), clean).place(blur(image)).distance <= 1


def _checked(reference: ImageSet, row: int, field: str) -> int:
    if row >= len(reference):
        raise DataError(f"{field}: row {row} is not in set {reference.key[:12]} of {len(reference)} images (rows count from 0)")
    return row


def collapsed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N,C,H,W] with one channel where all channels of all images are equal."""
    return pixels[:, :1] if (pixels == pixels[:, :1]).all() else pixels


def unit(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 to float32 on [-1, 1]."""
    return torch.from_numpy(pixels / np.float32(127.5) - np.float32(1)).to(device)


def batched(ctx: Context, name: str, pixels: NDArray[np.uint8], score: Callable[[NDArray[np.uint8]], Tensor]) -> Real:
    """`score` [n,..] of every batch of images, put together; with progress. Raises Interrupted on a stop."""
    found, at_once = [], images_at_once(BATCH, (int(pixels.shape[-2]), int(pixels.shape[-1])))
    with torch.no_grad(), ctx.progress(len(pixels), unit="image", name=name) as bar:
        for start in range(0, len(pixels), at_once):
            if ctx.stop_requested():
                raise Interrupted(f"stopped while scoring ({name}). Run the same command again to start over.")
            part = pixels[start : start + at_once]
            found.append(score(part).double().cpu().numpy())
            bar.advance(len(part))
    return np.concatenate(found)
