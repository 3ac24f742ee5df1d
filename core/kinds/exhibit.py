"""`Exhibit`: one thing that an artifact has to show, as plain data. The page of a run draws it, and so may anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .arrays import LazyArray
    from .gallery import Gallery

Section = Literal["result", "images", "defects", "data"]
"""Parts of the page: what a run is for, samples, where defects lie, and everything else."""

SURVEY_ROWS, SURVEY_BYTES = 1024, 1 << 26
"""Most rows, and bytes, that an exhibit about a whole array looks at."""


@dataclass(frozen=True)
class Table:
    """A table of a report: column names and rows of JSON scalars."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Chart:
    """Lines over numbers: of each series, by name, the points (x, y) or (x, y, low, high), in the order in which they are joined.

    `x` and `y` say what the axes are. `wide` draws x by its logarithm; where x is 0 the point stands at the left edge. `mark` is an x at
    which a line is drawn, a threshold in use perhaps.
    """

    x: str
    y: str
    series: Mapping[str, Sequence[Sequence[float]]]
    wide: bool = False
    mark: float | None = None

    def __post_init__(self) -> None:
        for name, points in self.series.items():
            if any(len(point) not in (2, 4) for point in points):
                raise DataError(f"series '{name}' of a chart needs points (x, y) or (x, y, low, high)")


@dataclass(frozen=True)
class Exhibit:
    """What is shown under a title and over a caption: any of the contents below, in this order; those left out are not shown.

    `picture` is uint8 [H,W] or [H,W,C]. `samples` are images uint8 [N,C,H,W] of which the first are drawn with one stretch of their
    contrast; `masks` [N,H,W] adds their outlines. `heat` is a map of values from 0, float [H,W]. `gallery` are judged images by name.
    `facts` are names and JSON values, `metrics` nested names and numbers or `Metric`s, of which the page makes comparisons and its
    headline; `verdict` is the sentence that it puts beside that. `notes` say how to read it. `section` is the part of the page that it
    belongs to, and one that is `folded` opens on a click.

    Raises DataError for another section, and for a picture of another dtype or number of axes.
    """

    title: str = ""
    picture: NDArray[np.uint8] | None = None
    samples: LazyArray | NDArray[np.uint8] | None = None
    masks: LazyArray | NDArray[np.uint8] | None = None
    heat: NDArray[np.floating[Any]] | None = None
    gallery: Gallery | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = ""
    chart: Chart | None = None
    table: Table | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    caption: str = ""
    section: Section = "data"
    folded: bool = False

    def __post_init__(self) -> None:
        if self.section not in get_args(Section):
            raise DataError(f"exhibit '{self.title}' is for section '{self.section}'; choose one of {', '.join(get_args(Section))}")
        if self.picture is not None and (str(self.picture.dtype) != "uint8" or self.picture.ndim not in (2, 3)):
            raise DataError(f"picture '{self.title}' must be uint8 [H,W] or [H,W,C], not {self.picture.dtype} {self.picture.shape}")


def survey(array: LazyArray) -> NDArray[np.int64]:
    """Evenly spread row numbers of an array, as many as one may look at."""
    import numpy as np

    row_bytes = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
    count = max(1, min(len(array), SURVEY_ROWS, SURVEY_BYTES // row_bytes))
    return np.unique(np.linspace(0, len(array) - 1, count).round().astype(np.int64))
