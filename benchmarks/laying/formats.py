"""Files of every format and depth, written by Pillow, tifffile, numpy and by hand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

Save = Callable[[Path, np.ndarray], Any]


@dataclass
class Format:
    """How a grey image uint8 [H,W] is stored: `stored` gives the values that the file holds, `save` writes them."""

    suffix: str
    save: Save
    stored: Callable[[np.ndarray], np.ndarray] = lambda grey: grey
    wanted: str = "right"
    off: int = 0
    params: dict[str, Any] = field(default_factory=dict)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(path: Path, values: np.ndarray, depth: int, colour: int = 0) -> None:
    """A PNG by hand: values [H,W] of 1, 2, 4 bits, or [H,W,C] of 8 or 16."""
    height, width = values.shape[:2]
    lines = []
    for row in values.reshape(height, -1):
        if depth == 16:
            lines.append(b"\0" + row.astype(">u2").tobytes())
        elif depth == 8:
            lines.append(b"\0" + row.astype(np.uint8).tobytes())
        else:
            bits = "".join(f"{int(v):0{depth}b}" for v in row)
            bits += "0" * (-len(bits) % 8)
            lines.append(b"\0" + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b""))


def pil(mode: str | None = None, **options: Any) -> Save:
    def save(path: Path, values: np.ndarray) -> None:
        picture = Image.fromarray(values)
        (picture if mode is None else picture.convert(mode)).save(path, **options)

    return save


def tif(**options: Any) -> Save:
    return lambda path, values: tifffile.imwrite(path, values, **options)


def npy(path: Path, values: np.ndarray) -> None:
    np.save(path, values, allow_pickle=True)


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey, 255 - grey, grey // 2], -1)


def wide(grey: np.ndarray) -> np.ndarray:
    return grey.astype(np.uint16) * 200 + 1000


def palette(path: Path, values: np.ndarray) -> None:
    """values [H,W] as indices into a palette of colours."""
    picture = Image.fromarray(values, "P")
    picture.putpalette([v for i in range(256) for v in (i, 255 - i, i // 2)])
    picture.save(path)


def by_hand(head: str, dtype: str) -> Save:
    def save(path: Path, values: np.ndarray) -> None:
        path.write_bytes(head.format(w=values.shape[1], h=values.shape[0]).encode() + values.astype(dtype).tobytes())

    return save


def frames(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path, save_all=True, append_images=[Image.fromarray(255 - values)])


def holes(grey: np.ndarray) -> np.ndarray:
    """What is seen of a picture that is transparent where grey is below 50."""
    return np.where(grey < 50, 0, grey).astype(np.uint8)


def with_holes(path: Path, seen: np.ndarray) -> None:
    alpha = np.where(seen == 0, 0, 255).astype(np.uint8)
    Image.fromarray(np.stack([np.where(seen == 0, 77, seen).astype(np.uint8)] * 3 + [alpha], -1)).save(path)


def ascii_pgm(path: Path, values: np.ndarray) -> None:
    path.write_text(f"P2\n# by hand\n{values.shape[1]} {values.shape[0]}\n255\n" + "\n".join(" ".join(map(str, row)) for row in values))


def five(grey: np.ndarray) -> np.ndarray:
    return np.stack([np.roll(grey, k, 1) for k in range(5)], -1)


FORMATS: dict[str, Format] = {
    "png8": Format("png", pil()),
    "png16": Format("png", pil(), wide),
    "png1": Format("png", lambda p, v: Image.fromarray(v > 0).save(p), lambda g: np.where(g > 127, 255, 0).astype(np.uint8)),
    "png2": Format("png", lambda p, v: raw_png(p, v // 85, 2), lambda g: (g // 64 * 85).astype(np.uint8)),
    "png4": Format("png", lambda p, v: raw_png(p, v // 17, 4), lambda g: (g // 16 * 17).astype(np.uint8)),
    "png-palette": Format("png", lambda p, v: palette(p, v[..., 0]), lambda g: np.stack([g, 255 - g, g // 2], -1)),
    "png-rgb": Format("png", pil(), rgb),
    "png-rgba-opaque": Format("png", lambda p, v: Image.fromarray(v).convert("RGBA").save(p), rgb),
    "png-rgba-holes": Format("png", with_holes, holes),
    "png-la": Format("png", pil("LA")),
    "png-rgb16": Format("png", lambda p, v: raw_png(p, np.stack([v] * 3, -1), 16, 2), wide, "refused"),
    "png-la16": Format("png", lambda p, v: raw_png(p, np.stack([v, v], -1), 16, 4), wide, "refused"),
    "png-animated": Format("png", frames, wanted="refused"),
    "bmp8": Format("bmp", pil()),
    "bmp1": Format("bmp", lambda p, v: Image.fromarray(v > 0).save(p), lambda g: np.where(g > 127, 255, 0).astype(np.uint8)),
    "bmp-rgb": Format("bmp", pil(), rgb),
    "bmp-palette": Format("bmp", lambda p, v: palette(p, v[..., 0]), lambda g: np.stack([g, 255 - g, g // 2], -1)),
    "dib8": Format("dib", pil()),
    "tif8": Format("tif", tif()),
    "tif16": Format("tiff", tif(), wide),
    "tif16-big-endian": Format("tif", tif(byteorder=">"), wide),
    "tif16-signed": Format("tif", tif(), lambda g: g.astype(np.int16) * 100 - 9000),
    "tif32-float": Format("tif", tif(), lambda g: g.astype(np.float32) / 7 - 3),
    "tif64-float": Format("tif", tif(), lambda g: g.astype(np.float64) * 1e3),
    "tif8-lzw": Format("tif", pil(compression="tiff_lzw")),
    "tif16-lzw": Format("tif", pil(compression="tiff_lzw"), wide),
    "tif16-deflate": Format("tif", tif(compression="zlib"), wide),
    "tif8-packbits": Format("tif", pil(compression="packbits")),
    "tif16-tiles": Format("tif", tif(tile=(16, 16)), wide),
    "tif-rgb": Format("tif", tif(photometric="rgb"), rgb),
    "tif-rgb-planes": Format(
        "tif", lambda p, v: tifffile.imwrite(p, np.moveaxis(v, -1, 0), photometric="rgb", planarconfig="separate"), rgb
    ),
    "tif-rgb16": Format("tif", tif(photometric="rgb"), lambda g: np.stack([wide(g), 52000 - wide(g), wide(g) // 2], -1).astype(np.uint16)),
    "tif-rgba": Format("tif", lambda p, v: Image.fromarray(v).convert("RGBA").save(p), rgb),
    "tif-palette": Format("tif", lambda p, v: palette(p, v[..., 0]), lambda g: np.stack([g, 255 - g, g // 2], -1)),
    "tif8-white-is-zero": Format("tif", lambda p, v: tifffile.imwrite(p, 255 - v, photometric="miniswhite")),
    "tif16-white-is-zero": Format("tif", lambda p, v: tifffile.imwrite(p, 65535 - v, photometric="miniswhite"), wide),
    "tif1": Format("tif", lambda p, v: Image.fromarray(v > 0).save(p), lambda g: np.where(g > 127, 255, 0).astype(np.uint8)),
    "tif-jpeg": Format("tif", pil(compression="jpeg", quality=100), off=12),
    "tif-pages": Format("tif", lambda p, v: tifffile.imwrite(p, np.stack([v] * 4), photometric="minisblack"), wanted="refused"),
    "tif-cmyk": Format("tif", lambda p, v: Image.fromarray(v).convert("CMYK").save(p), rgb, "refused"),
    "tif-four-unnamed": Format(
        "tif", lambda p, v: tifffile.imwrite(p, np.stack([v] * 4, -1), photometric="rgb", extrasamples=["unspecified"]), wanted="refused"
    ),
    "tif-nan": Format("tif", lambda p, v: tifffile.imwrite(p, np.where(v > 250, np.nan, v).astype(np.float32)), wanted="refused"),
    "npy8": Format("npy", npy),
    "npy16": Format("npy", npy, wide),
    "npy16-big-endian": Format("npy", lambda p, v: np.save(p, v.astype(">u2")), wide),
    "npy32-float": Format("npy", npy, lambda g: g.astype(np.float32) * 1e-6),
    "npy64-float": Format("npy", npy, lambda g: g.astype(np.float64) - 128),
    "npy32-int": Format("npy", npy, lambda g: g.astype(np.int32) * 70000 - 5),
    "npy-bool": Format("npy", lambda p, v: np.save(p, v > 0), lambda g: np.where(g > 127, 255, 0).astype(np.uint8)),
    "npy-rgb": Format("npy", npy, rgb),
    "npy-fortran": Format("npy", lambda p, v: np.save(p, np.asfortranarray(v)), wide),
    "npy-channels-first": Format("npy", lambda p, v: np.save(p, np.moveaxis(v, -1, 0)), rgb, "refused"),
    "npy-five": Format("npy", npy, five, "refused"),
    "npy-five-asked": Format("npy", npy, five, params={"channels": 5}),
    "npy-complex": Format("npy", lambda p, v: np.save(p, v + 1j), wanted="refused"),
    "npy-pickle": Format("npy", lambda p, v: np.save(p, np.array([v, None], dtype=object), allow_pickle=True), wanted="refused"),
    "gif": Format("gif", pil()),
    "gif-palette": Format("gif", lambda p, v: palette(p, v[..., 0]), lambda g: np.stack([g, 255 - g, g // 2], -1)),
    "gif-animated": Format("gif", frames, wanted="refused"),
    "webp": Format("webp", pil(lossless=True)),
    "webp-rgb": Format("webp", pil(lossless=True, exact=True), rgb),
    "webp-animated": Format("webp", frames, wanted="refused"),
    "ppm": Format("ppm", pil(), rgb),
    "ppm16": Format("ppm", by_hand("P6 {w} {h} 65535\n", ">u2"), lambda g: np.stack([wide(g)] * 3, -1), "refused"),
    "pgm": Format("pgm", pil()),
    "pgm-ascii": Format("pgm", ascii_pgm),
    "pgm12": Format("pgm", by_hand("P5 {w} {h} 4095\n", ">u2"), lambda g: g.astype(np.uint16) * 16),
    "pgm16": Format("pgm", by_hand("P5\n{w} {h}\n65535\n", ">u2"), wide),
    "pbm": Format("pbm", lambda p, v: Image.fromarray(v > 0).save(p), lambda g: np.where(g > 127, 255, 0).astype(np.uint8)),
    "pfm": Format("pfm", pil(), lambda g: g.astype(np.float32) / 3),
    "jp2": Format("jp2", pil(irreversible=False)),
    "jp2-rgb": Format("jp2", pil(irreversible=False, mct=0), rgb),
    "jp2-16": Format("jp2", pil(irreversible=False), wide),
    "j2k": Format("j2k", pil(irreversible=False, no_jp2=True)),
    "jpg": Format("jpg", pil(quality=100, subsampling=0), off=8),
    "jfif": Format("jfif", pil("RGB", format="JPEG", quality=100, subsampling=0), off=8),
    "tga": Format("tga", pil()),
    "pcx": Format("pcx", pil()),
    "sgi": Format("sgi", pil()),
    "png-named-jpg": Format("jpg", lambda p, v: Image.fromarray(v).save(p, format="PNG")),
    "half-a-png": Format("png", lambda p, v: (Image.fromarray(v).save(p), p.write_bytes(p.read_bytes()[:-120])), wanted="refused"),
    "text-named-png": Format("png", lambda p, v: p.write_text("not an image"), wanted="refused"),
}
