"""A look at the training set before anything is trained on it: what is in it, and what speaks against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.kinds import ImageSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fabloom.kinds.store import RefEntry, Store

    from .decision import Record
    from .spec import Change, Check

BYTES = 1 << 25
"""Of pixels that are looked at at once."""

Facts = Mapping[str, Any]


def accepted(nights: Iterable[tuple[RefEntry, Record]]) -> dict[str, Any]:
    """What the last set was like that the check let pass, of nights newest first; {} where none has been looked at."""
    return next((dict(record.data) for _, record in nights if record.data.get("accepted")), {})


def look(store: Store, key: str, *, test: str, last: str) -> dict[str, Any]:
    """What is in a training set: `count` images of `height`, `width` and `channels`, `grey` and `contrast` (mean and standard deviation
    of the levels), and shares of it: `defects` (None where the set does not say), `duplicates` (repeat another image of the set),
    `known` (are in the last accepted set too; None where that is gone). `leaked` counts images that the held-out set `test` has too.
    """
    import numpy as np

    images = _images(store, key)
    levels, prints = np.zeros(256, np.int64), list[bytes]()
    for block in _blocks(images):
        levels += np.bincount(block.reshape(-1), minlength=256)
        prints += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block]
    mean = float(levels @ np.arange(256) / levels.sum())
    spread = float(np.sqrt(levels @ (np.arange(256) - mean) ** 2 / levels.sum()))
    _, channels, height, width = images.images.shape
    count = len(prints)
    return {
        "key": key, "test": test, "against": last, "count": count, "height": height, "width": width, "channels": channels,
        "grey": mean, "contrast": spread,
        "defects": None if images.domain is None else float((np.asarray(images.domain[...]) == 1).mean()),
        "duplicates": (count - len({*prints})) / count,
        "known": None if not last or not store.has(last) else _shared(prints, _images(store, last)) / count,
        "leaked": _shared(prints, _images(store, test)),
    }  # fmt: skip


def objections(check: Check, data: Facts, last: Facts) -> list[str]:
    """What speaks against a set, in words; the first set of a line is held against what needs no other alone."""
    count, shape = data["count"], ("height", "width", "channels")
    found = [
        *_bounds("image count", check.count, count, last.get("count"), of=last.get("count", 1)),
        *_bounds("mean grey level", check.grey, data["grey"], last.get("grey")),
        *_bounds("contrast", check.contrast, data["contrast"], last.get("contrast")),
        *_bounds("share of images with a defect", check.defects, data["defects"], last.get("defects")),
    ]
    if check.size == "same" and last and [data[n] for n in shape] != [last[n] for n in shape]:
        found.append(f"images are {_size(data)}, those of the last accepted set {_size(last)}")
    if check.duplicates is not None and data["duplicates"] > check.duplicates:
        found.append(f"{data['duplicates']:.1%} of the images repeat another one, and at most {check.duplicates:.1%} may")
    if check.known is not None and data["known"] is not None and data["known"] > check.known:
        found.append(f"{data['known']:.1%} of the images are in the last accepted set too, and at most {check.known:.1%} may be")
    if data["leaked"]:
        found.append(f"{data['leaked']} of the {count} images are in the held-out set too: the score would be memory, not skill")
    return found


def _bounds(what: str, asked: Change, value: float | None, before: float | None, of: float = 1) -> list[str]:
    """What a number breaks of its bounds; `of` is what the change counts as a share of."""
    if asked == type(asked)():
        return []
    if value is None:
        return [f"nothing says the {what}"]
    found = []
    if asked.at_least is not None and value < asked.at_least:
        found.append(f"{what} is {value:.4g}, and at least {asked.at_least:g} is wanted")
    if asked.at_most is not None and value > asked.at_most:
        found.append(f"{what} is {value:.4g}, and at most {asked.at_most:g} is wanted")
    if asked.change is not None and before is not None and abs(value - before) > asked.change * of:
        found.append(f"{what} is {value:.4g}, that of the last accepted set {before:.4g}, and {asked.change * of:.4g} apart is allowed")
    return found


def _size(data: Facts) -> str:
    return f"{data['height']} × {data['width']} with {data['channels']} channel{'s' * (data['channels'] != 1)}"


def _images(store: Store, key: str) -> Any:
    return store.get(key)


def _blocks(images: ImageSet) -> Iterator[NDArray[np.uint8]]:
    """All images [B,C,H,W], some at a time."""
    pixels = images.images
    rows = max(1, BYTES // max(1, pixels.shape[1] * pixels.shape[2] * pixels.shape[3]))
    for start in range(0, len(pixels), rows):
        yield pixels[start : start + rows]


def _shared(prints: Sequence[bytes], other: ImageSet) -> int:
    """How many of the images another set has too."""
    known = {hashlib.blake2b(image.tobytes(), digest_size=16).digest() for block in _blocks(other) for image in block}
    return sum(one in known for one in prints)
