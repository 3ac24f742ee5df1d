"""Lines and L-bends: stripes along the level sets of one coordinate, with rough edges.

Lines are straight where the coordinate is the column. A bend's is the larger one of the distances from two walls that meet in a
corner, smoothed over ROUND pixels there as etching and lithography round it, so that nested lines turn with one radius.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.shapes import from_segment

from .edges import rough
from .frame import NEAR, Frame, Real, Where
from .params import SimulateParams

ROUND = 4.0
DEEPEST = (0.6, 0.85)
"""How much of its width a line loses in a necking, between these shares."""


@dataclass(frozen=True)
class Course:
    """Coordinates [side,side] of stripes: `across` in pixels, `along` in whole ones from 0, and the gradient of `across` (down, right)."""

    across: Real
    along: NDArray[np.int64]
    down: Real
    right: Real

    @cached_property
    def steepness(self) -> Real:
        """Length of the gradient: 1 but in a corner."""
        length: Real = np.hypot(self.down, self.right)
        return length


def straight(frame: Frame) -> Course:
    """Vertical lines."""
    shape = (frame.side, frame.side)
    rows = np.arange(frame.side)[:, None]
    return Course(np.broadcast_to(frame.axis, shape), np.broadcast_to(rows, shape), np.zeros(shape), np.ones(shape))


def bent(frame: Frame, corner: tuple[float, float]) -> Course:
    """Lines that come from above right of `corner` (y, x) and turn left below it; outer ones wrap around inner ones."""
    y, x = frame.axis[:, None] - corner[0], frame.axis - corner[1]
    near = (1 - np.abs(x - y) / ROUND).clip(0)
    across = np.maximum(x, y) + near**2 * (ROUND / 4)
    right = np.where(x > y, 1 - near / 2, near / 2)
    index = np.arange(frame.side)
    return Course(across, index - index[:, None] + frame.side - 1, 1 - right, right)


@dataclass(frozen=True)
class Stripes:
    """Lines of one pitch: `offset` is the centre of line 0 across, `edges` [2, lines, places] say how far its two edges lie from there.

    `first` is the number of the line that comes first in `edges`.
    """

    frame: Frame
    course: Course
    pitch: float
    offset: float
    first: int
    edges: Real

    @classmethod
    def draw(cls, params: SimulateParams, frame: Frame, rng: np.random.Generator, *, bends: bool) -> Stripes:
        """Rough lines, at a drawn position where the phase is random."""
        pitch, duty = rng.uniform(*params.pitch), rng.uniform(*params.duty)
        sigma, correlation = rng.uniform(*params.ler), rng.uniform(*params.correlation)
        phase = rng.random(3) if params.random_phase else np.full(3, 0.5)
        # the corner lies in the middle half of the image
        course = bent(frame, ((0.25 + phase[1] / 2) * frame.size, (0.25 + phase[2] / 2) * frame.size)) if bends else straight(frame)
        offset = phase[0] * pitch
        first, last = (int(np.rint((end - offset) / pitch)) for end in (course.across.min(), course.across.max()))
        shape = (2, last - first + 3, int(course.along.max()) + 1)
        edges = np.maximum(duty * pitch / 2 + rough(rng, shape, sigma, correlation), 0.5)
        return cls(frame, course, pitch, offset, first - 1, edges)

    @cached_property
    def line(self) -> NDArray[np.int64]:
        """Number of the nearest line at each pixel, counted from `first`."""
        return np.rint((self.course.across - self.offset) / self.pitch).astype(np.int64) - self.first

    @cached_property
    def beside(self) -> Real:
        """How far each pixel lies from the ideal centre of the nearest line, across, with a sign."""
        return self.course.across - self.offset - (self.line + self.first) * self.pitch

    @cached_property
    def distance(self) -> Real:
        """From the nearest edge, of the nearest line or one of its neighbours."""
        lower, upper = self.edges[0], self.edges[1]
        along = self.course.along
        found: Real = np.minimum(self.beside + lower[self.line, along], upper[self.line, along] - self.beside)
        found = np.maximum(found, lower[self.line + 1, along] + self.beside - self.pitch, where=self.beside > 0, out=found)
        found = np.maximum(found, upper[self.line - 1, along] - self.beside - self.pitch, where=self.beside <= 0, out=found)
        return found / self.course.steepness

    def ground(self) -> Where:
        """The middle of spaces."""
        middle: Where = np.abs(self.beside) > self.pitch / 2 - NEAR
        return middle

    def spoilt(self, kind: str, extent: float, rng: np.random.Generator) -> Real:
        """Two lines bridged, or one with a gap or a necking, which takes `extent` pitches of its length."""
        width = extent * self.pitch
        y, x = self.frame.pick(self.ground() if kind == "bridge" else np.abs(self.beside) < NEAR, rng)
        if kind == "necking":
            return self._narrowed(int(self.line[y, x]), int(self.course.along[y, x]), width, rng.uniform(*DEEPEST))
        bar = self._bar(y, x, width / 2)
        return np.maximum(self.distance, bar) if kind == "bridge" else np.minimum(self.distance, -bar)

    def _bar(self, y: int, x: int, radius: float) -> Real:
        """Distance from the rim of a bar across the stripes that is half a pitch long to either side of a pixel, positive inside."""
        course, axis = self.course, self.frame.axis
        away = np.array([course.down[y, x], course.right[y, x]]) / course.steepness[y, x] * self.pitch
        start, end = axis[[y, x]] - away, axis[[y, x]] + away
        found = radius - from_segment(axis[:, None], axis, (start[0], start[1]), (end[0], end[1]))
        bar: Real = np.minimum(found, self.pitch / 2 - np.abs(course.across - course.across[y, x]))
        return bar

    def _narrowed(self, line: int, along: int, width: float, depth: float) -> Real:
        """Distance where both edges of a line come nearer to its centre, by half of the `depth` at +-width / 2."""
        edges = self.edges.copy()
        edges[:, line] *= 1 - depth * np.exp(-np.log(2) * np.square((np.arange(edges.shape[2]) - along) / (width / 2)))
        return replace(self, edges=edges).distance
