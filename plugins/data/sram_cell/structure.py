"""Arrays of 6T cells as a structure to be imaged: layers over each other, and what goes wrong in one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.aerial import Domain
from fabloom.plugins.blocks.imaging.shapes import rectangle

from .layout import LAYERS, tiled
from .params import CELL, CLASS_NAMES, SimulateParams

Real = NDArray[np.float64]
Layers = Mapping[str, Real]
"""Rectangles [n,4] of each layer: upper, lower, left, right in nm from the upper left corner of the domain."""


@dataclass(frozen=True)
class CellArray:
    """Cells with mirrored neighbours; a corner of one lies in the upper left corner of the image."""

    params: SimulateParams
    class_names = CLASS_NAMES

    def layers(self, domain: Domain, phase: tuple[float, float] = (0.0, 0.0)) -> Layers:
        """The ideal rectangles, moved by `phase`, shares of two cells (the period of mirrored ones) down and right."""
        pitch, (start, _) = self.params.pitch_nm, domain.span_nm
        corner = np.array([start + 2 * share * size * pitch for share, size in zip(phase, CELL, strict=True)])
        low, high = (-corner / pitch).tolist(), ((domain.length_nm - corner) / pitch).tolist()
        return {layer: tiled(layer, (low[0], low[1]), (high[0], high[1])) * pitch + corner.repeat(2) for layer in LAYERS}

    def ideal(self, domain: Domain) -> Real:
        """All rectangles as drawn."""
        return Cells.of(self.params, domain, self.layers(domain)).clean()

    def draw(self, domain: Domain, rng: np.random.Generator) -> Cells:
        """The array of one image, at a drawn position where the phase is random."""
        phase = (rng.random(), rng.random()) if self.params.random_phase else (0.0, 0.0)
        return Cells.of(self.params, domain, self.printed(self.layers(domain, phase), rng))

    def printed(self, layers: Layers, rng: np.random.Generator) -> Layers:
        """Layers that are shifted as a whole, and rectangles with edges of their own."""
        found = {}
        for layer, rectangles in layers.items():
            shift = rng.standard_normal(2).repeat(2) * self.params.overlay_std_nm
            found[layer] = rectangles + shift + rng.standard_normal(rectangles.shape) * self.params.edge_std_nm
        return found


@dataclass(frozen=True)
class Cells:
    """The rectangles of one image, and for each layer how often [fine, fine] they cover a sample: more than once where they overlap."""

    params: SimulateParams
    domain: Domain
    layers: Layers
    covered: Mapping[str, Real]

    @classmethod
    def of(cls, params: SimulateParams, domain: Domain, layers: Layers) -> Cells:
        """Cells of these rectangles."""
        return cls(params, domain, layers, {layer: _counted(domain, rectangles) for layer, rectangles in layers.items()})

    def clean(self) -> Real:
        """Amplitude without a defect."""
        return self._amplitude(self.covered)

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """Amplitude with two gates bridged, one open, or one contact missing."""
        layer = "contact" if kind == "missing_contact" else "gate"
        rectangles = self.layers[layer]
        extent = rng.uniform(self.params.defect_low, self.params.defect_high) * self.params.pitch_nm
        start, end = self.domain.span_nm
        seen = (rectangles[:, ::2] < end).all(1) & (rectangles[:, 1::2] > start).all(1)
        one = int(rng.choice(np.flatnonzero(seen)))
        if kind == "bridge":
            changed = _counted(self.domain, _bar(rectangles, one, extent, self.params.pitch_nm, rng))
        else:
            changed = -_counted(self.domain, _gap(rectangles[one], extent, rng) if kind == "open" else rectangles[one : one + 1])
        return self._amplitude({**self.covered, layer: self.covered[layer] + changed})

    def _amplitude(self, covered: Mapping[str, Real]) -> Real:
        """Each layer hides what is below it; rectangles of one layer that touch are one."""
        params = self.params
        amplitude = np.full((self.domain.fine, self.domain.fine), sqrt(params.field_reflectance))
        tones = (params.active_reflectance, params.gate_reflectance, params.contact_reflectance)
        for layer, reflectance in zip(LAYERS, tones, strict=True):
            amplitude += covered[layer].clip(0, 1) * (sqrt(reflectance) - amplitude)
        return amplitude


def _counted(domain: Domain, rectangles: Real) -> Real:
    """How often [fine, fine] rectangles [n,4] cover each sample."""
    covered = np.zeros((domain.fine, domain.fine))
    for upper, lower, left, right in rectangles.tolist():
        window, inside = rectangle(domain, upper, lower, left, right)
        covered[window] += inside
    return covered


def _bar(gates: Real, one: int, extent: float, pitch: float, rng: np.random.Generator) -> Real:
    """A bar [1,4] that is `extent` wide, from gate `one` down to one of the next row; [0,4] where the gate is too short for it."""
    _, lower, left, right = gates[one]
    left, right = np.maximum(gates[:, 2], left), np.minimum(gates[:, 3], right)
    below = np.flatnonzero((gates[:, 0] > lower) & (gates[:, 0] < lower + pitch) & (right - left > extent))
    if not len(below):  # nothing changes, and the next try takes another gate
        return np.empty((0, 4))
    other = int(rng.choice(below))
    middle = rng.uniform(left[other] + extent / 2, right[other] - extent / 2)
    return np.array([[lower, gates[other, 0], middle - extent / 2, middle + extent / 2]])


def _gap(gate: Real, extent: float, rng: np.random.Generator) -> Real:
    """A piece [1,4] of a gate that is `extent` long and leaves half of that at either end; [0,4] where the gate is too short for it."""
    upper, lower, left, right = gate
    if right - left < 2 * extent:  # nothing changes, and the next try takes another gate
        return np.empty((0, 4))
    middle = rng.uniform(left + extent, right - extent)
    return np.array([[upper, lower, middle - extent / 2, middle + extent / 2]])
