"""Wafers as files: overlay_prev.png, logs.json, id.txt and the current map, in a folder each or flat with a suffix each."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.regular import read_regular

from .marks import LARGEST, NUMBERS
from .reading import listed, shown
from .roster import WAFERS, Roster, check_left_out, roster

PREVIOUS = re.compile(r"overlay_prev(_[A-Za-z0-9-]{1,64})?\.png")
SCALE = "scale.json"
WANTED = '{"nm_at_0": -12, "nm_at_255": 12}'
SIDE = (16, 512)
"""Pixels across a wafer."""
DOCUMENT = 1 << 20
"""Bytes of a document at most."""
PICTURE = 1 << 24
"""Bytes of a picture or an array at most."""


@dataclass(frozen=True)
class Files:
    """Files of one wafer: its name, its folder, and what stands behind the names of the files."""

    name: str
    folder: Path
    suffix: str
    inside: frozenset[str]

    def path(self, stem: str, ending: str) -> Path | None:
        """A file of the wafer, None where it has none."""
        name = f"{stem}{self.suffix}.{ending}"
        return self.folder / name if name in self.inside else None

    def needed(self, stem: str, ending: str, why: str) -> Path:
        """A file of the wafer. Raises DataError where it is missing."""
        found = self.path(stem, ending)
        if found is None:
            raise DataError(f"{self.folder}: '{stem}{self.suffix}.{ending}' of wafer '{shown(self.name)}' is missing; {why}")
        return found


def wafers_in(root: Path) -> list[Files]:
    """The wafers of a folder, by names; [] where it holds no overlay_prev.png, right in it or one deeper. Raises DataError for both."""
    names = listed(root)
    flat = frozenset(names)
    found = [Files(match[1] or "overlay_prev", root, match[1] or "", flat) for name in names if (match := PREVIOUS.fullmatch(name))]
    for name in names:
        if (root / name).is_dir():
            inside = frozenset(listed(root / name))
            if "overlay_prev.png" in inside:
                found.append(Files(name, root / name, "", inside))
    if len({one.folder == root for one in found}) > 1:
        raise DataError(f"{root}: has overlay_prev.png right in it and in folders; keep one layout, a folder a wafer or a suffix a wafer")
    if len(found) > WAFERS:
        raise DataError(f"{root}: holds more than {WAFERS:,} wafers; split it")
    return [Files(one.name.removeprefix("_"), one.folder, one.suffix, one.inside) for one in found]


def roster_of(root: Path, wafers: list[Files], leave_out: tuple[str, ...], lot_field: int) -> Roster:
    """Barcodes and logs of all wafers. Raises DataError as `roster`, and for files that are missing or of another form."""
    codes, told = [], []
    for one in wafers:
        codes.append(text(one.needed("id", "txt", "write the barcode of the wafer into it")))
        told.append(logs_of(one.needed("logs", "json", 'write {"names": ["dose [mJ/cm2]"], "features": [28.1]} into it')))
    logged = list(dict.fromkeys(name for logs in told for name in logs))
    check_left_out(str(root), leave_out, logged)
    names = [name for name in logged if name not in leave_out]
    columns = {name: np.array([logs.get(name, np.nan) for logs in told]) for name in names}
    return roster(str(root), [one.name for one in wafers], codes, [""] * len(wafers), columns, lot_field)


def side_of(one: Files) -> int:
    """Pixels across the maps, by the header of a wafer's first file."""
    with _opened(one.needed("overlay_prev", "png", "")) as picture:
        return int(picture.size[0])


def maps_of(root: Path, one: Files, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """(current [2,H,W], previous [2,H,W] in nm, where both were measured [H,W]) of a wafer.

    Raises DataError where the current map is missing, a picture has no scale, and for maps of another form than the first.
    """
    before, seen = from_picture(one.needed("overlay_prev", "png", ""), side, _scale(root, one))
    array, picture = one.path("overlay", "npy"), one.path("overlay", "png")
    if array is not None:
        current, also = from_array(array, side)
    elif picture is not None:
        current, also = from_picture(picture, side, _scale(root, one))
    else:
        raise DataError(
            f"{one.folder}: wafer '{shown(one.name)}' has a map of the layer below and none of the current one, for which "
            f"the former is no stand-in. Add overlay{one.suffix}.npy, float32 [2,{side},{side}] in nm, or overlay{one.suffix}.png"
        )
    return current, before, seen & also


def from_picture(path: Path, side: int, scale: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(dx and dy in nm [2,H,W], where they were measured) of red and green, and of blue, which is 128 or more where there is a map."""
    with _opened(path) as picture:
        if picture.size != (side, side) or picture.mode != "RGB":
            raise DataError(
                f"{path}: is {picture.size[0]} x {picture.size[1]} {picture.mode}, where {side} x {side} RGB like the first is wanted"
            )
        try:
            pixels = np.asarray(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: is damaged ({str(error)[:80]}); write it again") from None
    low, high = scale
    values = low + (high - low) / 255 * pixels[..., :2].transpose(2, 0, 1)
    return values.astype(np.float32), pixels[..., 2] >= 128


def from_array(path: Path, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(dx and dy in nm [2,H,W], where both are numbers) of a numpy file, whose header is held against its size before an array is made."""
    content = read_regular(path, PICTURE + 1)
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except Exception as error:  # a header is Python's own text, and its parsers raise whatever they meet
        raise DataError(f"{path}: is no file of numpy that can be read ({str(error)[:80]}); save it with numpy.save") from None
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled Python objects, which are never loaded; save float32 [2,{side},{side}]")
    if dtype.kind != "f" or shape != (2, side, side) or fortran or len(content) - stream.tell() != dtype.itemsize * 2 * side * side:
        raise DataError(f"{path}: is {dtype} {list(shape)}, where float32 [2,{side},{side}] in nm, C order, is wanted")
    values = np.frombuffer(content[stream.tell() :], dtype).reshape(shape).astype(np.float64)
    seen = np.asarray(np.isfinite(values).all(0))
    values = np.where(seen, values, 0)
    most = float(np.abs(values).max())
    if most > LARGEST:
        raise DataError(f"{path}: holds {most:g}, more than {LARGEST:g} nm; {NUMBERS}")
    return values.astype(np.float32), seen


def text(path: Path) -> str:
    """The one line of a small file."""
    return _document(path).strip()


def logs_of(path: Path) -> dict[str, float]:
    """Logs by name, NaN for null. Raises DataError for anything but a mapping to numbers, or names and features of one length."""
    try:
        told = json.loads(_document(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON that can be read ({str(error)[:80]}); mend it") from None
    if isinstance(told, dict) and set(told) == {"features", "names"}:
        names, features = told["names"], told["features"]
        fits = isinstance(names, list) and isinstance(features, list) and len(names) == len(features)
        if not fits or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise DataError(f"{path}: names and features must be lists of one length, names text and each there once")
        told = dict(zip(names, features, strict=True))
    if not isinstance(told, dict) or not told:
        raise DataError(f'{path}: holds no logs; write {{"names": [...], "features": [...]}} or {{"name": number, ...}}')
    wrong = next((name for name, value in told.items() if not _is_log(value)), None)
    if wrong is not None:
        raise DataError(f"{path}: log '{shown(wrong)}' is {str(told[wrong])[:40]!r}; a log is a number, or null where nothing was logged")
    return {name: np.nan if value is None else float(value) for name, value in told.items()}


def _is_log(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300)


def _scale(root: Path, one: Files) -> tuple[float, float]:
    """nm of the levels 0 and 255: by the wafer's own scale.json, else by the one of all."""
    path = next((path for path in (one.folder / SCALE, root / SCALE) if path.is_file()), None)
    if path is None:
        raise DataError(f"{root}: no {SCALE} says how many nm the levels of its pictures are; write {WANTED} into {root / SCALE}")
    try:
        told = json.loads(_document(path))
    except (ValueError, RecursionError):
        told = None
    ends = [told.get(name) for name in ("nm_at_0", "nm_at_255")] if isinstance(told, Mapping) else [None]
    numbers = [float(end) for end in ends if _is_log(end) and end is not None]
    if len(numbers) < 2 or not all(abs(end) <= LARGEST for end in numbers) or numbers[0] >= numbers[1]:
        raise DataError(f"{path}: says no scale; write {WANTED}, the nm of the levels 0 and 255, rising and {LARGEST:g} at most")
    return numbers[0], numbers[1]


def _document(path: Path) -> str:
    content = read_regular(path, DOCUMENT + 1)
    if len(content) > DOCUMENT:
        raise DataError(f"{path}: is larger than {DOCUMENT >> 20} MiB, which no such file is; mend it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8 ({error}); save it again as such") from None


def _opened(path: Path) -> Any:
    """A PNG of which only the header was read, square and of a size that a map has."""
    from PIL import Image

    content = read_regular(path, PICTURE + 1)
    if len(content) > PICTURE:
        raise DataError(f"{path}: is larger than {PICTURE >> 20} MiB, which no map is")
    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG",))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is no PNG that can be read ({str(error)[:80]}); write it again") from None
    if picture.size[0] != picture.size[1] or not SIDE[0] <= picture.size[0] <= SIDE[1]:
        raise DataError(f"{path}: is {picture.size[0]} x {picture.size[1]}; a map is square, of {SIDE[0]} to {SIDE[1]} pixels a side")
    return picture
