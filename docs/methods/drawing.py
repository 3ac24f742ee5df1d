"""Sheets of the method pages: how each method's picture is put together from what its pipeline gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from fabloom.kinds import ImageSet, Report
from fabloom.kinds.masks import UNKNOWN
from fabloom.plugins.blocks.overlay.drawing import sheet
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.fitting import residue
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.sheets import coloured, stretched, tiled

Sheet = NDArray[np.uint8]
Made = Mapping[str, Any]
MARK = (235, 80, 60)
"""Colour of the outline of a mask."""
DOUBT = (255, 200, 0)
"""Colour of pixels of which nobody can tell."""


def save(sheet: Sheet, path: Path) -> None:
    """Write uint8 [h,w,3] as a PNG file."""
    Image.fromarray(sheet).save(path, optimize=True)


def enlarged(tiles: Sheet, scale: int) -> Sheet:
    """Each pixel of [N,H,W,...] as a square of `scale` pixels."""
    return tiles.repeat(scale, 1).repeat(scale, 2)


def shown(images: Sheet, scale: int, grey: tuple[float, float]) -> Sheet:
    """Images [N,C,H,W] as tiles [N,h,w,3], grey[0] black and grey[1] white."""
    return enlarged(stretched(images, *grey), scale)


def outlined(tiles: Sheet, masks: Sheet, scale: int) -> Sheet:
    """Tiles with the outlines of their masks [N,H,W], drawn just outside of them."""
    marked = tiles.copy()
    marked[np.stack([find_boundaries(mask, mode="outer") for mask in enlarged(masks, scale)])] = MARK
    return marked


def grid(rows: Sequence[Sheet]) -> Sheet:
    """Rows of tiles with white gaps."""
    return tiled(rows, max(len(row) for row in rows))


def doubled(sheet: Sheet) -> Sheet:
    """A sheet with each pixel as a square of 2."""
    return sheet.repeat(2, 0).repeat(2, 1)


def greys(images: ImageSet) -> tuple[float, float]:
    """Darkest and brightest level of a set."""
    pixels = images.images[...]
    return float(pixels.min()), float(pixels.max())


def classes(images: ImageSet, turns: int, scale: int = 2) -> list[Sheet]:
    """Rows of a simulated set, a column for each class that it holds: `turns` images of each, every one above itself with its mask."""
    assert images.labels is not None
    assert images.masks is not None
    labels = images.labels[...]
    rows = []
    for turn in range(turns):
        chosen = [int(np.flatnonzero(labels == label)[turn]) for label in np.unique(labels)]
        bare = shown(images.images[...][chosen], scale, greys(images))
        rows += [bare, outlined(bare, images.masks[...][chosen], scale)]
    return rows


def overlay(maps: OverlayMaps) -> Sheet:
    """overlay-map: the first wafer of each lot, the layer below above the layer, and under both what the terms leave of the layer."""
    rows = np.unique(maps.source[...], return_index=True)[1] if maps.source is not None else np.arange(5)
    values, valid = maps.values[...][rows], maps.valid[...][rows].astype(bool)
    return sheet([maps.previous[...][rows], values, residue(maps.raster, values, valid)], valid, maps.raster)[0]


def ensembles(maps: OverlayMaps, drawn: OverlayEnsembles) -> Sheet:
    """ikddit: of the first wafer of three lots the layer below, the layer, a generated map and the mean of the ensemble."""
    rows = np.unique(maps.source[...], return_index=True)[1][:3]
    members = drawn.by_wafer()[rows]
    shown = [maps.previous[...][rows], maps.values[...][rows], members[:, 0], members.mean(1)]
    return sheet(shown, maps.valid[...][rows].astype(bool), maps.raster)[0]


def wafers(images: ImageSet) -> Sheet:
    """wafer-map: a wafer of each single class above mixed ones, every one above itself with the dies of its mask in the colour of marks."""
    assert images.labels is not None
    assert images.masks is not None
    labels = images.labels[...].tolist()
    types, rows = [label for label in range(len(images.class_names)) if label in labels], []
    for shown_types in (types[:9], types[-9:]):
        chosen = [labels.index(label) for label in shown_types]
        fail, die = (images.images[...][chosen, channel] > 0 for channel in (0, 1))
        bare = np.full((*die.shape, 3), 255, np.uint8)
        bare[die], bare[fail] = (205, 210, 215), (60, 60, 60)
        marked = bare.copy()
        marked[images.masks[...][chosen] == 1] = MARK
        rows += [enlarged(bare, 3), enlarged(marked, 3)]
    return grid(rows)


def variations(made: Made) -> Sheet:
    """images: the two images, then variations of them with their masks."""
    real, varied = made["real"], made["varied"]
    grey = greys(made["images"])
    rows = [outlined(shown(s.images[...], 1, grey), s.masks[...], 1) for s in (real, varied)]
    tiles = np.concatenate(rows)
    return grid([enlarged(tiles[start : start + 4], 2) for start in range(0, len(tiles), 4)])


def by_domain(made: Made) -> Sheet:
    """ddpm: training images above samples, clean ones at the left and ones with a defect at the right of each."""
    rows = []
    for images in (made["images"], made["drawn"]):
        domain = images.domain[...]
        chosen = np.concatenate([np.flatnonzero(domain == value)[:5] for value in (0, 1)])
        rows.append(shown(images.images[...][chosen], 3, greys(made["images"])))
    return grid(rows)


def shared_noise(made: Made) -> Sheet:
    """denoising-circuits: images of the recurrence above those of the one-step student from the same noise."""
    return grid([shown(made[name].images[:10], 3, greys(made["images"])) for name in ("recurrence", "one_step")])


def beside(made: Made, *steps: str) -> Sheet:
    """mean-flow, consistency: training images above samples of several steps, from the same noise."""
    return grid([shown(made[name].images[:10], 3, greys(made["images"])) for name in ("images", *steps)])


def predictions(made: Made) -> Sheet:
    """unet: the report's own picture of the worst defect images."""
    return picture(made["found"], "Worst defect images")


def from_one_image(made: Made, method: str) -> Sheet:
    """sinsemi, sinddm: the training image, then samples, with the outlines of the defects that were located."""
    real, found = made["real"], made[f"{method}_labelled"]
    grey = greys(made["images"])
    row = int(np.flatnonzero(real.domain[...] == 1)[0])
    lead = outlined(shown(real.images[row : row + 1], 1, grey), real.masks[row : row + 1], 1)
    tiles = np.concatenate([lead, outlined(shown(found.images[:14], 1, grey), found.masks[:14], 1)])
    return doubled(grid([tiles[start : start + 5] for start in range(0, len(tiles), 5)]))


def pasted(real: ImageSet, samples: ImageSet) -> Sheet:
    """copy-paste, noise-paste: the image with the defect, the clean one, and sixteen samples, with the outlines of their masks."""
    grey = greys(real)
    order = np.argsort(-real.domain[...])[:2]
    both = [(real.images[...][order], real.masks[...][order]), (samples.images[:16], samples.masks[:16])]
    tiles = np.concatenate([outlined(shown(images, 1, grey), masks, 1) for images, masks in both])
    return doubled(grid([tiles[start : start + 6] for start in range(0, len(tiles), 6)]))


def from_patches(real: ImageSet, samples: ImageSet) -> Sheet:
    """The one-shot methods without an anchor: the image and eight samples."""
    tiles = np.concatenate([shown(images, 2, greys(real)) for images in (real.images[:1], samples.images[:8])])
    return grid([tiles[start : start + 3] for start in range(0, len(tiles), 3)])


def scored(made: Made) -> Sheet:
    """memory-bank: test images with a defect and the outlines of what was found, of the truth, and their scores."""
    test, found = made["test"], made["found"]
    assert test.labels is not None
    labels = test.labels[...]
    rows = np.concatenate(
        [np.flatnonzero(labels == label)[:2] for label in range(1, len(test.class_names))] + [np.flatnonzero(labels == 0)[:1]]
    )
    bare = shown(test.images[...][rows], 2, greys(test))
    maps = np.stack([coloured(one) for one in np.asarray(found.scores)[rows].astype(float)])
    return grid([*(outlined(bare, one.masks[...][rows], 2) for one in (found, test)), enlarged(maps, 2)])


def choices(made: Made) -> Sheet:
    """curate: what is kept of a pool by chance above what is kept by loss and misses: images with a defect, masks outlined."""
    rows = []
    for images in (made["by_chance"], made["chosen"]):
        chosen = np.flatnonzero(images.domain[...] == 1)[:8]
        rows.append(outlined(shown(images.images[...][chosen], 2, greys(made["real"])), images.masks[...][chosen], 2))


def painted(made: Made) -> Sheet:
    """inpaint: a row for each class, two training images and then samples of it, with the outlines of their masks."""
    real, samples = made["real"], made["samples"]
    grey, rows = greys(real), []
    for label in range(1, len(real.class_names)):
        chosen = [np.flatnonzero(one.labels[...] == label)[:many] for one, many in ((real, 2), (samples, 6))]
        if all(map(len, chosen)):
            tiles = [
                outlined(shown(one.images[...][own], 1, grey), one.masks[...][own], 1)
                for one, own in zip((real, samples), chosen, strict=True)
            ]
            rows.append(enlarged(np.concatenate(tiles), 2))
    return grid(rows)


def differences(made: Made) -> Sheet:
    """reference-difference: images, their absolute difference to the clean image as it lies, and what is labelled."""
    sets = made["faint_labelled"], made["shifted_labelled"]
    pixels, masks = (np.concatenate([getattr(one, name)[...] for one in sets]) for name in ("images", "masks"))
    gap = np.abs(pixels.astype(np.int16) - made["clean"].images[...].astype(np.int16)).mean(1)
    bare = shown(pixels, 1, greys(made["clean"]))
    told = outlined(bare, np.where(masks == UNKNOWN, 0, masks), 1)
    told[masks == UNKNOWN] = 0.5 * told[masks == UNKNOWN] + 0.5 * np.array(DOUBT)
    return doubled(grid([bare, np.stack([coloured(np.clip(g / 20, 0, 1)) for g in gap]), told]))


def heat(made: Made) -> Sheet:
    """quality: the report's map of where defects lie."""
    return picture(made["sinsemi_quality"], "Where defects lie")


def board(made: Made) -> Sheet:
    """leaderboard: the report's samples of every method."""
    return doubled(picture(made["leaderboard"], "Samples"))


def larger(sheet: Sheet, times: int) -> Sheet:
    """A sheet with every pixel so many times, where a report's own picture is small."""
    enlarged: Sheet = sheet.repeat(times, 0).repeat(times, 1)
    return enlarged


def picture(report: Report, beginning: str) -> Sheet:
    """The picture of a report whose title begins so."""
    found: Sheet = next(pixels for title, pixels in report.pictures.items() if title.startswith(beginning))
    return found
