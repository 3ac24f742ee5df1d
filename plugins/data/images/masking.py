"""Masks of classes from files of values, files a class, or shapes; and what about them should be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds.masks import UNKNOWN, is_defect

from .annotations.shapes import draw
from .entries import Entry, Scene
from .marks import Marks, read_marks
from .params import LoadParams
from .reading import turn
from .turning import orientation_of

HALF = 0.5
"""Share of an image above which a mask is told: it may be inverted."""


class Masking:
    """The masks of a scene, one after the other; what is odd about them all is in `notes`, once they are read."""

    def __init__(self, scene: Scene, params: LoadParams) -> None:
        self.scene, self.params = scene, params
        self.index = {name: number for number, name in enumerate(scene.classes)}
        self.values = {value: self.index[name] for value, name in scene.values.items()}
        self.seen: dict[int, Path] = {}
        self.large: list[tuple[str, float]] = []
        self.disputed: list[str] = []
        self.named, self.unknown = False, False
        if len(scene.classes) > UNKNOWN:
            raise DataError(f"{params.path.path}: {len(scene.classes)} classes; a mask tells {UNKNOWN - 1} at most")

    def of(self, entry: Entry, size: tuple[int, int], turned: int) -> NDArray[np.uint8] | None:
        """The mask [H,W] of an image of this size (without its data bar); None where nothing was drawn for it."""
        if entry.shapes is not None:
            full = (size[0] + self.params.crop_bottom, size[1])
            mask, disputed = draw(str(entry.path), entry.shapes, full, self.index)
        elif entry.masks:
            mask, disputed = self._of_files(entry, turned)
        else:
            return None
        mask = mask[: size[0]]
        if disputed:
            self.disputed.append(entry.name)
        share = float(is_defect(mask).mean())
        if share > HALF:
            self.large.append((entry.name, share))
        if entry.domain is not None and entry.domain != int(share > 0):
            state = "clean, but its mask marks pixels" if share else "a defect image, but its mask is empty"
            raise DataError(
                f"{entry.masks[0][1] if entry.masks else entry.path}: '{entry.name}' is {state}; mend the mask or move the image"
            )
        return mask

    def _of_files(self, entry: Entry, turned: int) -> tuple[NDArray[np.uint8], int]:
        mask: NDArray[np.uint8] | None = None
        disputed = 0
        for label, path in entry.masks:
            own = orientation_of(path, turned, self.params)
            marks = read_marks(path)
            said = label if label is not None else entry.label
            found = self._classed(path, marks, said if said is not None and self.index.get(said) else None)
            found = turn(found, own)
            if mask is not None:
                disputed += int(((mask != 0) & (found != 0) & (mask != found)).sum())
                found = np.where(found != 0, found, mask)
            mask = found
        assert mask is not None  # an entry with files
        return mask, disputed

    def _classed(self, path: Path, marks: Marks, label: str | None) -> NDArray[np.uint8]:
        """Values as classes: by the class that the folder says, by the names of values, or the only class there is."""
        values = marks.values
        if self.values and label is None:
            return self._by_value(path, marks)
        held = np.unique(values[values != 0]).tolist()
        if len(held) > 1:
            raise DataError(
                f"{path}: holds {len(held)} values beside 0 ({', '.join(map(str, held[:4]))}); a mask has one, unless `classes` names "
                "them (and was it saved without lossy compression?)"
            )
        if held and not marks.binary:
            self.seen.setdefault(held[0], path)
            if len(self.seen) > 1 and label is None:
                (one, there), (other, here) = list(self.seen.items())[:2]
                raise DataError(f"{here}: marks by {other}, but '{there.name}' by {one}; are these classes? Then name them by `classes`")
        drawn = (values == 0) if self.params.invert_masks else (values != 0)
        mask: NDArray[np.uint8] = drawn.astype(np.uint8) * np.uint8(1 if label is None else self.index[label])
        return mask

    def _by_value(self, path: Path, marks: Marks) -> NDArray[np.uint8]:
        mask = np.zeros(marks.values.shape, np.uint8)
        held = np.unique(marks.values[marks.values != 0]).tolist()
        if marks.binary:
            if held and len(self.values) > 1:
                raise DataError(
                    f"{path}: can only say marked or not, but `classes` names {len(self.values)} values; save it as grey or palette"
                )
            self.named = True
            mask[marks.values != 0] = 1
            return mask
        for value in held:
            if value not in self.values and value != UNKNOWN:
                names = ", ".join(f"{v} {self.scene.classes[k]}" for v, k in sorted(self.values.items())[:6])
                raise DataError(f"{path}: holds the value {value}, which has no name; named are {names}")
            mask[marks.values == value] = self.values.get(value, UNKNOWN)
            self.named |= value in self.values
            self.unknown |= value not in self.values
        return mask

    def notes(self) -> list[str]:
        """What should be told of all masks. Raises DataError where 255 is all that they hold beside 0, yet it has no name."""
        notes = []
        if self.unknown and not self.named:
            raise DataError(
                f"{self.params.path.path}: the masks hold 0 and 255 alone, and 255 is 'cannot tell'; name it, e.g. classes: {{defect: 255}}"
            )
        if self.large:
            name, share = max(self.large, key=lambda one: one[1])
            many = f"{len(self.large)} masks cover" if len(self.large) > 1 else "a mask covers"
            notes.append(f"{many} more than half of the image ('{name}': {share:.0%}); if they mark what is clean, say invert_masks: true")
        if self.disputed:
            notes.append(f"shapes of two classes overlap in {len(self.disputed)} images ('{self.disputed[0]}'); the later one counts")
        return notes
