"""What the command line writes: lines and tables on stdout, one JSON document, one line for an error. Streams may be closed, full or gone.

Names and messages come from third parties: nothing of them moves a cursor, recolours a terminal or begins a line of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

import typer

LONGEST = 4000
"""Characters of an error's line; of a longer one the middle is left out."""
STREAMS = ("stdin", "stdout", "stderr")


def settle() -> None:
    """Give a closed stdin, stdout or stderr the null device: else the next file that is opened, of a store perhaps, would be it.

    What stdout cannot encode is escaped: a file's name need not be UTF-8.
    """
    for number, name in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def unwritten() -> OSError | None:
    """Write out what stdout and stderr hold, and return stdout's error. What cannot be written is dropped: nobody complains later."""
    lost = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            lost = lost or (error if stream is sys.stdout else None)
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    return lost


class Lasting(io.TextIOBase):
    """A stream for a display: what cannot be written is dropped, since a run goes on without its terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Gives the length of the text."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Of the stream."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Of the stream."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return self._stream.encoding


class LostOutput(OSError):
    """stdout cannot be written."""


def put(text: str) -> None:
    """A text on stdout as it is, and a line's end. Raises LostOutput."""
    try:
        typer.echo(text)
    except OSError as error:
        raise LostOutput(error.errno, error.strerror) from error


def say(text: str = "") -> None:
    """One line on stdout."""
    put(printable(text))


def tell(text: str) -> None:
    """One line on stderr, where somebody reads it."""
    with contextlib.suppress(OSError, ValueError):
        typer.echo(one_line(text), err=True)


def emit_json(value: Any) -> None:
    """The one JSON document of `--json`. What cannot be printed is escaped."""
    utf8 = str(getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, indent=2, ensure_ascii=not utf8)
    if not text.replace("\n", "").isprintable():
        text = "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)
    put(text)


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """What tasks, libraries and child processes print goes to stderr, so that stdout holds the one JSON document."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def table(columns: list[str], rows: list[list[str]]) -> None:
    """A plain table on stdout; on a terminal the last column is folded to fit. Without rich, which takes longer than a plan."""
    lines = [columns, *([printable(" ".join(cell.split())) for cell in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    room = max(shutil.get_terminal_size().columns - indent, 24) if sys.stdout.isatty() else max(widths[-1], 1)
    for index, cells in enumerate(lines):
        head = "".join(cell.ljust(width + 2) for cell, width in zip(cells[:-1], widths, strict=False))
        text = ("\n" + " " * indent).join(textwrap.wrap(cells[-1], room, break_on_hyphens=False) or [""])
        put(typer.style((head + text).rstrip(), bold=index == 0))


def printable(text: str) -> str:
    """Without the control characters by which a message could move the cursor or recolour the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """A message as one line: its own lines joined, what cannot be printed escaped, the middle of a very long one left out."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in joined)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST * 3 // 4]} … {plain[-LONGEST // 4 :]}"
