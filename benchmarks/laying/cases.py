"""All cases: layouts times formats, layouts times modes of masks, and those of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import special, yolo
from .folders import NOTED, PLAIN
from .formats import FORMATS, Format
from .maskmodes import DOUBTFUL, RIGHT
from .truth import Case, Truth

ANNOTATED_FORMATS = ("png8", "png16", "png-rgb", "bmp8", "tif8", "tif16", "tif32-float", "npy8", "jpg", "webp", "pgm", "gif")


def built(layout: Callable[..., Any], form: Format, mask: Any) -> Callable[[Path], tuple[dict[str, Any], Truth | None]]:
    def write(root: Path) -> tuple[dict[str, Any], Truth | None]:
        params, truth = layout(root, form, mask)
        return {**params, **form.params}, truth

    return write


def everything() -> list[Case]:
    """In an order of its own: neighbours are alike."""
    cases = [
        Case(f"{layout} of {name}", built(write, form, None), form.wanted)
        for layout, write in PLAIN.items()
        for name, form in FORMATS.items()
    ]
    cases += [
        Case(f"{layout}, masks {name}", built(write, FORMATS["png8"], mask), wanted)
        for layout, write in PLAIN.items()
        for modes, wanted in ((RIGHT, "right"), (DOUBTFUL, "refused"))
        for name, mask in modes.items()
    ]
    cases += [
        Case(f"{layout} of {name}", built(write, FORMATS[name], None), FORMATS[name].wanted)
        for layout, write in NOTED.items()
        for name in ANNOTATED_FORMATS
    ]
    return [*cases, *special.CASES, *yolo.CASES]
