"""Etched patterns under the beam: which pattern an image has, what may go wrong with it, and its grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.stage import Stage

from .beam import Scan, counted
from .edges import tone
from .frame import Frame, Pattern, Real
from .holes import Holes
from .overlays import particle, residue
from .params import CLASS_NAMES, KINDS, SimulateParams
from .stripes import Stripes


@dataclass(frozen=True)
class Etched:
    """One pattern under one scan, turned by `turns` quarters."""

    params: SimulateParams
    kinds: tuple[str, ...]
    pattern: Pattern
    scan: Scan
    turns: int

    @cached_property
    def bare(self) -> Real:
        """Brightness without a defect, before the scan."""
        return tone(self.pattern.distance)

    @cached_property
    def seen(self) -> Real:
        """Brightness without a defect as scanned."""
        return self.scan.image(np.rot90(self.bare, self.turns))

    def clean(self) -> Real:
        """Grey levels without a defect."""
        return self._grey(self.seen)

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """Grey levels with one: so much of its contrast as its strength says."""
        extent, strength = rng.uniform(self.params.defect_low, self.params.defect_high), rng.uniform(*self.params.strength)
        changed = self.scan.image(np.rot90(self._changed(kind, extent, rng), self.turns))
        return self._grey(self.seen + strength * (changed - self.seen))

    def _changed(self, kind: str, extent: float, rng: np.random.Generator) -> Real:
        """Brightness with a defect before the scan."""
        frame = self.scan.frame
        if kind == "particle":
            return particle(frame, self.bare, extent * self.pattern.pitch, rng)
        if kind == "residue":
            return residue(frame, self.bare, self.pattern, extent * self.pattern.pitch, rng)
        return tone(self.pattern.spoilt(kind, extent, rng))

    def _grey(self, seen: Real) -> Real:
        return self.params.grey_low + (self.params.grey_high - self.params.grey_low) * seen


@dataclass(frozen=True)
class EtchStage(Stage):
    """Images of etched patterns."""

    params: SimulateParams
    class_names = CLASS_NAMES

    def view(self, rng: np.random.Generator) -> Etched:
        """A pattern, its scan and its direction, all drawn."""
        params, frame = self.params, Frame(self.params.size)
        name = params.patterns[int(rng.integers(len(params.patterns)))]
        turns = int(rng.integers(4)) if params.turned else 0
        scan = Scan.draw(params, frame, rng)
        pattern = Holes.draw(params, frame, rng) if name == "holes" else Stripes.draw(params, frame, rng, bends=name == "bends")
        return Etched(params, tuple(kind for kind in params.defects if kind in KINDS[name]), pattern, scan, turns)

    def expose(self, grey: Real, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Noise of electrons and detector."""
        return counted(grey, self.params, rng)
