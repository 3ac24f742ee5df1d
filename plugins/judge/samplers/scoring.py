"""What is said of one set of samples: scores of its images, and what they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.plugins.blocks.difference import grey
from fabloom.plugins.blocks.operations import OPERATIONS, TRAINING
from fabloom.plugins.blocks.patches import apart
from fabloom.plugins.blocks.spectra import BANDS, ratios

NEAREST = 0.01
"""Share of held-out real images that are nearer to a training image than a sample may be that is no copy of one."""
GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True)
class Scores:
    """Of one set. Shares are 0 to 1, powers ratios to real images', the distance in grey levels, operations multiply-adds.

    defects: share with a defect among those of which labels can tell, over the training set's; told: of how many they can.
    variety: mean squared distance to the mean image, over that of real images. copies: share nearer to a training image than 99 % of
    held-out real images are.
    """

    defects: float | None
    told: float | None
    low_band: float
    middle_band: float
    high_band: float
    distance: float
    variety: float
    copies: float
    iou: float | None = None
    image_operations: float | None = None
    training_operations: float | None = None

    def as_dict(self) -> dict[str, float]:
        """What is known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Judge:
    """Holds sets against real images [M,C,H,W] and the training images [K,C,H,W] with the share of defects there."""

    def __init__(self, reference: ImageSet, real: ImageSet, share: float) -> None:
        self._training, self._real, self._share = reference.images[...], real.images[...], share
        self._grey = grey(self._real)
        near = nearest(self._real, self._training)
        self._limit = float(np.quantile(near, NEAREST))

    def scores(self, images: NDArray[np.uint8], labelled: ImageSet | None, attrs: Mapping[str, Any], iou: float | None) -> Scores:
        """Of images [N,C,H,W] uint8."""
        levels = grey(images)
        bands = ratios(levels, self._grey)
        defects, told = found(labelled)
        return Scores(
            defects=None if defects is None or not self._share else defects / self._share,
            told=told,
            **{name: bands.get(name, float("nan")) for name in BANDS},
            distance=apart(torch.from_numpy(images), torch.from_numpy(self._real)),
            variety=spread(levels) / max(spread(self._grey), 1e-12),
            copies=float((nearest(images, self._training) < self._limit).mean()),
            iou=iou,
            image_operations=attrs[OPERATIONS] / GIGA if OPERATIONS in attrs else None,
            training_operations=attrs[TRAINING] / TERA if TRAINING in attrs else None,
        )


def found(labelled: ImageSet | None) -> tuple[float | None, float | None]:
    """(share with a defect among those that labels can tell of, share of those); (None, None) without masks."""
    if labelled is None or labelled.masks is None:
        return None, None
    masks = labelled.masks[...]
    drawn: NDArray[np.bool_] = np.asarray(is_defect(masks).any((1, 2)))
    told = drawn | ~(masks == UNKNOWN).any((1, 2))
    return (float(drawn[told].mean()) if told.any() else None), float(told.mean())


def spread(levels: NDArray[np.float64]) -> float:
    """Mean squared distance of images [N,H,W] to their mean image, a pixel."""
    return float(levels.var(0).mean())


def nearest(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean squared difference [N] of images [N,C,H,W] to the nearest of others."""
    flat, known = (torch.from_numpy(part.reshape(len(part), -1)).float() for part in (images, others))
    least: NDArray[np.float64] = torch.cdist(flat, known).min(1).values.double().numpy() / flat.shape[1] ** 0.5
    return least
