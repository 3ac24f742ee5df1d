"""What a reader looks at first: samples beside the reference, the nearest and the farthest, and where the defects lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.plugins.blocks.difference import Real
from fabloom.plugins.blocks.sheets import coloured, stretched, tiled

from .comparison import Comparison

Picture = NDArray[np.uint8]
COLUMNS = 6
SMOOTH = 3.0
"""Deviation in pixels of the bell that every defect's centre becomes on the map."""
ENLARGED = 3
BAR = 12
"""Width of the colour scale before it is enlarged, in pixels."""


def samples(given: Comparison, shown: int) -> dict[str, Picture]:
    """The reference and the first images, all with the grey range of the reference."""
    tiles = np.concatenate([_shown(given, given.reference), _shown(given, given.images[:shown])])
    return {"Reference (first) and generated images": tiled([tiles[i : i + COLUMNS] for i in range(0, len(tiles), COLUMNS)], COLUMNS)}


def extremes(given: Comparison, measure: str, distances: Real) -> dict[str, Picture]:
    """The images nearest to the reference above, the farthest below."""
    order = np.argsort(distances, kind="stable")
    lead = _shown(given, given.reference)
    rows = [np.concatenate([lead, _shown(given, given.images[rows])]) for rows in (order[: COLUMNS - 1], order[::-1][: COLUMNS - 1])]
    return {f"Reference (first) with the nearest images above and the farthest below, by {measure}": tiled(rows, COLUMNS)}


def locations(centres: Real, images: int, clean: Real) -> dict[str, Picture]:
    """Density of defect centres [K,2] over the clean image [H,W], with its colour scale; none without defects."""
    if not len(centres):
        return {}
    heat = density(centres, images, clean.shape)
    title = f"Where defects lie, over the clean image (scale from 0 to {heat.max():.2g} defects in 100 pixels of an image)"
    return {title: heat_map(clean, heat / heat.max())}


def density(centres: Real, images: int, size: tuple[int, ...]) -> Real:
    """Defect centres in 100 pixels of an image [H,W], smoothed."""
    seen = np.zeros(size)
    np.add.at(seen, tuple(np.rint(centres).astype(int).T), 1)
    smooth: Real = ndimage.gaussian_filter(seen, SMOOTH, mode="constant") * 100 / images
    return smooth


def heat_map(clean: Real, heat: Real) -> Picture:
    """The clean image with the heat [H,W] in [0, 1] laid over it, and the colour scale from 1 (top) to 0 at the right."""
    low, high = clean.min(), clean.max()
    base = np.repeat(((clean - low) * 160 / max(high - low, 1.0))[..., None], 3, -1)
    share = np.sqrt(heat)[..., None]
    mixed = (1 - share) * base + share * coloured(heat)
    ramp = coloured(np.repeat(np.linspace(1, 0, len(clean))[:, None], BAR, 1))
    joined = np.concatenate([mixed.round().astype(np.uint8), np.full((len(clean), 4, 3), 255, np.uint8), ramp], 1)
    return joined.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def _shown(given: Comparison, images: Picture) -> Picture:
    return stretched(images, float(given.reference.min()), float(given.reference.max()))
