"""What a mask file marks: the value of each pixel, 0 where nothing is marked, whatever mode the file was saved in.

Palettes are read by index and layers by alpha, where that leaves no doubt; else a mask is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fabloom.errors import DataError

from .depths import scale
from .reading import TIFF, decode, opened

GREY = "save it as grey: 0 outside, one value inside"


@dataclass(frozen=True)
class Marks:
    """Values [H,W] int32, 0 for nothing; `binary` where the file can only say marked or not (1 bit, alpha, boolean)."""

    values: NDArray[np.int32]
    binary: bool = False


def read_marks(path: Path) -> Marks:
    """The marks of a mask file as stored. Raises DataError for what is in doubt."""
    try:
        if path.suffix.lower() == ".npy" or path.suffix.lower() in TIFF:
            return _of_array(path)
        with opened(path) as picture:
            return _of_picture(path, picture)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({error}); it may be truncated: replace or remove it") from None


def _of_array(path: Path) -> Marks:
    if path.suffix.lower() in TIFF:
        with tifffile.TiffFile(path) as file:
            photometric, dtype = int(file.pages[0].photometric), file.pages[0].dtype
        if photometric == 0:
            raise DataError(f"{path}: has white at zero, so that it is unknown which pixels are marked; {GREY}")
        if photometric == 3:
            with Image.open(path, formats=("TIFF",)) as picture:
                picture.load()
                return _of_palette(path, picture)
    else:
        dtype = np.load(path, mmap_mode="r", allow_pickle=False).dtype
    if dtype.kind == "b":
        return Marks((decode(path) != 0).any(2).astype(np.int32), binary=True)
    return _of_pixels(path, decode(path))


def _of_palette(path: Path, picture: Image.Image) -> Marks:
    palette = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return Marks(_indexed(path, np.asarray(picture), palette, picture.info.get("transparency")))


def _of_picture(path: Path, picture: Image.Image) -> Marks:
    factor = scale(picture)
    picture.load()
    if picture.mode == "1":
        return Marks(np.asarray(picture).astype(np.int32), binary=True)
    if picture.mode == "P":
        return _of_palette(path, picture)
    if picture.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        return _of_pixels(path, np.asarray(picture.convert("RGBA")))
    if "transparency" in picture.info and np.any(picture.info["transparency"]):
        raise DataError(f"{path}: declares a colour other than black transparent, so that it is unknown what is marked; {GREY}")
    if factor == 0:
        raise DataError(f"{path}: has a largest value that 255 is no multiple of, so that values cannot be told; {GREY}")
    pixels = np.asarray(picture if picture.mode in ("L", "RGB", "F", "I") or picture.mode.startswith("I;16") else picture.convert("RGB"))
    return _of_pixels(path, pixels[..., None] if pixels.ndim == 2 else pixels, factor)


def _indexed(path: Path, index: NDArray[Any], palette: NDArray[Any], transparent: Any) -> NDArray[np.int32]:
    """A palette by its index, 0 outside. What else may be meant is black or transparent: where that is another used index, and 0 does not
    cover most of the mask, nobody can tell.
    """
    used = np.unique(index)
    alpha = np.full(256, 255)
    if isinstance(transparent, int):
        alpha[transparent] = 0
    elif isinstance(transparent, bytes):
        alpha[: len(transparent)] = list(transparent)
    clear = [int(i) for i in used if alpha[i] == 0]
    if clear and clear != [0]:
        raise DataError(f"{path}: has a palette whose colour {clear[-1]} is transparent and marks pixels by index; {GREY}")
    black = [int(i) for i in used if i and i < len(palette) and not palette[i].any()]
    white_zero = bool(len(palette)) and bool(palette[0].any())
    if black and white_zero and alpha[0] and (index == 0).mean() <= 0.5:
        raise DataError(f"{path}: has a palette whose index 0 is not black but {black[0]} is, so that it is unknown what is marked; {GREY}")
    return index.astype(np.int32)


def _of_pixels(path: Path, pixels: NDArray[Any], factor: int = 1) -> Marks:
    """Marks of pixels [H,W,C]: values, colours as 0xRRGGBB, or alpha where that is what tells."""
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
        if (alpha != full).any():
            return _by_alpha(path, pixels[..., :3], alpha)
        pixels = pixels[..., :3]
    if pixels.dtype.kind == "f" and not (pixels == np.rint(pixels)).all():
        raise DataError(f"{path}: holds {_count(pixels)} values beside 0, not all of them whole numbers; {GREY}")
    if pixels.size and (pixels.min() < 0 or pixels.max() >= 2**24):
        raise DataError(f"{path}: holds values from {pixels.min():g} to {pixels.max():g}; a mask is 0 outside and a class inside")
    whole = pixels.astype(np.int32)
    if pixels.shape[2] == 1:
        return Marks(whole[..., 0] // factor)
    if (whole == whole[..., :1]).all():
        return Marks(whole[..., 0])
    if whole.max() > 255:
        raise DataError(f"{path}: is in colour of more than 8 bits; {GREY}")
    return Marks(whole[..., 0] << 16 | whole[..., 1] << 8 | whole[..., 2])


def _count(pixels: NDArray[Any]) -> int:
    return len(np.unique(pixels[pixels != 0]))


def _by_alpha(path: Path, colour: NDArray[Any], alpha: NDArray[Any]) -> Marks:
    """A layer: opaque where marked. In doubt where it is half transparent, or where what is visible is partly black."""
    levels = np.unique(alpha)
    visible = alpha > 0
    if (
        len(levels) > 2
        or (len(levels) == 2 and levels[0] != 0)
        or (len(levels) == 1 and levels[0] == 0 and len(np.unique(colour.reshape(-1, 3), axis=0)) > 1)
    ):
        raise DataError(f"{path}: is transparent in {len(levels)} degrees, so that it is unknown what is marked; {GREY}")
    if visible.any() and len(np.unique(colour[visible], axis=0)) > 1:
        if len(levels) == 1:
            return _of_pixels(path, colour)
        raise DataError(f"{path}: is transparent outside and has several colours inside; {GREY}")
    if len(levels) == 1 and levels[0] != 0:  # equally transparent everywhere: alpha says nothing
        return _of_pixels(path, colour)
    return Marks(visible.astype(np.int32), binary=True)
