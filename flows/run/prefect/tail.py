"""The lines that a step's process adds to its log, as they come and never too many at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from fabloom.registry.address import without_secrets
from fabloom.regular import open_regular

MOST = 40
"""Lines shown at a time; of more the first and the last."""
LONGEST = 500
"""Characters shown of a line."""
CHUNK = 1 << 18
"""Bytes read at a time; what a step writes beyond is left out, not waited for."""


class Tail:
    """What is written to a file from where it ends now, or from its beginning if it is not there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedReader | None = None
        self._rest = b""
        try:
            self._at = path.stat().st_size
        except OSError:
            self._at = 0

    def open(self) -> bool:
        """Hold the file, which is then read to its end also when it is removed; False where it is not there yet.

        Raises OSError where something else stands there, or the disk fails.
        """
        if self._file is None:
            try:
                self._file = open_regular(self._path)
            except FileNotFoundError:
                return False
            self._file.seek(self._at)
        return True

    def lines(self, *, last: bool = False) -> list[str]:
        """Whole lines since the last call; with `last` also one without an end. Raises as `open`."""
        if not self.open():
            return []
        assert self._file is not None
        left = os.fstat(self._file.fileno()).st_size - self._file.tell() - CHUNK
        skipped: list[str] = []
        if left > 0:
            self._file.seek(left, os.SEEK_CUR)
            self._rest, skipped = b"", [f"… {left:,} bytes left out"]
        *whole, self._rest = (self._rest + self._file.read(CHUNK)).split(b"\n")
        if last or len(self._rest) > CHUNK:
            whole, self._rest = [*whole, self._rest], b""
        return skipped + [text for line in whole if (text := shown(line))]

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def shown(line: bytes) -> str:
    """A line for reading: of a bar that is drawn over and over its last state, no control characters, no secrets of URLs, not too long."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
    plain = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text).rstrip()
    cut = plain if len(plain) <= LONGEST else f"{plain[:LONGEST]} …"
    return without_secrets(cut)


def some(lines: Sequence[str], rest: str = "") -> list[str]:
    """At most `MOST` of the lines, the first and the last, and how many are between them; `rest` says where those are."""
    if len(lines) <= MOST:
        return list(lines)
    half = MOST // 2
    return [*lines[:half], f"… {len(lines) - 2 * half:,} lines left out{rest}", *lines[-half:]]
