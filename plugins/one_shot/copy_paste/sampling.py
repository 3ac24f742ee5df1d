"""The task `sample`: defects on other places of clean images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.cutouts.cutting import pieces_of
from fabloom.plugins.blocks.cutouts.places import Places, Spots, box_at, within
from fabloom.plugins.blocks.cutouts.residuals import Residual, fitted
from fabloom.plugins.blocks.ground import Ground, Size, grey_of, held_by
from fabloom.plugins.blocks.pasted import Sample, batches
from fabloom.plugins.blocks.streams import numpy_stream
from fabloom.plugins.blocks.transplants import VISIBLE
from fabloom.plugins.blocks.truth import LABELLED

from .params import SampleParams

Pixels = NDArray[np.uint8]
TRIES = 8
"""How often another place is looked for where defects would lie on one another."""


@dataclass(frozen=True)
class Chosen:
    """What a sample is made of: a clean image, and defects (number, factor of the contrast)."""

    clean: int
    defects: Sequence[tuple[int, float]]


@dataclass
class Sheet:
    """A clean image [C,H,W] on which defects are put, the mask [H,W], and how much of the fresh noise's variance [H,W] they bring along."""

    levels: NDArray[np.float64]
    mask: Pixels
    heard: NDArray[np.float64]
    noise_share: float

    @classmethod
    def of(cls, smooth: NDArray[np.float64], noise_share: float) -> Sheet:
        """Without a defect."""
        size = smooth.shape[1:]
        return cls(smooth.copy(), np.zeros(size, np.uint8), np.zeros(size), noise_share)

    def free(self, piece: Residual, spots: Spots, factor: float, draw: np.random.Generator) -> tuple[int, int] | None:
        """One of the places at which the defect lies on no other, if possible one where it shows; None where some tries find none."""
        found = None
        for _ in range(TRIES if len(spots) else 0):
            top, left = spots[draw.integers(len(spots))].tolist()
            rows, columns = box_at((top, left), piece.box)
            if (self.mask[rows, columns][piece.weight > 0] > 0).any():
                continue
            found = top, left
            under, change = np.clip(self.levels[:, rows, columns], 0, 255), factor * piece.change
            left_over = np.abs(np.clip(under + change, 0, 255) - under).sum()
            if left_over >= VISIBLE * np.abs(change).sum():
                break
        return found

    def paste(self, piece: Residual, spot: tuple[int, int], factor: float) -> None:
        """Put a defect at a place."""
        rows, columns = box_at(spot, piece.box)
        self.levels[:, rows, columns] += factor * piece.change
        self.heard[rows, columns] += (factor * piece.weight) ** 2 * self.noise_share
        self.mask[rows, columns] = np.where(piece.mask > 0, piece.mask, self.mask[rows, columns])


@dataclass(frozen=True)
class Paster:
    """Makes samples of a model; a sample follows from the seed and its number alone."""

    ground: Ground
    defects: Sequence[Residual]
    noise_share: float
    params: SampleParams
    size: Size
    places: Places
    seed: int

    @classmethod
    def of(cls, model: Model, params: SampleParams, seed: int) -> Paster:
        """Raises DataError for another model, and for a size that holds no defect or cannot be had."""
        config = held_by(model, "copy-paste")
        ground = Ground.of_model(model)
        size = ground.size if params.size is None else params.size
        defects = pieces_of(model, config["defects"])
        largest = tuple(max(piece.box[axis] for piece in defects) for axis in (0, 1))
        if size[0] < largest[0] or size[1] < largest[1]:
            raise DataError(f"size: {size[0]} x {size[1]} pixels do not hold a defect of {largest[0]} x {largest[1]} with its margin")
        ground = ground.reaching(size)
        places = Places(defects, lambda clean: grey_of(ground.smooth[clean]), size, params.mirror)
        return cls(ground, defects, float(config["noise_share"]), params, size, places, seed)

    def chosen(self, number: int) -> Chosen:
        """What sample `number` is made of."""
        draw = numpy_stream(self.seed, f"choice/{number}")
        clean, many = int(draw.integers(len(self.ground.clean))), int(draw.poisson(self.params.rate))
        low, high = np.log(self.params.contrast)
        return Chosen(clean, [(int(draw.integers(len(self.defects))), float(np.exp(draw.uniform(low, high)))) for _ in range(many)])

    def make(self, number: int) -> Sample:
        """Sample `number`."""
        choice, draw = self.chosen(number), numpy_stream(self.seed, f"sample/{number}")
        sheet = Sheet.of(self.ground.smooth[choice.clean], self.noise_share)
        window: tuple[int, int] | None = None
        for which, factor in choice.defects:
            piece, spots = self.places.fit(which, choice.clean, draw)
            window = self._window(spots, piece.box, draw) if window is None else window
            spot = sheet.free(piece, within(spots, window, self.size, piece.box), factor, draw)
            if spot is not None:
                sheet.paste(fitted(piece, self.places.grey(choice.clean), spot), spot, factor)
        top, left = window or self._anywhere(draw)
        part = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        fresh = self.ground.grain.draw(self.size, draw) * np.sqrt(np.maximum(1 - sheet.heard[part], 0))
        return Sample.of(sheet.levels[:, *part] + fresh, sheet.mask[part], self.ground.clean[choice.clean][:, *part])

    def _window(self, spots: Spots, box: Size, draw: np.random.Generator) -> tuple[int, int]:
        """First row and column of the output in the clean image, around one of the places."""
        spot = spots[draw.integers(len(spots))]
        ranges = [
            (max(0, int(at) + side - shown), min(int(at), whole - shown))
            for at, side, shown, whole in zip(spot, box, self.size, self.ground.size, strict=True)
        ]
        top, left = (int(draw.integers(low, high + 1)) for low, high in ranges)
        return top, left

    def _anywhere(self, draw: np.random.Generator) -> tuple[int, int]:
        top, left = (int(draw.integers(whole - shown + 1)) for whole, shown in zip(self.ground.size, self.size, strict=True))
        return top, left


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    paster, config = Paster.of(model, params, ctx.seed), model.config
    own, channels = ctx.rows(params.count), int(config["image"][0])
    choices = [paster.chosen(number) for number in own]
    told = config["defects"]
    source = [told[one.defects[0][0]]["source"] if one.defects else config["clean_source"][one.clean] for one in choices]
    labels = [told[one.defects[0][0]]["label"] if one.defects else 0 for one in choices] if "label" in told[0] else None
    kept = {name: config[name] for name in (LABELLED,) if name in config}
    return ImageSet.write(
        ctx,
        batches(ctx, paster.make, own, params.batch, channels),
        count=len(own),
        source=np.array(source, np.int32),
        source_names=config["source_names"],
        labels=None if labels is None else np.array(labels, np.int16),
        class_names=config.get("class_names"),
        channels=channels,
        attrs={"method": "copy-paste", "defects_cut_out": len(told), **kept},
    )
