"""From grey values to edges: smooth, cross a level, interpolate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom import Context, DataError, ImageSet, Interrupted

from .kind import LineEdges
from .method import MeasureParams

Real = NDArray[np.float64]


def run(ctx: Context, params: MeasureParams, images: ImageSet) -> LineEdges:
    """Measure every image and write the edges."""
    found: list[Real] = []
    with ctx.progress(len(images), unit="image", name="measure") as bar:
        for index in range(len(images)):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {len(images)} images. Run the same command again to start over.")
            found.append(edges_of(images.images[index], params, f"image {index}"))
            lines, first = len(found[-1]) // 2, len(found[0]) // 2
            if lines != first:
                raise DataError(f"image {index} shows {lines} whole lines but image 0 shows {first}; measure sets of one pattern")
            bar.advance()
    positions = np.stack(found)
    missing = np.isnan(positions)
    for index, edges in enumerate(positions):
        fill(edges, params.gap, f"image {index}")
    return LineEdges.write(ctx, positions.astype(np.float32), width=images.images.shape[3], tone=params.tone, filled=missing)


def edges_of(image: NDArray[np.uint8], params: MeasureParams, where: str) -> Real:
    """Edge positions [E,H] of a uint8 image [C,H,W], NaN where a row does not cross the level near an edge. Raises DataError."""
    grey = ndimage.gaussian_filter(image.mean(0, dtype=np.float64), (params.smooth_along, params.smooth), mode="nearest")
    profile = np.median(grey, axis=0)
    level = float(profile.min() + params.level * np.ptp(profile))
    if params.tone == "bright":
        grey, profile, level = -grey, -profile, -level
    nominal = Crossings.of(profile[None], level).whole_lines()
    if not len(nominal):
        raise DataError(f"{where} shows no whole vertical line with a space on either side; is `tone: {params.tone}` right?")
    return Crossings.of(grey, level).nearest(nominal)


@dataclass(frozen=True)
class Crossings:
    """Where rows of grey cross a level: `row`, `position` in pixels, and whether the grey `falls` there (a left edge)."""

    rows: int
    row: NDArray[np.int64]
    position: Real
    falls: NDArray[np.bool_]

    @classmethod
    def of(cls, grey: Real, level: float) -> Crossings:
        """All crossings of grey [H,W], by linear interpolation between neighbouring pixels."""
        below = grey < level
        row, left = np.nonzero(below[:, 1:] != below[:, :-1])
        a, b = grey[row, left], grey[row, left + 1]
        return cls(len(grey), row, left + (level - a) / (b - a), below[row, left + 1])

    def whole_lines(self) -> Real:
        """Positions of one row without the parts of lines that the border cuts: from the first fall to the last rise."""
        first = 0 if self.falls[:1].all() else 1
        count = (len(self.position) - first) // 2 * 2
        return self.position[first : first + count]

    def nearest(self, nominal: Real) -> Real:
        """For every row and nominal edge [E] the nearest crossing of its direction, no nearer to another edge: [E,H], or NaN."""
        found = np.full((len(nominal), self.rows), np.nan)
        reach = np.diff(nominal).min() / 2 if len(nominal) > 1 else np.inf
        falling = np.arange(len(nominal)) % 2 == 0
        for edge, (place, falls) in enumerate(zip(nominal, falling, strict=True)):
            own = np.flatnonzero((self.falls == falls) & (np.abs(self.position - place) < reach))
            order = own[np.argsort(-np.abs(self.position[own] - place), kind="stable")]  # the nearest is written last
            found[edge, self.row[order]] = self.position[order]
        return found


def fill(edges: Real, gap: int, where: str) -> None:
    """Interpolate missing positions of edges [E,H] along each edge, in place; runs of more than `gap` rows raise DataError."""
    rows = np.arange(edges.shape[1])
    for edge, positions in enumerate(edges):
        missing = np.isnan(positions)
        runs, count = ndimage.label(missing)
        for (run,) in ndimage.find_objects(runs, max_label=count):
            if run.stop - run.start > gap:
                raise DataError(
                    f"{where}: edge {edge} is missing in rows {run.start} to {run.stop - 1}, more than gap={gap}. A bridge or a break? "
                    "Measure clean images, or raise `gap` to interpolate over it"
                )
        positions[missing] = np.interp(rows[missing], rows[~missing], positions[~missing])
