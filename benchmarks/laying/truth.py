"""What a case draws, and what must come out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 20, 24
CLASSES = ("clean", "bridge", "open")


@dataclass
class Truth:
    """What a right reading gives: pixels uint8 [N,C,H,W] (within `off` levels), masks [N,H,W], a class name each, domain, references."""

    images: np.ndarray
    masks: np.ndarray | None = None
    labels: list[str] | None = None
    names: list[str] | None = None
    domain: list[int] | None = None
    references: np.ndarray | None = None
    off: int = 0
    sources: list[str] | None = None


@dataclass
class Case:
    """A folder: `write` makes it and gives parameters of `images.load` and the truth.

    `wanted` is right, refused or told (wrong, but the log says so); `told` is a word that the log must hold.
    """

    name: str
    write: Callable[[Path], tuple[dict[str, Any], Truth | None]]
    wanted: str = "right"
    told: str = ""


def greys(count: int, seed: int = 0) -> list[np.ndarray]:
    """Images uint8 [H,W] of all levels, no two alike; the mean is near 128 in all."""
    draw = np.random.default_rng(seed)
    return [draw.permutation(np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8)).reshape(HEIGHT, WIDTH) for _ in range(count)]


def blob(which: int) -> np.ndarray:
    """A mask bool [H,W]: nothing, a box of 5 x 10, or an L of two boxes."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if which == 1:
        mask[4:9, 6:16] = True
    if which == 2:
        mask[2:14, 3:6] = True
        mask[11:14, 3:18] = True
    return mask


OUTLINES = {1: [(6, 4), (16, 4), (16, 9), (6, 9)], 2: [(3, 2), (6, 2), (6, 11), (18, 11), (18, 14), (3, 14)]}
"""The same as corners (x, y)."""


def levelled(stored: Sequence[np.ndarray], low: float = 0.1, high: float = 99.9) -> list[np.ndarray]:
    """uint8 of stored values: 8 bits as they are, more by the values below which 0.1 and 99.9 % of the whole set lie."""
    if stored[0].dtype == np.uint8:
        return list(stored)
    ranked = np.sort(np.concatenate([one.ravel() for one in stored]).astype(np.float64))

    def at(share: float) -> float:
        return float(ranked[max(int(np.ceil(share / 100 * len(ranked))) - 1, 0)])

    bottom, top = at(low), at(high)
    return [np.floor(np.clip((one.astype(np.float64) - bottom) / (top - bottom), 0, 1) * 255 + 0.5).astype(np.uint8) for one in stored]


def channels_first(images: Sequence[np.ndarray]) -> np.ndarray:
    """[N,C,H,W] of [H,W] or [H,W,3]; a set whose channels are all equal is grey."""
    planes = [one[..., None] if one.ndim == 2 else one for one in images]
    if all((one == one[..., :1]).all() for one in planes):
        planes = [one[..., :1] for one in planes]
    return np.stack(planes).transpose(0, 3, 1, 2)
