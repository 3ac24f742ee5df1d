"""One file at a time: its header without its pixels, then its pixels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fabloom.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP")
TIFF = (".tif", ".tiff")
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Header:
    """What a file promises."""

    height: int
    width: int


def header(path: Path, max_pixels: int) -> Header:
    """Size of an image, without decoding it. Raises DataError for what cannot or must not be decoded."""
    try:
        if path.suffix.lower() == ".npy":
            found = _npy_header(path)
        elif path.suffix.lower() in TIFF:
            found = _tiff_header(path)
        else:
            found = _picture_header(path)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; cut it into parts") from None
    except Exception as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); replace or remove it") from None
    if found.height * found.width > max_pixels:
        size = f"{found.height} x {found.width}"
        raise DataError(f"{path}: {size} is more than max_pixels={max_pixels}; cut it into parts or raise max_pixels")
    if 0 in (found.height, found.width):
        raise DataError(f"{path}: the image is empty; remove it")
    return found


def _picture_header(path: Path) -> Header:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is the guard
        with Image.open(path, formats=FORMATS) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise DataError(f"{path}: holds {frames} frames; save each as a file of its own")
            if picture.mode in ("RGB", "RGBA") and any("16" in str(part[-1]) for part in picture.tile):
                raise DataError(f"{path}: colour with 16 bits a channel would lose half of them; save it as TIFF or NPY")
            return Header(picture.height, picture.width)


def _tiff_header(path: Path) -> Header:
    with tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            raise DataError(f"{path}: holds {len(file.pages)} pages; save each as a file of its own")
        series = file.series[0]
        if series.axes not in ("YX", "YXS", "SYX"):
            raise DataError(f"{path}: has the axes {series.axes}; save it as one plane of pixels")
        if int(file.pages[0].photometric) not in (1, 2):
            raise DataError(f"{path}: is neither plain grey (black is zero) nor RGB; convert it to one of them")
        size = dict(zip(series.axes, series.shape, strict=True))
        return Header(int(size["Y"]), int(size["X"]))


def _npy_header(path: Path) -> Header:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error):
            raise DataError(f"{path}: holds pickled Python objects, which are never loaded; save an array of numbers") from None
        raise
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive; save one array a file with numpy.save")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        raise DataError(f"{path}: has shape {array.shape}; an image is [H,W], [H,W,1], [H,W,3] or [H,W,4]")
    return Header(array.shape[0], array.shape[1])


def decode(path: Path) -> NDArray[Any]:
    """Pixels [H,W,C], C in 1, 3, 4 (the last with alpha), in the depth of the file; booleans become 0 and 255.

    Raises DataError for truncated files, NaN and infinity, and types that are no grey levels.
    """
    try:
        pixels = _pixels(path)
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({error}); it may be truncated: replace or remove it") from None
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype.kind not in "uif":
        raise DataError(f"{path}: holds {pixels.dtype}, not grey levels; save real numbers")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds NaN or infinity; replace these pixels")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] not in CHANNELS:
        raise DataError(f"{path}: holds pixels of shape {pixels.shape}; an image is [H,W] with 1, 3 or 4 channels")
    return pixels


def _pixels(path: Path) -> NDArray[Any]:
    if path.suffix.lower() == ".npy":
        loaded: NDArray[Any] = np.load(path, allow_pickle=False)
        return loaded
    if path.suffix.lower() in TIFF:
        with tifffile.TiffFile(path) as file:
            axes, dtype = file.series[0].axes, file.series[0].dtype
            try:
                plane: NDArray[Any] = file.asarray()
            except ValueError:  # a compression that needs a codec package; Pillow knows the common ones
                plane = _picture(path, ("TIFF",))
                if plane.dtype != dtype:
                    raise
                return plane
        return np.moveaxis(plane, 0, -1) if axes == "SYX" else plane
    return _picture(path, FORMATS)


def _picture(path: Path, formats: tuple[str, ...]) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=formats) as picture:
            picture.load()
            if picture.mode in ("P", "LA", "PA", "La", "RGBa"):
                alpha = picture.mode != "P" or "transparency" in picture.info
                return np.asarray(picture.convert("RGBA" if alpha else "RGB"))
            if picture.mode in ("L", "RGB", "RGBA", "1", "F", "I") or picture.mode.startswith("I;16"):
                return np.asarray(picture)
            return np.asarray(picture.convert("RGB"))
