"""What a file of wafer maps holds, for `fabloom init`: its maps, their sizes and labels. No die is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fabloom.errors import UserError
from fabloom.method.survey import Survey

from .archive import Archive
from .collection import UNLABELLED
from .encoding import CHANNELS
from .loading import chosen, opened
from .mixed import Mixed
from .params import LoadParams
from .types import NONE, TYPES

SUFFIX = ".npz"
PICKLES = (".pkl", ".pickle")
LARGEST = 512
"""Dies a side that maps may have while nobody has said a size."""


def survey(path: Path, options: Mapping[str, Any]) -> Survey | None:
    """Look at a file as wafer-map.load would read it with `options`; None for anything but npz files and pickles.

    Raises UserError for a pickle, for several files, and for options and files that `load` refuses.
    """
    file = one_file(path)
    if file is None:
        return None
    params = settled(file, options)
    with Archive.opened(file, params.max_mib << 20) as archive:
        maps = opened(archive)
        rows, large = chosen(maps, params, 0, str(file))
        many = Counter(maps.labels[rows].tolist())
        counts = {name: many[number] for number, name in enumerate(TYPES) if many[number]}
        sides = Counter((height, width) for height, width in maps.shapes[rows].tolist())
        sources = len(set(maps.sources(rows, params.source)))
        silent = int((maps.labels == UNLABELLED).sum())
    notes = [f"{silent:,} of {len(maps.labels):,} maps of the file have no label and are left out"] if silent and params.labelled else []
    notes += [f"{large:,} maps are left out as larger than size={params.size}"] if large else []
    clean = counts.get(NONE, 0)
    return Survey(
        task="wafer-map.load",
        params={**options, "path": str(file.absolute())},
        layout="MixedWM38, arr_0 of dies and arr_1 of patterns" if isinstance(maps, Mixed) else "WM-811K as converted, maps with labels",
        images=len(rows),
        sizes=dict(sides.most_common()),
        channels=len(CHANNELS),
        bits=8,
        clean=clean,
        defect=sum(counts.values()) - clean,
        classes=tuple(counts),
        given=1,
        counts=tuple(counts.values()),
        sources=sources,
        notes=tuple(notes),
    )


def one_file(path: Path) -> Path | None:
    """The npz file that is meant; None where no such file is. Raises UserError for several, and for a pickle."""
    if path.is_file():
        if path.suffix.lower() in PICKLES:
            raise UserError(
                f"'{path}' is a pickle, and loading one runs whatever is in it: convert WM-811K once, python examples/wm811k_to_npz.py "
                f"{path.name} wm811k.npz, and give that file"
            )
        return path if path.suffix.lower() == SUFFIX else None
    found = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    if not found or any(one.suffix.lower() != SUFFIX or not one.is_file() for one in found):
        return None
    if len(found) > 1:
        raise UserError(f"'{path}' holds {len(found)} npz files, {found[0].name} and others: give the one whose wafer maps are meant")
    return found[0]


def settled(file: Path, options: Mapping[str, Any]) -> LoadParams:
    """The parameters of `load` that the options say. Raises UserError for one that it has not."""
    # which size is to be chosen by what is found: none is refused as too large before
    try:
        return LoadParams.model_validate({"size": LARGEST, **options, "path": str(file)})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "NAME=VALUE"
        option = f"--{name}" if name in ("layout", "masks", "clean", "defect") else f"--load {name}"
        what = "is no option for a file of wafer maps; its labels say which have a pattern" if option == f"--{name}" else first["msg"]
        raise UserError(f"{option}: {what}") from error
