"""Line/space patterns as a structure to be imaged: amplitudes of rough lines, clean or with one defect."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.aerial import Domain
from fabloom.plugins.blocks.imaging.shapes import particle

from . import defects
from .params import CLASS_NAMES, SimulateParams
from .pattern import Lines, coverage, roughness, straight

Real = NDArray[np.float64]


@dataclass(frozen=True)
class LineSpace:
    """Dark lines on a bright ground."""

    params: SimulateParams
    class_names = CLASS_NAMES

    def ideal(self, domain: Domain) -> Real:
        """Straight lines."""
        return amplitude(self.params, domain, straight(domain, self.params.pitch_nm, self.params.duty, 0.0))

    def draw(self, domain: Domain, rng: np.random.Generator) -> RoughLines:
        """Lines with rough edges, at a drawn position where the phase is random."""
        params = self.params
        lines = straight(domain, params.pitch_nm, params.duty, rng.random() if params.random_phase else 0.0)
        rough = roughness(
            rng,
            (2 * len(lines.left), domain.fine),
            domain.step,
            sigma=params.ler_nm,
            correlation=params.ler_correlation_nm,
            hurst=params.ler_hurst,
        )
        lines.left += rough[::2]
        lines.right += rough[1::2]
        return RoughLines(params, domain, lines)


@dataclass(frozen=True)
class RoughLines:
    """The lines of one image."""

    params: SimulateParams
    domain: Domain
    lines: Lines

    def clean(self) -> Real:
        """Without a defect."""
        return amplitude(self.params, self.domain, self.lines)

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """With one bridge, break, necking or particle."""
        params, domain, lines = self.params, self.domain, self.lines
        extent = rng.uniform(params.defect_low, params.defect_high) * params.pitch_nm
        start, end = domain.span_nm
        y = rng.uniform(start, end)
        if kind == "particle":
            return particle(self.clean(), domain, (y, rng.uniform(start, end)), extent)
        centre = lines.centre + (params.pitch_nm / 2 if kind == "bridge" else 0.0)
        line = int(rng.choice(np.flatnonzero((centre > start) & (centre < end))))
        if kind == "bridge":
            spoilt = defects.bridge(lines, domain, line, y, extent)
        elif kind == "break":
            spoilt = defects.narrow(lines, domain, line, y, extent, depth=1.0, order=8)
        else:
            spoilt = defects.narrow(lines, domain, line, y, extent, depth=rng.uniform(0.6, 0.9), order=2)
        return amplitude(params, domain, spoilt)


def amplitude(params: SimulateParams, domain: Domain, lines: Lines) -> Real:
    """Amplitude reflectance [fine, fine] of lines on a ground of 1."""
    return 1 - coverage(lines, domain) * (1 - sqrt(params.line_reflectance))
