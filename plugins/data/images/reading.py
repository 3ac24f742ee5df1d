"""One file at a time: its header without its pixels, then its pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from fabloom.errors import DataError

from .depths import lossy

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
"""What Pillow knows by the first bytes; it never asks a suffix, and no format that runs a program is among them."""
BY_SUFFIX = {".tga": ("TGA",), ".pcx": ("PCX",), ".sgi": ("SGI",), ".dib": ("BMP", "DIB")}
"""Formats without first bytes of their own, and rare ones."""
TIFF = (".tif", ".tiff", ".btf", ".i01")
CHANNELS = (1, 3, 4)
ORIENTATION = 0x0112
"""The tag of EXIF and TIFF that says how the pixels are to be turned: 1 not at all, up to 8."""

EXIF = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""Where Pillow keeps what may hold the tag; without one of them it would decode a PNG to look for more."""


SMALL = 1 << 16
"""Pixels of a picture that is decoded as soon as it is open, where that is asked for: opening it again would cost more."""


@dataclass(frozen=True)
class Header:
    """What a file promises: its size as stored, and how its tag says to turn it (1: not at all); pixels that were read on the way."""

    height: int
    width: int
    orientation: int = 1
    pixels: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    def turned(self) -> tuple[int, int]:
        """(height, width) after turning."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def header(path: Path, max_pixels: int, *, channels: int | None = None, page: int | None = None, keep: bool = False) -> Header:
    """Size of an image, without decoding it. Raises DataError for what cannot or must not be decoded.

    `channels` are the ones of a file that holds other than 1, 3 or 4, `page` counts from 0 in a TIFF of several. With `keep`, a picture
    of up to `SMALL` pixels brings them along for `decode`.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            found = _npy_header(path, channels)
        elif suffix in TIFF:
            found = _tiff_header(path, channels, page)
        else:
            found = _picture_header(path, SMALL if keep else 0)
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


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture that Pillow knows, not yet decoded; `max_pixels` is the guard against bombs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=BY_SUFFIX.get(path.suffix.lower(), FORMATS)) as picture:
            yield picture


def _picture_header(path: Path, small: int) -> Header:
    with opened(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise DataError(f"{path}: holds {frames} frames; save each as a file of its own")
        if problem := lossy(path, picture):
            raise DataError(f"{path}: {problem}")
        found = Header(picture.height, picture.width, oriented(picture))
        if found.height * found.width <= small:
            with suppress(Exception):  # `decode` will say what is wrong with it, once all headers are known to be right
                return replace(found, pixels=_loaded(path, picture))
        return found


def _loaded(path: Path, picture: Image.Image) -> NDArray[Any]:
    """The pixels of an opened picture, which are to be turned as was known before they were read."""
    before = oriented(picture)
    picture.load()
    if oriented(picture) != before:
        raise DataError(f"{path}: says behind its pixels that they are to be turned; save it anew")
    return _picture(picture)


def oriented(picture: Image.Image) -> int:
    """The tag of a picture, 1 where it has none or a meaningless one."""
    if not EXIF & picture.info.keys():
        return 1
    found = picture.getexif().get(ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels [H,W,...] upright, by the tag's eight cases (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def _tiff_header(path: Path, channels: int | None, page: int | None) -> Header:
    with tifffile.TiffFile(path) as file:
        one = _page(path, file, page)
        axes, shape = one.axes, one.shape
        if axes not in ("YX", "YXS", "SYX"):
            raise DataError(f"{path}: has the axes {axes}; save it as one plane of pixels")
        size = dict(zip(axes, shape, strict=True))
        samples, extra = int(size.get("S", 1)), tuple(int(e) for e in one.extrasamples)
        if channels is not None and samples != channels:
            raise DataError(f"{path}: has {samples} channels where channels={channels} is asked for")
        if int(one.photometric) not in (0, 1, 2, 3, 6):
            raise DataError(f"{path}: is neither grey, RGB nor a palette; convert it to one of them")
        if channels is None and samples not in (1, 3) and (samples not in (2, 4) or extra not in ((1,), (2,))):
            raise DataError(f"{path}: has {samples} channels of which none is said to be alpha; say channels: {samples} to keep them all")
        tag = one.tags.get(ORIENTATION)
        found = tag.value if tag is not None else 1
        return Header(int(size["Y"]), int(size["X"]), found if isinstance(found, int) and 1 <= found <= 8 else 1)


def _page(path: Path, file: tifffile.TiffFile, page: int | None) -> Any:
    """The page that is meant. Raises DataError where none is told of several, or it is not there."""
    count = len(file.pages)
    if page is None:
        if count > 1:
            raise DataError(f"{path}: holds {count} pages; save each as a file of its own")
        return file.pages[0]
    if not 0 <= page < count:
        raise DataError(f"{path}: holds {count} pages, and none has the number {page + 1}")
    return file.pages[page]


def _npy_header(path: Path, channels: int | None) -> Header:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error):
            raise DataError(f"{path}: holds pickled Python objects, which are never loaded; save an array of numbers") from None
        raise
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive; save one array a file with numpy.save")
    wanted = CHANNELS if channels is None else (channels,)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in wanted) or (array.ndim == 2 and channels is not None):
        raise DataError(f"{path}: has shape {array.shape}; {_shape_told(array.shape, channels)}")
    return Header(array.shape[0], array.shape[1])


def _shape_told(shape: tuple[int, ...], channels: int | None) -> str:
    wanted = "an image is [H,W], [H,W,1], [H,W,3] or [H,W,4]" if channels is None else f"channels={channels} wants [H,W,{channels}]"
    if len(shape) == 3 and shape[0] in ((*CHANNELS,) if channels is None else (channels,)):
        return f"{wanted}. Channels first? Save array.transpose(1, 2, 0)"
    if len(shape) == 3 and channels is None and shape[2] < min(shape[:2]):
        return f"{wanted}; say channels: {shape[2]} if it has so many"
    return wanted


def decode(path: Path, *, channels: int | None = None, page: int | None = None, kept: NDArray[Any] | None = None) -> NDArray[Any]:
    """Pixels [H,W,C] as stored, C in 1, 3, 4 (the last with alpha) or `channels`, in the depth of the file; booleans become 0 and 255.

    `kept` are the pixels that the header brought along, if any.

    Raises DataError for truncated files, NaN and infinity, and types that are no grey levels.
    """
    try:
        pixels = _pixels(path, page) if kept is None else kept
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({error}); it may be truncated: replace or remove it") from None
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype.kind not in "uif":
        raise DataError(f"{path}: holds {pixels.dtype}, not grey levels; save real numbers")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds NaN or infinity; replace these pixels")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim == 3 and pixels.shape[2] == 2 and channels is None:  # grey with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] not in (CHANNELS if channels is None else (channels,)):
        raise DataError(f"{path}: holds pixels of shape {pixels.shape}; {_shape_told(pixels.shape, channels)}")
    return pixels


def _pixels(path: Path, page: int | None) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        loaded: NDArray[Any] = np.load(path, allow_pickle=False)
        return loaded
    if suffix in TIFF:
        return _tiff(path, page)
    with opened(path) as picture:
        return _loaded(path, picture)


def _tiff(path: Path, page: int | None) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        one = _page(path, file, page)
        axes, dtype, photometric = one.axes, one.dtype, int(one.photometric)
        if photometric in (3, 6):  # a palette or luma and chroma, which Pillow resolves
            return _by_pillow(path, page, one)
        try:
            plane: NDArray[Any] = one.asarray()
        except ValueError:  # a compression that needs a codec package; Pillow knows the common ones
            plane = _by_pillow(path, page, one)
            if plane.dtype != dtype:
                raise
            return plane
    if photometric == 0:  # white is zero
        if plane.dtype != bool and plane.dtype.kind != "u":
            raise DataError(f"{path}: has white at zero and holds {plane.dtype}; save it with black at zero")
        bits = 1 if plane.dtype == bool else int(one.bitspersample)
        plane = ~plane if plane.dtype == bool else ((1 << bits) - 1 - plane).astype(plane.dtype)
    return np.moveaxis(plane, 0, -1) if axes == "SYX" else plane


def _by_pillow(path: Path, page: int | None, one: Any) -> NDArray[Any]:
    if one.tags.get(ORIENTATION) is not None and one.tags[ORIENTATION].value != 1:
        raise DataError(f"{path}: is to be turned, and of a kind that only Pillow reads; save it upright")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=("TIFF",)) as picture:
            picture.seek(page or 0)
            return _picture(picture)


def _picture(picture: Image.Image) -> NDArray[Any]:
    """The pixels of an opened picture in a mode that holds all it says."""
    picture.load()
    if picture.mode in ("P", "LA", "PA", "La", "RGBa"):
        alpha = picture.mode != "P" or "transparency" in picture.info
        return np.asarray(picture.convert("RGBA" if alpha else "RGB"))
    if picture.mode in ("L", "RGB", "RGBA", "1", "F", "I") or picture.mode.startswith("I;16"):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGB"))
