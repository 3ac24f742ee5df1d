"""A drawn mask in every mode that editors save, each with what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageFilter

from .formats import by_hand, raw_png

Save = Callable[[Path, np.ndarray], object]


def grey(value: int, dtype: type = np.uint8, **options: object) -> Save:
    return lambda path, mask: Image.fromarray((mask * value).astype(dtype)).save(path, **options)


def indexed(colours: list[int], clear: int | None = None, swap: bool = False, **options: object) -> Save:
    """By index; `swap`: the marked pixels are index 0."""

    def save(path: Path, mask: np.ndarray) -> None:
        picture = Image.fromarray((mask ^ swap).astype(np.uint8), "P")
        picture.putpalette(colours)
        picture.save(path, **(options if clear is None else {**options, "transparency": clear}))

    return save


def layer(colour: tuple[int, int, int], outside: tuple[int, int, int] = (0, 0, 0), level: int = 255) -> Save:
    """Opaque where marked, transparent elsewhere."""

    def save(path: Path, mask: np.ndarray) -> None:
        plane = np.where(mask[..., None], colour, outside).astype(np.uint8)
        Image.fromarray(np.concatenate([plane, (mask[..., None] * level).astype(np.uint8)], -1)).save(path)

    return save


def painted(colour: tuple[int, int, int], **options: object) -> Save:
    return lambda path, mask: Image.fromarray((mask[..., None] * np.array(colour)).astype(np.uint8)).save(path, **options)


def soft(path: Path, mask: np.ndarray) -> None:
    Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1)).save(path)


def grey_alpha(path: Path, mask: np.ndarray) -> None:
    Image.merge("LA", (Image.new("L", mask.shape[::-1]), Image.fromarray((mask * 255).astype(np.uint8)))).save(path)


def half_layer(path: Path, mask: np.ndarray) -> None:
    """Marked pixels opaque, their neighbours half transparent: an editor's soft brush."""
    alpha = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1)))
    Image.fromarray(np.dstack([np.full((*mask.shape, 3), 200, np.uint8), alpha])).save(path)


BLACK_WHITE, WHITE_BLACK = [0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]
RIGHT = {
    "L-255": ("png", grey(255)), "L-1": ("png", grey(1)), "L-7": ("png", grey(7)), "L-128": ("png", grey(128)),
    "1-bit": ("png", lambda p, m: Image.fromarray(m).save(p)),
    "2-bit": ("png", lambda p, m: raw_png(p, m * 1, 2)), "4-bit": ("png", lambda p, m: raw_png(p, m * 9, 4)),
    "16-bit": ("png", grey(65535, np.uint16)), "16-bit-1": ("png", grey(1, np.uint16)), "16-bit-256": ("png", grey(256, np.uint16)),
    "palette": ("png", indexed(BLACK_WHITE)), "palette-red": ("png", indexed([0, 0, 0, 128, 0, 0])),
    "palette-white-0": ("png", indexed(WHITE_BLACK)), "palette-green-0": ("png", indexed([0, 90, 0, 200, 0, 0])),
    "palette-clear-0": ("png", indexed(WHITE_BLACK, clear=0)),
    "rgb-white": ("png", painted((255, 255, 255))), "rgb-red": ("png", painted((255, 0, 0))), "rgb-blue": ("png", painted((0, 0, 3))),
    "rgba-black": ("png", layer((0, 0, 0))), "rgba-white": ("png", layer((255, 255, 255), (255, 255, 255))),
    "rgba-red": ("png", layer((255, 0, 0))), "rgba-faint": ("png", layer((255, 0, 0), level=90)), "la-black": ("png", grey_alpha),
    "rgba-opaque": ("png", lambda p, m: Image.fromarray((m * 255).astype(np.uint8)).convert("RGBA").save(p)),
    "bmp-1": ("bmp", lambda p, m: Image.fromarray(m).save(p)), "bmp-L": ("bmp", grey(255)), "bmp-L-1": ("bmp", grey(1)),
    "bmp-rgb": ("bmp", painted((255, 255, 0))), "bmp-palette-white-0": ("bmp", indexed(WHITE_BLACK)),
    "tif-8": ("tif", lambda p, m: tifffile.imwrite(p, m.astype(np.uint8) * 255)),
    "tif-16": ("tif", lambda p, m: tifffile.imwrite(p, m.astype(np.uint16) * 1000)),
    "tif-float": ("tif", lambda p, m: tifffile.imwrite(p, m.astype(np.float32))),
    "tif-1": ("tif", lambda p, m: Image.fromarray(m).save(p)), "tif-lzw": ("tif", grey(255, compression="tiff_lzw")),
    "tif-palette": ("tif", indexed([0, 0, 0, 250, 0, 0])), "tif-palette-lzw": ("tif", indexed(WHITE_BLACK, compression="tiff_lzw")),
    "tif-1-fax": ("tif", lambda p, m: Image.fromarray(m).save(p, compression="group4")),
    "tif-palette-white-0": ("tif", indexed(WHITE_BLACK)),
    "tif-rgb": ("tif", painted((0, 255, 0))), "tif-rgba": ("tif", layer((0, 0, 0))),
    "npy-bool": ("npy", np.save), "npy-8": ("npy", lambda p, m: np.save(p, m.astype(np.uint8))),
    "npy-int64": ("npy", lambda p, m: np.save(p, m.astype(np.int64))), "npy-float": ("npy", lambda p, m: np.save(p, m.astype(float))),
    "gif": ("gif", grey(255)), "gif-palette-white-0": ("gif", indexed(WHITE_BLACK)), "webp": ("webp", grey(255, lossless=True)),
    "webp-layer": ("webp", lambda p, m: Image.fromarray(np.dstack([m * 255] * 4).astype(np.uint8)).save(p, lossless=True, exact=True)),
    "pgm": ("pgm", grey(255)), "pgm-1": ("pgm", by_hand("P5 {w} {h} 1\n", "u1")), "pbm": ("pbm", lambda p, m: Image.fromarray(m).save(p)),
    "ppm": ("ppm", painted((9, 9, 9))), "jp2": ("jp2", grey(255, irreversible=False)), "tga": ("tga", grey(255)),
}  # fmt: skip
"""Those that leave no doubt."""
DOUBTFUL: dict[str, tuple[str, Save]] = {
    "soft-edges": ("png", soft),
    "soft-layer": ("png", half_layer),
    "jpeg": ("jpg", grey(255, quality=60)),
    "palette-marked-is-0": ("png", indexed(WHITE_BLACK, swap=True)),
    "palette-clear-1": ("png", indexed(WHITE_BLACK, clear=1, swap=True)),
    "tif-white-is-zero": ("tif", lambda p, m: tifffile.imwrite(p, (m * 255).astype(np.uint8), photometric="miniswhite")),
    "layer-of-two": (
        "png",
        lambda p, m: Image.fromarray(np.dstack([np.indices(m.shape)[1] % 2 * 200] * 3 + [m * 255]).astype(np.uint8)).save(p),
    ),
    "wrong-size": ("png", lambda p, m: Image.fromarray((m[:-1] * 255).astype(np.uint8)).save(p)),
    "wholly-clear": ("png", lambda p, m: Image.fromarray(np.dstack([m * 255] * 3 + [m * 0]).astype(np.uint8)).save(p)),
    "bmp-two-colours": ("bmp", indexed(BLACK_WHITE)),
    "float-parts": ("npy", lambda p, m: np.save(p, m * 0.5 + np.roll(m, 1) * 0.3)),
    "negative": ("npy", lambda p, m: np.save(p, m * -1)),
    "png-16-colour": ("png", lambda p, m: raw_png(p, np.dstack([m * 255] * 3), 16, 2)),
    "labels-of-parts": ("png", lambda p, m: Image.fromarray((m * (1 + np.indices(m.shape)[1] // 12)).astype(np.uint8)).save(p)),
    "truncated": ("png", lambda p, m: (grey(255)(p, m), p.write_bytes(p.read_bytes()[:-30]))),
    "key-colour": ("png", lambda p, m: Image.fromarray((m * 255).astype(np.uint8)).save(p, transparency=255)),
}
"""Those of which nobody can tell what is marked, or that are broken: one line, whatever they would have meant."""
