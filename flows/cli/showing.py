"""What `fabloom show` prints of an artifact: its kind's exhibits as text, then how it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.flows.report.numbers import comparisons, number, told, words
from fabloom.kinds import Artifact, Exhibit
from fabloom.kinds.metric import is_number
from fabloom.planning.expectation import rough
from fabloom.planning.given import is_given

from .output import say, table

if TYPE_CHECKING:
    from fabloom.flows.run.judged import Evaluation

LONGEST, ROWS = 400, 40
"""Characters of a value, and rows of a table, that are printed; `--json` has all of them."""


def tell_scores(model: Artifact, judged: Sequence[Evaluation]) -> None:
    """The threshold that travels with a model and why it is that one, and what evaluations in this store say of the model."""
    config = model.attrs.get("config")
    threshold = config.get("threshold") if isinstance(config, Mapping) else None
    if is_number(threshold):
        choice = config.get("threshold_choice")  # type: ignore[union-attr]
        why = str(choice.get("why") or "") if isinstance(choice, Mapping) else ""
        say(f"threshold {threshold:g}{f', {why}' if why else ''}")
    if not judged:
        say("scores   none: no evaluation in this store used it")
        return
    say()
    table(
        ["scores", "as", "by", "pipeline", "report", "made"],
        [
            [str(one), one.port, f"{one.step} ({one.task})" if one.step else one.task, one.pipeline, one.key[:12], one.created]
            for one in judged
        ],
    )


def tell_exhibits(artifact: Artifact) -> None:
    """The exhibits one by one; one that cannot be made tells its error, and hides none before it."""
    try:
        for exhibit in artifact.exhibits():
            _tell(exhibit)
    except Exception as error:
        say(f"\nThe rest cannot be shown. {type(error).__name__}: {error}")


def _tell(exhibit: Exhibit) -> None:
    drawn = list(_pictures(exhibit))
    if exhibit.title and (drawn or exhibit.facts or exhibit.metrics or exhibit.table or exhibit.notes):
        say(f"\n{words(exhibit.title)}")
    for line in drawn:
        say(line)
    for block in comparisons(exhibit.metrics) if exhibit.metrics else ():
        say(f"\n{words(block.title)}" if block.title else "")
        table(["metric", *map(words, block.columns)], [[block.label(row), *map(told, cells)] for row, cells in block.rows.items()])
        if block.meanings:
            say()
        for label, meaning in block.meanings.items():
            say(f"{label}: {meaning}")
    if exhibit.table is not None:
        rows = [[number(cell) for cell in row] for row in exhibit.table.rows]
        say()
        table([str(name) for name in exhibit.table.columns], rows[:ROWS])
        if len(rows) > ROWS:
            say(f"… and {len(rows) - ROWS:,} more rows")
    facts = list(_flat(exhibit.facts))
    if facts:
        say()
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            say(f"{name.ljust(width)}  {value}")
    for note in exhibit.notes:
        say(f"- {note}")
    if exhibit.caption and not drawn:
        say(exhibit.caption)


def _pictures(exhibit: Exhibit) -> Iterator[str]:
    """What has to be looked at, in a line each."""
    if exhibit.picture is not None:
        height, width = exhibit.picture.shape[:2]
        yield f"a picture of {width} × {height} pixels"
    if exhibit.samples is not None and exhibit.title:
        yield f"{len(exhibit.samples):,} samples"
    if exhibit.heat is not None and exhibit.heat.size:
        yield f"{exhibit.title or 'a map'}: up to {float(exhibit.heat.max()):.3g}. {exhibit.caption}"


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[list[str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            text = number(value) if isinstance(value, int | float | None) else str(value)
            yield [f"{above}{name}", text if len(text) < LONGEST else f"{text[:LONGEST]} …"]


def tell_making(manifest: Mapping[str, Any]) -> None:
    """How the artifact came to be: task, when and where, inputs, parameters, and how its curves went."""
    asked, made = manifest["preimage"], manifest.get("made_with") or {}
    if is_given(asked["task"]):
        say(f"\nput      {manifest.get('created', '?')}, by no step: the key follows from the content")
        return
    say(f"\ntask     {asked['task']} (version {asked.get('version', '?')}), seed {asked.get('seed', '?')}")
    if manifest.get("step"):
        say(f"step     '{manifest['step']}' of pipeline '{manifest.get('pipeline', '?')}'")
    took = manifest.get("seconds") or 0.0
    with_ = ", ".join(f"{name} {version}" for name, version in made.items())
    where = f"{manifest.get('device', '?')}, {manifest.get('threads', '?')} threads{f', {with_}' if with_ else ''}"
    say(f"made     {manifest.get('created', '?')} in {rough(took)} on {where}")
    for port, keys in (asked.get("inputs") or {}).items():
        say(f"from     {port}: {', '.join(key[:12] for key in ([keys] if isinstance(keys, str) else keys))}")
    for name, points in (manifest.get("curves") or {}).items():
        ends = [points[0], points[-1]] if isinstance(points, list) and points else []
        if ends and all(isinstance(end, list) and len(end) == 2 and all(map(is_number, end)) for end in ends):
            say(f"curve    {name}: {', '.join(f'{value:.4g} at {step:,}' for step, value in ends)}")
    params = list(_flat(asked.get("params") or {}))
    if params:
        say()
        table(["parameter", "value"], params)
