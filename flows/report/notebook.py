"""What a notebook shows of an artifact, a plan, a run: the page's exhibits in its style, in a cell, and never megabytes.

`fabloom.notebook.html` finds `html` here by the entry point of that name.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from fabloom.flows.report.draw.markup import code, duration, problem, table, text
from fabloom.flows.run.result import RunResult
from fabloom.kinds import Artifact
from fabloom.planning.plan import Plan

from .exhibits import Room, drawn
from .templating import css

SHEETS = (Room(16, 150_000), Room(4, 60_000))
"""Images of a set that are shown and characters for them, and the same where that does not fit."""
ROOM = 300_000
"""Characters of exhibits; those that do not fit are counted."""

OWN = ":scope { color: var(--ink); background: var(--ground); font: 14px/1.5 system-ui, sans-serif; max-width: 1120px; padding: 4px 12px; }"
"""The cell itself."""

_numbers = itertools.count()


def html(shown: object) -> str:
    """An artifact, a plan or a run as HTML. Raises TypeError for anything else."""
    if isinstance(shown, Artifact):
        return _framed(_artifact(shown))
    if isinstance(shown, Plan):
        return _framed(_plan(shown))
    if isinstance(shown, RunResult):
        return _framed(_run(shown))
    raise TypeError(f"there is no picture of {type(shown).__name__}")


def _framed(body: str) -> str:
    style = f"<style>@scope (.fabloom-view) {{ {css().replace(':root', ':scope')} {OWN} }}</style>"
    return f'<div class="fabloom-view">{style}{body}</div>'


def _artifact(artifact: Artifact) -> str:
    place = code(artifact.key[:12], artifact.key) if artifact.key else '<span class="soft">in memory</span>'
    head = f'<h4>{text(artifact.kind)} {place} <span class="soft">{text(artifact.summary())}</span></h4>'
    return head + exhibits_of(artifact)


def exhibits_of(artifact: Artifact, room: int = ROOM) -> str:
    """The exhibits of an artifact as far as there is room; one that cannot be drawn shows its error."""
    name = f"{artifact.kind.lower()}-{next(_numbers)}"  # ids of sheets: two cells may show one artifact
    parts: list[str] = []
    left = 0
    try:
        for exhibit in artifact.exhibits():
            made = next((made for sheet in SHEETS if len(made := drawn(name, exhibit, sheet)) <= room), None)
            if made is None:
                left += 1
                continue
            room -= len(made)
            if exhibit.heat is not None:  # a map is as wide as what it is in
                made = f'<div class="small">{made.replace(text(name), text("where defects lie"))}</div>'
            parts.append(made)
    except Exception as error:
        parts.append(problem(f"This part cannot be shown. {type(error).__name__}: {error}"))
    if left:
        parts.append(f'<p class="soft">{left} more that would not fit here: see the page of the run.</p>')
    return "".join(parts)


def _plan(plan: Plan) -> str:
    rows = [
        [text(step.name), code(step.task), text(step.kind), code(step.key[:12], step.key), text(", ".join(step.upstream))]
        for step in plan.steps
    ]
    return f"<h4>{text(plan.pipeline.name)} {_soft(plan.pipeline.description.strip())}</h4>" + table(
        ["step", "task", "gives", "key", "needs"], rows
    )


def _run(result: RunResult) -> str:
    rows = []
    for step in result.steps:
        status = f'<span class="status {text(step.outcome)}">{text(step.outcome)}</span>'
        took = text(duration(step.seconds)) if step.outcome == "ran" else ""
        rows.append([text(step.name), code(step.task), text(step.kind), status, took, code(step.key[:12], step.key)])
    failures = "".join(problem(f"{step.name}: {step.error}") for step in result.steps if step.status == "failed")
    page = f'<p class="soft">Report: {code(result.report_path)}</p>' if result.report_path else ""
    head = f"<h4>{text(result.plan.pipeline.name)} {_soft(result.run)}</h4>"
    return head + table(["step", "task", "gives", "status", "took", "key"], rows) + failures + _last_report(result) + page


def _last_report(result: RunResult) -> str:
    made: Iterable[Any] = (step for step in reversed(result.steps) if step.kind == "Report" and step.status in ("ran", "reused"))
    last = next(iter(made), None)
    return exhibits_of(result[last.name]) if last is not None and result.store is not None else ""


def _soft(words: str) -> str:
    return f'<span class="soft">{text(words)}</span>' if words else ""
