"""How the images that a model learned from were read, so that new ones are read alike: the same rows cut off, one range of grey levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.progress import Emit

LOAD = "images.load"
BAR = ("crop_bottom", "info_bar")
ALIKE = (*BAR, "orientation", "channels", "stretch")
"""Parameters of images.load that say what of a file is the picture; the range of grey levels is as it was found."""
PLAIN = {"crop_bottom": 0, "info_bar": False, "orientation": "auto", "channels": None, "stretch": False}
FULL = (0.0, 255.0)


def as_trained(store: Store, key: str, given: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Parameters of images.load for new images of the model `key`: those of its training images, but for what is `given`; a line says so.

    A data bar that was cut off below those would else be taken for a part of the sample, and images of 16 bits would get grey levels of
    their own. Raises UserError where the training images were read in several ways and `given` does not decide.
    """
    manifests = store.lineage(key)
    loads = loaded(store, manifests)
    decided = set(given) | (set(BAR) if set(BAR) & set(given) else set())
    read: dict[str, Any] = {}
    for name in ALIKE:
        values = [params.get(name, PLAIN[name]) for params, _ in loads]
        if name in decided or not values:
            continue
        if any(value != values[0] for value in values):
            ways = " and ".join(sorted({f"{name}={word(value)}" for value in values}))
            raise UserError(
                f"the images that model {key[:12]} learned from were read with {ways}: say with --load {name}=VALUE how new ones are"
            )
        if values[0] != PLAIN[name]:
            read[name] = values[0]
    ranges = ranges_of(loads)
    if len(ranges) == 1 and ranges != {FULL} and "grey_range" not in decided:
        read["grey_range"] = list(ranges.pop())
    if read:
        told = ", ".join(f"{name}={word(value)}" for name, value in read.items())
        emit(
            {
                "event": "log",
                "message": f"images are read as those that the model learned from: {told} (--load NAME=VALUE reads them otherwise)",
            }
        )
    elif not loads and missing(manifests):
        lost = "how the images were read that the model learned from is not known here: if a data bar was cut off, say --load info_bar=true"
        emit({"event": "log", "message": lost})
    return read


def reading(store: Store, key: str) -> dict[str, Any]:
    """What one who reads files without fabloom must do as it was done for the training of the model `key`: rows to cut off below every
    image (`crop_bottom`), and the values that became 0 and 255 (`grey_range`); None where the training images knew several.
    """
    loads = loaded(store, store.lineage(key))
    rows = {int(attrs.get("info_bar_rows", params.get("crop_bottom", 0))) for params, attrs in loads} or {0}
    ranges = ranges_of(loads) or {FULL}
    return {"crop_bottom": rows.pop() if len(rows) == 1 else None, "grey_range": list(ranges.pop()) if len(ranges) == 1 else None}


def loaded(store: Store, manifests: Mapping[str, Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(parameters, attributes) of what images.load made of these."""
    found = ((key, one["preimage"]) for key, one in manifests.items())
    return [(asked["params"], store.get(key).attrs) for key, asked in found if asked["task"] == LOAD]


def ranges_of(loads: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> set[tuple[float, float]]:
    """The values that became 0 and 255 in each."""
    return {(float(attrs.get("grey_low", FULL[0])), float(attrs.get("grey_high", FULL[1]))) for _, attrs in loads}


def missing(manifests: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether something that one of these was made from is gone."""
    inputs = [keys for found in manifests.values() for keys in found["preimage"]["inputs"].values()]
    return any(key not in manifests for keys in inputs for key in ([keys] if isinstance(keys, str) else keys))


def word(value: Any) -> str:
    """A value as one writes it behind --load NAME=."""
    return str(value).lower() if isinstance(value, bool) else str(value)
