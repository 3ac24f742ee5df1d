"""Wafer by wafer: random fails, the fails of its patterns, and which die failed for which of the two reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.plugins.blocks.imaging.stage import has_defect

from .encoding import CHANNELS, EMPTY, ENCODING, FAIL, PASS, Codes, encoded
from .params import SimulateParams
from .types import NONE, Pattern
from .wafer import Bool, Wafer
from .zones import DENSITIES, ZONES

FEWEST = 5
"""Dies that a pattern makes fail at least: of fewer nobody could tell."""
TRIES = 100


@dataclass(frozen=True)
class Drawn:
    """One wafer: codes [H,W] as it is and without its patterns, which dies its patterns made fail, and its type by name."""

    codes: Codes
    without: Codes
    caused: Bool
    type: str


def draw(params: SimulateParams, wafer: Wafer, seed: int, index: int) -> Drawn:
    """Wafer `index`: a function of parameters, seed and index alone.

    A die fails if it fails at random or if one of the patterns in whose zone it lies makes it fail; each is drawn for itself.
    """
    rng = np.random.default_rng((seed, 0, index))
    dies = wafer.dies
    chance = (rng.random(dies.shape) < rng.uniform(params.fail_low, params.fail_high)) & dies
    kind = _type(params, rng) if has_defect(seed, index, params.defect_share) else NONE
    caused = np.zeros_like(dies)
    for pattern in params.types()[kind]:
        caused |= _caused(params, wafer, pattern, rng)
    return Drawn(_codes(dies, chance | caused), _codes(dies, chance), caused, kind)


def _codes(dies: Bool, fails: Bool) -> Codes:
    return np.where(dies, np.where(fails, FAIL, PASS), EMPTY).astype(np.uint8)


def _type(params: SimulateParams, rng: np.random.Generator) -> str:
    """A type with one pattern or with several, all types of that sort alike."""
    several = rng.random() < params.mixed_share
    names = [name for name, members in params.types().items() if members and (len(members) > 1) == several]
    return names[int(rng.integers(len(names)))]


def _caused(params: SimulateParams, wafer: Wafer, pattern: Pattern, rng: np.random.Generator) -> Bool:
    """The dies that one pattern makes fail; zones with fewer than `FEWEST` of them are drawn again."""
    for _ in range(TRIES):
        zone = ZONES[pattern](wafer, rng) & wafer.dies
        density = rng.uniform(*DENSITIES.get(pattern, (params.density_low, params.density_high)))
        caused: Bool = zone & (rng.random(zone.shape) < density)
        if caused.sum() >= FEWEST:
            return caused
    raise DataError(f"no {pattern} at size={params.size} makes {FEWEST} dies fail; raise size, density_low or density_high")


def simulate(ctx: Context, params: SimulateParams) -> ImageSet:
    """Draw `params.count` wafers and write them with masks, domain, labels and, where they are wanted, references."""
    wafer, names = Wafer(params.size), list(params.types())
    shape = (params.count, params.size, params.size)
    codes, masks = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    without = np.empty(shape, np.uint8) if params.references else None
    labels: NDArray[np.int16] = np.empty(params.count, np.int16)
    with ctx.progress(params.count, unit="wafer", name="simulate") as bar:
        for index in range(params.count):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {params.count} wafers. Run the same command again to start over.")
            drawn = draw(params, wafer, ctx.seed, index)
            codes[index], masks[index], labels[index] = drawn.codes, drawn.caused, names.index(drawn.type)
            if without is not None:
                without[index] = drawn.without
            bar.advance()
    return ImageSet.write(
        ctx,
        encoded(codes),
        channels=len(CHANNELS),
        masks=masks,
        references=None if without is None else encoded(without),
        domain=(labels > 0).astype(np.int8),
        labels=labels,
        class_names=names,
        attrs={
            "settings": params.model_dump(mode="json"),
            "encoding": ENCODING,
            "patterns": {name: list(members) for name, members in params.types().items()},
            "dies": int(wafer.dies.sum()),
            "defects": int((labels > 0).sum()),
        },
    )
