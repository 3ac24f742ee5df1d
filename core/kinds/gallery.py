"""`Gallery`: images that were judged one by one, each with its name, the truth, what was found, and how sure it was.

A report keeps arrays of its own for what it shows, so that its page can be drawn when the test set is gone. They are bounded: at most
`MOST` images with sides of at most `SIDE` pixels; `reduced` makes larger ones fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .arrays import LazyArray

MOST, SIDE = 200, 256
"""Images of a gallery, and the longest side of one."""
Outcome = Literal["missed", "partly found", "false alarm", "found with false alarm", "found", "clean"]
"""What became of an image: none of its defects found; some; nothing there, and something found; all found, and something else; all found;
nothing there and nothing found."""
BITS = {"truth": 1, "found": 2, "unknown": 4}
ARRAYS = ("gallery_images", "gallery_marks", "gallery_scores")


@dataclass(frozen=True)
class Gallery:
    """Judged images, worst first: `names` [N] of files or rows, `images` uint8 [N,C,H,W] with C of 1 or 3, `outcomes` [N].

    `truth`, `found` and `unknown` (where nobody can tell) are bool [N,H,W]; `scores` uint8 [N,H,W] is how sure the judge is of a defect,
    255 where it has no doubt. `values` are numbers or words of each image by name (iou, defects). `of` is the number of images that
    were judged in all, and `shrunk` how many pixels a side were averaged into one.

    Raises DataError for shapes, dtypes or outcomes that do not fit, and for more than the bounds.
    """

    names: Sequence[str]
    images: NDArray[np.uint8]
    outcomes: Sequence[str]
    truth: NDArray[np.bool_]
    found: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    scores: NDArray[np.uint8]
    values: Mapping[str, Sequence[Any]]
    of: int
    shrunk: int = 1

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.images.ndim != 4 or str(self.images.dtype) != "uint8" or self.images.shape[1] not in (1, 3):
            raise DataError(f"gallery images must be uint8 [N,1 or 3,H,W], not {self.images.dtype} {self.images.shape}")
        if not 0 < count <= MOST or max(self.images.shape[2:]) > SIDE:
            raise DataError(f"a gallery holds 1 to {MOST} images of at most {SIDE} pixels a side, not {self.images.shape}; see `reduced`")
        plane = (count, *self.images.shape[2:])
        for name in ("truth", "found", "unknown", "scores"):
            given, wanted = getattr(self, name), "uint8" if name == "scores" else "bool"
            if given.shape != plane or str(given.dtype) != wanted:
                raise DataError(f"gallery {name} must be {wanted} {plane}, not {given.dtype} {given.shape}")
        lengths = {"images": len(self.images), "outcomes": len(self.outcomes)} | {name: len(column) for name, column in self.values.items()}
        for name, length in lengths.items():
            if length != count:
                raise DataError(f"a gallery of {count} names has {length} {name}")
        strange = sorted(set(self.outcomes) - set(get_args(Outcome)))
        if strange:
            raise DataError(f"the outcome of an image is {', '.join(get_args(Outcome))}, not {strange[0]!r}")

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, outcome: str) -> list[int]:
        """Rows of the images of that outcome, worst first."""
        return [row for row, found in enumerate(self.outcomes) if found == outcome]

    @property
    def arrays(self) -> dict[str, NDArray[np.uint8]]:
        """What a report keeps as arrays, by name: the masks as bits of one."""
        marks: Any = sum(getattr(self, name).astype("uint8") * bit for name, bit in BITS.items())
        return dict(zip(ARRAYS, (self.images, marks, self.scores), strict=True))

    @property
    def attrs(self) -> dict[str, Any]:
        """And what as attributes."""
        values = [[name, list(column)] for name, column in self.values.items()]
        return {"names": list(self.names), "outcomes": list(self.outcomes), "values": values, "of": self.of, "shrunk": self.shrunk}

    @classmethod
    def read(cls, kept: Mapping[str, Any], array: Callable[[str], LazyArray]) -> Gallery:
        """From attributes and arrays by name."""
        images, marks, scores = (array(name)[...] for name in ARRAYS)
        masks = {name: (marks & bit) > 0 for name, bit in BITS.items()}
        values = dict(kept["values"])
        return cls(kept["names"], images, kept["outcomes"], scores=scores, values=values, of=kept["of"], shrunk=kept["shrunk"], **masks)


def factor(height: int, width: int) -> int:
    """How many pixels a side become one for an image of that size to fit into a gallery."""
    return -(-max(height, width) // SIDE)


def reduced(values: NDArray[Any], by: int, *, largest: bool = False) -> NDArray[Any]:
    """The last two axes of [...,H,W] in blocks of `by` pixels, the edge repeated to fill the last: their mean, or the largest in them."""
    import numpy as np

    if by == 1:
        return values
    height, width = values.shape[-2:]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, -height % by), (0, -width % by)], mode="edge")
    blocks = padded.reshape(*values.shape[:-2], -(-height // by), by, -(-width // by), by)
    return blocks.max((-3, -1)) if largest else blocks.mean((-3, -1)).round().astype(values.dtype)  # type: ignore[no-any-return]


def spread(badness: Sequence[float], failed: Sequence[bool], most: int = MOST) -> list[int]:
    """Rows to show of a larger set, worst first: at least half of them failures where there are so many, the others evenly spread."""
    order = sorted(range(len(badness)), key=lambda row: (not failed[row], -badness[row]))
    count = sum(map(bool, failed))
    bad, good = order[:count], order[count:]
    kept = bad[: max(most // 2, most - len(good))]
    room = min(most - len(kept), len(good))
    return kept + [good[index * len(good) // room] for index in range(room)]
