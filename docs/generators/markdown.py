"""Markdown pieces that the generated pages share."""

from __future__ import annotations

import html
import inspect
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

NOTE = "<!-- Written by docs/generate.py from the code; `python docs/generate.py` writes it anew. -->\n\n"


class Undocumented(Exception):
    """Something public has no description. The message says what, and where to write one."""


def described(text: str | None, what: str) -> str:
    """The text on one line. Raises Undocumented where there is none."""
    if not text or not text.strip():
        raise Undocumented(f"{what} has no description")
    return " ".join(text.split())


def prose(text: str | None, what: str) -> str:
    """A docstring as Markdown, its paragraphs kept. Raises Undocumented where there is none."""
    described(text, what)
    return code_words(inspect.cleandoc(text or ""))


def code_words(text: str) -> str:
    """Words with an asterisk would turn into emphasis, angle brackets into tags: escape them outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


def cell(text: str) -> str:
    """Prose for a table cell."""
    return code_words(" ".join(text.split())).replace("|", "\\|")


def code(text: str) -> str:
    """Text as code, in or out of a table. Nothing for nothing. A bar would end a table's cell, so it is written as an entity."""
    text = " ".join(text.split())
    if "|" in text:
        return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>"
    return f"`{text}`" if text else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def type_text(hint: Any) -> str:
    """An annotation as an author writes it: `int | None`, `list[str]`, `small | published` for a choice."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(a) for a in arguments)
    if origin is not None:
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join('…' if a is Ellipsis else type_text(a) for a in arguments)}]"
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))
