"""The one hash of keys and digests, and JSON whose bytes are unique."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any


def blake(data: bytes) -> str:
    """blake2b-160 of `data` in hexadecimal, the one hash of keys and digests."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def blake_file(path: Path) -> str:
    """blake2b-160 of a file's content."""
    with path.open("rb", buffering=0) as file:  # a buffer would cost a small file half of its time, and a large one a copy
        return blake_open(file)


def blake_open(file: IO[bytes]) -> str:
    """blake2b-160 of what is left to read of an open file, read in 1 MiB pieces."""
    return blake_pieces(iter(lambda: file.read(1 << 20), b""))


def blake_pieces(pieces: Iterable[Any]) -> str:
    """blake2b-160 of what comes piece by piece, in buffers."""
    digest = hashlib.blake2b(digest_size=20)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Sorted, compact UTF-8 JSON. Raises TypeError for anything whose JSON form is not unique and exact."""
    _reject_ambiguous(value, "$")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"{text[error.start]!a} is no text: half of a pair, or a byte of a name that is not UTF-8") from error


PLAIN = {str, int, bool, type(None)}
"""What has one form; asked first, and of values before anything is called for them: lists of files are long."""


def _reject_ambiguous(value: Any, path: str) -> None:
    kind = type(value)
    if kind in PLAIN:
        return
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in PLAIN:
                _reject_ambiguous(item, f"{path}[{index}]")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{path}: key {name!r} is {type(name).__name__}; canonical JSON wants text keys")
            _reject_ambiguous(item, f"{path}.{name}")
    elif not isinstance(value, float):
        raise TypeError(f"{path}: {kind.__name__} has no canonical form")
    elif not math.isfinite(value):
        raise TypeError(f"{path}: {value} has no canonical form")
