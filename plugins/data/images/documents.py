"""Documents of strangers: JSON and XML within bounds of size and depth, XML without document types and entities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from fabloom.errors import DataError
from fabloom.regular import read_regular

LARGEST = 2**28
"""Bytes of a document: COCO lists of a hundred thousand images are smaller."""
DEEPEST = 64
"""Elements within elements."""


def read_bounded(path: Path) -> bytes:
    """The bytes of a document. Raises DataError above `LARGEST`."""
    content = read_regular(path, LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"{path}: is larger than {LARGEST >> 20} MiB; split it")
    return content


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    try:
        return json.loads(read_bounded(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON that can be read ({str(error)[:200]}); mend or remove it") from None


def read_xml(path: Path) -> Element:
    """Root of an XML document. A document type, which may define entities, is refused before anything of it is expanded."""
    builder, depth = TreeBuilder(), [0]
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        depth[0] += 1
        if depth[0] > DEEPEST:
            raise DataError(f"{path}: has more than {DEEPEST} elements within each other; it is no annotation")
        builder.start(name, attributes)

    def end(name: str) -> None:
        depth[0] -= 1
        builder.end(name)

    def refuse(*_: Any) -> None:
        raise DataError(f"{path}: declares a document type, which annotations never need; remove its DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(read_bounded(path), True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError, LookupError) as error:
        raise DataError(f"{path}: is no XML that can be read ({error}); mend or remove it") from None
