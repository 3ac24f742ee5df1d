"""A fab that simulated wafers come from: what its tools, chucks and reticles do to each term, and how logs move them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.overlay.terms import NAMES, Real

from .logs import couplings

TOOLS, CHUCKS, RETICLES, LAYERS = 8, 2, 12, 4
UNSEEN = 1000
"""Numbers of tools and reticles from here on are those of no training set."""
PARTS = {"tool": 0.4, "chuck": 0.2, "reticle": 0.4}
"""Shares of the variance of what is told by a barcode."""


@dataclass(frozen=True)
class World:
    """Everything that is the same for all lots of a fab, which its number tells."""

    number: int

    @cached_property
    def current(self) -> Real:
        """How logs move the terms of the current layer, [K,F]."""
        return couplings("current", self._rng(0), known=True)

    @cached_property
    def previous(self) -> Real:
        """How they moved those of the layer below, [K,F]."""
        return couplings("previous", self._rng(1), known=False)

    def effects(self, layer: int, tool: NDArray[np.int64], chuck: NDArray[np.int64], reticle: NDArray[np.int64]) -> Real:
        """What a barcode tells of each term, in deviations [N,K]: `layer` 0 the current one, 1 the one below, exposed on the same tool."""
        whose = {"tool": tool, "chuck": tool * CHUCKS + chuck, "reticle": reticle}
        found = np.zeros((len(tool), len(NAMES)))
        for place, (part, share) in enumerate(PARTS.items()):
            numbers, index = np.unique(whose[part], return_inverse=True)
            found += np.sqrt(share) * np.stack([self._effect(layer, place, part, int(number)) for number in numbers])[index]
        return found

    def _effect(self, layer: int, place: int, part: str, number: int) -> Real:
        mean, deviation = self._population(layer, place, part)
        return (self._rng(2, layer, place, number).normal(0, 1, len(NAMES)) - mean) / deviation

    def _population(self, layer: int, place: int, part: str) -> tuple[Real, Real]:
        """Mean and deviation of the effects of those that training sets hold: eight tools drawn from a normal have others than 0 and 1."""
        count = {"tool": TOOLS, "chuck": TOOLS * CHUCKS, "reticle": RETICLES}[part]
        drawn = np.stack([self._rng(2, layer, place, number).normal(0, 1, len(NAMES)) for number in range(count)])
        return drawn.mean(0), drawn.std(0)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.number, *stream))
