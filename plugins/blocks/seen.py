"""Which images a model was made of: their fingerprints are kept in it, so that a score on one of them can be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.kinds import LazyArray, Model

SEEN = "train_digest_rows"
"""Tensor of a model: sorted fingerprints of the images that it was made of, or watched on."""


def fingerprints(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """64-bit blake2b of the shape and bytes of each image [C,H,W]: [N]; two different images collide with a chance of 2^-64."""
    rows = []
    for image in images:
        head = str(image.shape).encode()
        rows.append(hashlib.blake2b(head + image.tobytes(), digest_size=8).digest())
    return np.frombuffer(b"".join(rows), np.int64)


def remembered(images: Iterable[NDArray[np.uint8]]) -> dict[str, Tensor]:
    """What a model keeps of the images that it was made of."""
    return {SEEN: torch.from_numpy(np.sort(fingerprints(images)))}


def number_seen(model: Model, images: NDArray[np.uint8] | LazyArray) -> int:
    """How many of the images [N,C,H,W] the model was made of; 0 of a model that remembers none."""
    kept = model.state(SEEN)
    return int(np.isin(fingerprints(images[row] for row in range(len(images))), kept[""].numpy()).sum()) if kept else 0
