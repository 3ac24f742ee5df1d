"""Arrays of contact holes as a structure to be imaged: where holes lie, how large they are, and what goes wrong with one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, cos, pi, sin, sqrt

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.aerial import Domain
from fabloom.plugins.blocks.imaging.shapes import Point, capsule, particle

from .params import CLASS_NAMES, SimulateParams

Real = NDArray[np.float64]


@dataclass(frozen=True)
class HoleArray:
    """Dark holes in a bright ground."""

    params: SimulateParams
    class_names = CLASS_NAMES

    def sites(self, domain: Domain, phase: Point = (0.0, 0.0)) -> Real:
        """Ideal centres [n,2] as (y, x) nm in the domain, one pitch around it included.

        One lies half a pitch and half a row from the upper left corner of the image; `phase` moves all by shares of row and pitch.
        """
        pitch, row = self.params.pitch_nm, self.params.row_nm
        start, _ = domain.span_nm
        rows, columns = (np.arange(-ceil(start / d) - 3, ceil((domain.length_nm - start) / d) + 2) for d in (row, pitch))
        aside = rows % 2 / 2 if self.params.array == "hexagonal" else np.zeros(len(rows))
        y = start + (rows[:, None] + 0.5 + phase[0]) * row + np.zeros(len(columns))
        x = start + (columns + 0.5 + phase[1] + aside[:, None]) * pitch
        centres = np.stack([y.ravel(), x.ravel()], 1)
        return centres[((centres > -pitch) & (centres < domain.length_nm + pitch)).all(1)]

    def neighbours(self) -> tuple[Point, ...]:
        """Ways from a hole to its neighbours on one side, (y, x) in nm."""
        pitch, row = self.params.pitch_nm, self.params.row_nm
        return ((0.0, pitch), (row, pitch / 2), (row, -pitch / 2)) if self.params.array == "hexagonal" else ((0.0, pitch), (row, 0.0))

    def ideal(self, domain: Domain) -> Real:
        """All holes alike and in place."""
        sites = self.sites(domain)
        return Holes(self, domain, sites, sites, np.full(len(sites), self.params.diameter_nm / 2)).clean()

    def draw(self, domain: Domain, rng: np.random.Generator) -> Holes:
        """Holes with sizes and places of their own, the whole array at a drawn position where the phase is random."""
        params = self.params
        # a hexagonal array repeats after two rows
        phase = (rng.uniform(0, 2), rng.random()) if params.random_phase else (0.0, 0.0)
        sites = self.sites(domain, phase)
        jitter = rng.standard_normal((len(sites), 3))
        centres = sites + jitter[:, :2] * params.placement_std_nm
        radii = (params.diameter_nm + jitter[:, 2] * params.cd_std_nm).clip(0) / 2
        return Holes(self, domain, sites, centres, radii)


@dataclass(frozen=True)
class Holes:
    """The holes of one image: ideal sites, centres [n,2] and radii [n] in nm."""

    array: HoleArray
    domain: Domain
    sites: Real
    centres: Real
    radii: Real

    def clean(self) -> Real:
        """Amplitude without a defect."""
        return self._amplitude()

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """Amplitude with one hole missing, shrunk, displaced or bridged to a neighbour, or with a particle anywhere."""
        params = self.array.params
        extent = rng.uniform(params.defect_low, params.defect_high) * params.diameter_nm
        start, end = self.domain.span_nm
        if kind == "particle":
            return particle(self.clean(), self.domain, (rng.uniform(start, end), rng.uniform(start, end)), extent)
        ways = self.array.neighbours()
        way = np.array(ways[int(rng.integers(len(ways)))])
        angle = rng.uniform(0, 2 * pi)
        middle = self.sites + (way / 2 if kind == "bridged" else 0.0)
        hole = int(rng.choice(np.flatnonzero(((middle > start) & (middle < end)).all(1))))
        if kind == "bridged":
            other = int(np.abs(self.sites - self.sites[hole] - way).sum(1).argmin())
            return self._amplitude((self.centres[hole], self.centres[other], extent / 2))
        centres, radii = self.centres.copy(), self.radii.copy()
        if kind == "displaced":
            centres[hole] += extent * sin(angle), extent * cos(angle)
        else:
            radii[hole] = 0.0 if kind == "missing" else max(0.0, radii[hole] - extent / 2)
        return replace(self, centres=centres, radii=radii)._amplitude()

    def _amplitude(self, *bars: tuple[Real, Real, float]) -> Real:
        """Amplitude of the union of all holes, and of bars between two points with a radius."""
        domain = self.domain
        covered = np.zeros((domain.fine, domain.fine))
        discs = ((centre, centre, radius) for centre, radius in zip(self.centres, self.radii, strict=True) if radius > 0)
        for start, end, radius in (*discs, *bars):
            window, inside = capsule(domain, tuple(start), tuple(end), float(radius))
            np.maximum(covered[window], inside, out=covered[window])
        return 1 - covered * (1 - sqrt(self.array.params.hole_reflectance))
