"""A report as Markdown: its headline, comparisons and tables, for whoever shows no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fabloom.flows.report.draw.markup import text
from fabloom.kinds import Table

from .numbers import comparisons, headline, number, told, words


def markdown_summary(metrics: Mapping[str, Any], tables: Mapping[str, Table] | None = None) -> str:
    """A report's numbers (plain or as Metrics) and tables as Markdown: the headline, then the comparisons."""
    found = headline(metrics)
    parts = [f"**{_plain(found)}** {_plain(found.verdict())}".rstrip()] if found else []
    for block in comparisons(metrics):
        rows = [[block.label(row), *map(told, cells)] for row, cells in block.rows.items()]
        parts.append(_table(words(block.title), ["metric", *map(words, block.columns)], rows))
    for title, t in (tables or {}).items():
        parts.append(_table(words(title), t.columns, [[number(cell) for cell in row] for row in t.rows]))
    return "\n\n".join(parts) + "\n"


def _table(title: str, columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    head = [f"### {_plain(title)}", ""] if title else []
    return "\n".join([*head, *("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)])


def _plain(value: Any) -> str:
    """Text that Markdown shows as it is: no tables, tags, links or emphasis begin in it."""
    return "".join("\\" + c if c in "\\`*_|[]" else c for c in text(" ".join(str(value).split())))
