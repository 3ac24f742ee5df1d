"""What a layout says of its images: `Entry` of one, `Scene` of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CLEAN = "clean"
"""The name of the clean class, always the first."""
UNNAMED = "defect"
"""The class of a mask or shape that names none."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What somebody drew on an image: a class, and an area as polygons, run lengths or a box.

    `points` are outlines [(x, y), ...] in pixels from the left upper corner of the image; a pixel belongs to the area where its
    centre does. `runs` are lengths of runs of 0, 1, 0, ... down the columns (`columns`) or along the rows, within `box`
    (left, top, width, height); `picture` is the same as a PNG in base 64. A shape with a box alone says no pixels. `crowd`: what is
    inside is not told apart; its pixels become 255 (cannot tell). `relative`: points and box are shares of the image's width and height.
    """

    label: str
    points: tuple[tuple[tuple[float, float], ...], ...] = ()
    runs: tuple[int, ...] = ()
    columns: bool = True
    picture: str = ""
    box: tuple[float, float, float, float] | None = None
    crowd: bool = False
    relative: bool = False

    @property
    def boxed(self) -> bool:
        """Whether a box is all that is known."""
        return not self.points and not self.runs and not self.picture


@dataclass(frozen=True, slots=True)
class Entry:
    """An image file: name relative to the root, domain (0 clean, 1 defect, None unknown), class, masks, reference, drawn shapes.

    `masks` are files, each of one class or (None) of values that say it; None where the image has none. `shapes` is None where nobody
    annotated the image, empty where somebody found nothing on it. `page` counts in a file of several. `size` (width, height) is what
    the annotation claims.
    """

    name: str
    path: Path
    domain: int | None = None
    label: str | None = None
    masks: tuple[tuple[str | None, Path], ...] = ()
    reference: Path | None = None
    shapes: tuple[Shape, ...] | None = None
    page: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scene:
    """All images of a folder under one layout, by name; `classes` in order, the clean class first if `clean` is not None.

    `values` names the values of masks; `used` are the names of all files that say something, images included,
    `skipped` those of all others; `notes` go into the log.
    """

    layout: str
    entries: list[Entry]
    classes: tuple[str, ...] = ()
    clean: str | None = None
    values: dict[int, str] = field(default_factory=dict)
    annotations: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Images of each class, or of each domain; {} where nothing says."""
        told: list[str] = []
        for entry in self.entries:
            if entry.label is not None:
                told.append(entry.label)
            elif entry.shapes is not None:
                told += sorted({shape.label for shape in entry.shapes}) or [self.clean or "clean"]
            elif entry.domain is not None:
                told.append(("clean", "defect")[entry.domain])
        return dict(Counter(told))


def ordered(labels: Sequence[str], clean: str | None) -> tuple[str, ...]:
    """Class names, the clean class first, the others by name."""
    return (*([clean] if clean is not None else []), *sorted(set(labels) - {clean}))
