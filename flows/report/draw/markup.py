"""HTML made of escaped text: the few elements that the page is built from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fabloom.flows.report.numbers import number
from fabloom.kinds.metric import is_number

SHORT = 32
"""Characters of a cell that is not broken."""


def plain(value: Any) -> str:
    """Any value as text; characters that no text holds are shown as such."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", str(value))


def text(value: Any) -> str:
    """The same, escaped."""
    return escape(plain(value), quote=True)


def code(value: Any, title: str = "") -> str:
    """A name, a key or a command."""
    return f'<code title="{text(title)}">{text(value)}</code>' if title else f"<code>{text(value)}</code>"


def anchor(name: str) -> str:
    """An id for a section of that name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "part"


def problem(message: Any) -> str:
    """A failure, shown where its subject would be."""
    return f'<p class="problem">{text(message)}</p>'


def guarded(make: Callable[[], str]) -> str:
    """What `make` gives; if it raises, the error in its place, so that one damaged artifact does not take the page with it."""
    try:
        return make()
    except Exception as error:
        return problem(f"This part cannot be shown. {type(error).__name__}: {error}")


def section(title: str, body: str, hint: str = "") -> str:
    """A titled part of the page with an anchor; '' without a body."""
    if not body:
        return ""
    name = anchor(title)
    lead = f'<p class="soft">{text(hint)}</p>' if hint else ""
    return f'<section id="{name}"><h2><a href="#{name}">{text(title)}</a></h2>{lead}{body}</section>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], kinds: Sequence[str] = (), *, wide: bool = False) -> str:
    """A table of ready HTML cells; `kinds` are the style classes of the columns ('n' for numbers)."""
    classes = [f' class="{kind}"' if kind else "" for kind in [*kinds, *[""] * len(columns)]]
    head = "".join(f"<th{c}>{text(name)}</th>" for name, c in zip(columns, classes, strict=False))
    body = "".join("<tr>" + "".join(f"<td{c}>{cell}</td>" for cell, c in zip(row, classes, strict=False)) + "</tr>" for row in rows)
    return f'<div class="scroll{" wide" if wide else ""}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def data_table(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A table of JSON values: columns of numbers are set to the right, short cells stay on one line, headings may break."""
    kinds = []
    for index in range(len(columns)):
        cells = [row[index] for row in rows if index < len(row) and row[index] is not None]
        short = all(len(number(cell)) <= SHORT for cell in cells)
        kinds.append("n" if cells and all(is_number(cell) for cell in cells) else "nowrap" if short else "")
    return f'<div class="data">{table([str(c) for c in columns], [[text(number(cell)) for cell in row] for row in rows], kinds)}</div>'


def facts(values: Mapping[str, Any]) -> str:
    """Names over their values, side by side; nested mappings by their path."""
    flat = list(_flat(values))
    if not flat:
        return ""
    return '<dl class="facts">' + "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in flat) + "</dl>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name} / ")
        elif isinstance(value, list) and all(is_number(v) for v in value):
            shown = ", ".join(number(v) for v in value[:40])
            yield prefix + str(name), shown + (f", … ({len(value)} in all)" if len(value) > 40 else "")
        else:
            yield prefix + str(name), number(value)


def duration(seconds: float) -> str:
    """Seconds for reading: '0.4 s', '34 s', '12 min 5 s', '3 h 20 min'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes for reading."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
