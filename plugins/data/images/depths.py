"""Pictures of which Pillow would lose a part: more than 8 bits in colour, and a BMP that it takes for one of 1 bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

CODESTREAM = b"\xff\x4f\xff\x51"
"""How a JPEG 2000 codestream begins; 42 bytes on stands the depth of its first channel."""


def lossy(path: Path, picture: Image.Image) -> str | None:
    """Why an opened picture must not be decoded by Pillow, or None."""
    colour = picture.mode not in ("L", "1", "I", "F", "P") and not picture.mode.startswith("I;16")
    wide = colour and (_told_wide(picture) or _wide_jpeg2000(path, picture))
    if wide:
        return "colour with 16 bits a channel would lose half of them; save it as TIFF or NPY"
    if picture.format == "BMP" and picture.mode == "1" and _start(path, 30)[28:30] != b"\x01\x00":
        return "is a BMP of two colours and more than 1 bit a pixel, which would be read as black; save it as PNG"
    if picture.format == "SGI" and any("16" in str(part[-1]) for part in _parts(picture)):
        return "16 bits a channel would lose half of them; save it as TIFF or NPY"
    return None


def _parts(picture: Image.Image) -> list[Any]:
    """How Pillow would decode an opened file: tuples that end with the decoder's arguments."""
    return list(getattr(picture, "tile", ()))


def _told_wide(picture: Image.Image) -> bool:
    for part in _parts(picture):
        args: Any = part[-1]
        if isinstance(args, tuple):
            if picture.format == "PPM" and len(args) > 1 and isinstance(args[1], int) and args[1] > 255:
                return True
            args = args[0] if args else ""
        if "16" in str(args):
            return picture.format != "BMP"  # whose 16 bits are those of all channels together
    return False


def _wide_jpeg2000(path: Path, picture: Image.Image) -> bool:
    if picture.format != "JPEG2000":
        return False
    head = _start(path, 2**16)
    place = head.find(CODESTREAM)
    return place < 0 or (head[place + 42] & 0x7F) + 1 > 8 if place + 42 < len(head) else True


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def scale(picture: Image.Image) -> int:
    """By what Pillow multiplied the stored values: 85 in a PNG of 2 bits, 17 of 4, 255/maxval in a PGM, else 1. 0: no whole number."""
    args: Any = next((part[-1] for part in _parts(picture)), "")
    if picture.format == "PNG":
        return {"L;2": 85, "L;4": 17}.get(str(args), 1)
    if picture.format == "PPM" and isinstance(args, tuple) and len(args) > 1 and isinstance(args[1], int):
        most = 65535 if args[1] > 255 else 255
        return most // args[1] if args[1] and most % args[1] == 0 else 0
    return 1
