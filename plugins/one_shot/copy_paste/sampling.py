"""The task `sample`: defects on other places of clean images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.ground import Ground, Size, grey_of, held_by
from fabloom.plugins.blocks.one_shot import numpy_stream
from fabloom.plugins.blocks.pasted import Sample, batches
from fabloom.plugins.blocks.transplants import SPREAD, VISIBLE, Defect, matching, showing
from fabloom.plugins.blocks.truth import LABELLED

from .params import SampleParams
from .residuals import Residual

Pixels = NDArray[np.uint8]
Spots = NDArray[np.intp]
TURNS, TRIES = 8, 8
"""Ways to turn and mirror a defect, and how often another place is looked for where defects would lie on one another."""
NOWHERE = np.empty((0, 2), np.intp)
REMEMBERED = 512
"""Lists of places that are kept."""


@dataclass(frozen=True)
class Chosen:
    """What a sample is made of: a clean image, and defects (number, factor of the contrast)."""

    clean: int
    defects: Sequence[tuple[int, float]]


@dataclass
class Places:
    """Where defects fit, by defect, turn and clean image; the last ones asked for are remembered."""

    defects: Sequence[Residual]
    ground: Ground
    size: Size
    mirror: bool
    _known: OrderedDict[tuple[int, int, int], tuple[Residual, Spots]] = field(default_factory=OrderedDict)

    def fit(self, number: int, clean: int, draw: np.random.Generator) -> tuple[Residual, Spots]:
        """A defect, turned at random in a way in which it fits, and the first rows and columns [P,2] of its box where it does."""
        turns = draw.permutation(TURNS).tolist() if self.mirror else [0]
        for turn in turns:
            piece, spots = self._of(number, turn, clean)
            if len(spots):
                return piece, spots
        raise AssertionError("unturned, a defect fits somewhere")

    def _of(self, number: int, turn: int, clean: int) -> tuple[Residual, Spots]:
        asked = number, turn, clean
        if asked not in self._known:
            piece = self.defects[number].turned(turn)
            holds = piece.box[0] <= self.size[0] and piece.box[1] <= self.size[1]
            self._known[asked] = piece, spots_of(piece, self.ground, clean, forced=turn == 0) if holds else NOWHERE
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(asked)
        return self._known[asked]


def spots_of(piece: Residual, ground: Ground, clean: int, *, forced: bool) -> Spots:
    """Where the structure of a clean image looks as around the defect [P,2]; with `forced`, and too few of those, wherever it shows."""
    grey = grey_of(ground.smooth[clean])
    rows, columns = np.nonzero(alike(grey, piece))
    boxes = set(zip(rows // piece.box[0], columns // piece.box[1], strict=True))
    if len(boxes) >= SPREAD or (boxes and not forced):
        return np.stack([rows, columns], 1)
    if not forced:
        return NOWHERE
    visible = showing(grey, Defect(piece.change, 0, 0))
    rows, columns = np.nonzero(visible >= min(VISIBLE, float(visible.max(initial=0))))
    return np.stack([rows, columns], 1)


def alike(grey: NDArray[np.float64], piece: Residual) -> NDArray[np.bool_]:
    """First rows and columns of the box at which an image [H,W] looks as around the defect; so near the border that its surroundings
    reach beyond it, as in its box.
    """
    found = matching(grey, piece.around, piece.at, piece.box)
    boxed = piece.around[piece.at[0] : piece.at[0] + piece.box[0], piece.at[1] : piece.at[1] + piece.box[1]]
    near = matching(grey, boxed, (0, 0), piece.box)
    spans = [slice(at, side - (whole - at) + 1) for at, side, whole in zip(piece.at, grey.shape, piece.around.shape, strict=True)]
    near[spans[0], spans[1]] = False
    near[[0, -1]] = near[:, [0, -1]] = False  # whether it looks more alike a pixel beside cannot be told there
    return found | near


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


def box_at(spot: tuple[int, int], box: Size) -> tuple[slice, slice]:
    """Rows and columns of a box."""
    return slice(spot[0], spot[0] + box[0]), slice(spot[1], spot[1] + box[1])


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
        defects = [_read(model, index, told) for index, told in enumerate(config["defects"])]
        largest = tuple(max(piece.box[axis] for piece in defects) for axis in (0, 1))
        if size[0] < largest[0] or size[1] < largest[1]:
            raise DataError(f"size: {size[0]} x {size[1]} pixels do not hold a defect of {largest[0]} x {largest[1]} with its margin")
        ground = ground.reaching(size)
        return cls(ground, defects, float(config["noise_share"]), params, size, Places(defects, ground, size, params.mirror), seed)

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
                sheet.paste(piece, spot, factor)
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


def within(spots: Spots, window: tuple[int, int], size: Size, box: Size) -> Spots:
    """The places [P,2] at which a box lies in the window."""
    first = np.array(window)
    last = first + np.array(size) - np.array(box)
    found: Spots = spots[((spots >= first) & (spots <= last)).all(1)]
    return found


def _read(model: Model, index: int, told: dict[str, Any]) -> Residual:
    state = {name: value.numpy() for name, value in model.state(f"defect.{index}.").items()}
    change, weight, around = (state[name].astype(np.float64) for name in ("change", "weight", "around"))
    return Residual(change, weight, state["mask"], around, (int(told["at"][0]), int(told["at"][1])))


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
