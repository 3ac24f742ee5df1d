"""The commands about runs that ended: runs, report, open, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabloom.errors import EnvironmentProblem, UserError

from .output import emit_json, say, table, tell
from .shared import JsonOption, StoreOption, load_registry, open_store, target, write_page

if TYPE_CHECKING:
    from fabloom.flows.production.page import Kept
    from fabloom.flows.run.log import RunRecord
    from fabloom.kinds.store import Store

commands = typer.Typer()

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A number of `fabloom runs`, a name or the beginning of one, or a pipeline: its newest run.")
]
LastArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN|LINE|KEY]",
        help="A number of `fabloom runs`, a name or the beginning of one, or a pipeline: its newest run. Default: the newest. Of "
        "retraining the name of a line, LINE/decision or the key of a decision.",
    ),
]
NEWEST = "1"


def _known(opened: Store) -> list[RunRecord]:
    from fabloom.flows.run.log import listed

    found, problems = listed(opened)
    for problem in problems:
        tell(problem)
    return found


@commands.command()
def runs(
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]", help="Only runs of this pipeline.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """List the runs of a store, newest first: when, how they ended, and what they gave.

    A run that was repeated is listed once, as it ended last.
    """
    opened = open_store(store)
    found = [(place, run) for place, run in enumerate(_known(opened), 1) if pipeline in (None, run.pipeline_name)]
    if json_:
        emit_json([{"number": place, **run.as_dict(opened)} for place, run in found])
        return
    table(
        ["", "run", "ended", "outcome", "worked", "headline"],
        [[str(place), r.run, _when(r), r.outcome, f"{r.seconds:,.0f} s", _headline(r)] for place, r in found],
    )
    if not found:
        what = f"no run of {pipeline}" if pipeline else "no run"
        say(f"\nThere is {what} in {opened.url}. Another store? Give its place with --store or FABLOOM_STORE.")


def _when(run: RunRecord) -> str:
    return run.finished[:16].replace("T", " ")


def _headline(run: RunRecord) -> str:
    """The first sentence of a run: its headline with the interval, or what failed."""
    from fabloom.flows.report.numbers import told, words
    from fabloom.kinds.metric import Metric, is_interval

    failed = next((step for step in run.steps if step["status"] in ("failed", "stopped")), None)
    if failed is not None:
        return f"{failed['name']}: {' '.join(str(failed.get('error', '')).split())[:120]}"
    if "metric" not in run.headline:
        return str(run.headline.get("told", ""))
    interval = run.headline.get("interval")
    metric = Metric(run.headline.get("value"), (interval[0], interval[1]) if interval and is_interval(interval) else None)
    unit, name = (str(run.headline.get(field) or "") for field in ("unit", "name"))
    return f"{words(run.headline.get('metric', ''))} {told(metric)}{f' {unit}' if unit else ''}{f' for {words(name)}' if name else ''}"


def _meant(opened: Store, text: str) -> RunRecord | Kept:
    """The run that is meant, or the decision of a night. Raises UserError for neither."""
    from fabloom.flows.production.line import lines
    from fabloom.flows.production.page import meant
    from fabloom.flows.run.log import find

    try:
        found = find(_known(opened), text)
    except UserError as error:
        kept = meant(opened, text)
        if kept is not None:
            return kept
        known = ", ".join(lines(opened))
        if known:
            raise UserError(f"{error} Lines with nights: {known}.") from error
        raise
    if text in lines(opened):
        tell(f"'{text}' is also a line; its newest night is `fabloom report {text}/decision`.")
    return found


def _write(opened: Store, found: RunRecord | Kept, to: Path | None = None) -> Path:
    """Render a page at its place in the store, or elsewhere."""
    from fabloom.flows.production.page import Kept, write_night
    from fabloom.flows.run.again import render

    if not isinstance(found, Kept):
        return render(found, load_registry(), opened, to)
    page = to or found.page(opened)
    write_night(page, found)
    return page


def _told(found: RunRecord | Kept) -> dict[str, str]:
    """What a page is of, for --json."""
    from fabloom.flows.production.page import Kept

    if not isinstance(found, Kept):
        return {"run": found.run}
    record = found.decision.record
    return {"line": record.line, "decision": found.decision.key, "outcome": record.outcome}


def _page(opened: Store, found: RunRecord | Kept) -> Path:
    """The page that is there, or else rendered."""
    page = found.page(opened)
    if page.is_file():
        return page
    try:
        return _write(opened, found)
    except OSError as error:
        told = _told(found)
        name = told.get("run") or told["decision"][:12]
        raise EnvironmentProblem(
            f"the page of '{name}' cannot be written: {error.strerror}. Use `fabloom report {name} -o FILE`."
        ) from error


@commands.command()
def report(
    run: LastArgument = NEWEST,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the page. Default: its place in the store.")
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Render a page again, from the store alone: after an upgrade, or somewhere else to send it.

    That of a run, or of a night of `fabloom retrain`: how it ended and why, each condition of the gate as an interval against its margin.
    """
    opened = open_store(store)
    found = _meant(opened, run)
    page = _write(opened, found, None if out is None else target(out))
    if json_:
        emit_json({**_told(found), "page": str(page)})
    else:
        say(str(page))


@commands.command("open")
def open_page(run: LastArgument = NEWEST, store: StoreOption = None, json_: JsonOption = False) -> None:
    """Open the page of a run or of a night in the browser, and say where it lies."""
    import webbrowser

    opened = open_store(store)
    found = _meant(opened, run)
    page = _page(opened, found)
    try:
        shown = webbrowser.open(page.as_uri())
    except (webbrowser.Error, OSError):
        shown = False
    if json_:
        emit_json({**_told(found), "page": str(page), "opened": shown})
        return
    say(str(page))
    if not shown:
        tell("No browser can be opened here; open that file in yours.")


@commands.command()
def compare(
    first: RunArgument,
    second: RunArgument,
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="FILE", help="Where to write the page. Default: in the store.")] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Hold two runs against each other: their numbers, the settings that differ, and the images that came out differently.

    Numbers are compared where both runs have one of that name, unit and direction. The table is printed, the page shows the images too.
    """
    from fabloom.flows.report.compare import changed_images, changed_settings, document, page_name, parted, verdict, write_comparison
    from fabloom.flows.report.numbers import number
    from fabloom.flows.run.log import find
    from fabloom.flows.run.sides import sides

    opened, registry = open_store(store), load_registry()
    known = _known(opened)
    a, b = sides(find(known, first), find(known, second), known, registry, opened)
    page = write_page(out, opened.pages / page_name(a.run, b.run), lambda path: write_comparison(path, a, b))
    if json_:
        emit_json({**document(a, b), "page": str(page) if page else None})
        return
    say(f"{verdict(a, b)}\n")
    changed, equal = parted(a.metrics, b.metrics)
    if changed:
        table(["metric", a.run, b.run, "change", "says"], [row.cells for row in changed])
    say(f"{len(equal)} numbers are equal." if changed else "No number differs.")
    settings: list[tuple[str, str, Any, Any]] = changed_settings(a, b)
    say("\nSettings that differ:" if settings else "\nNo setting differs.")
    if settings:
        table(["step", "setting", a.run, b.run], [[step, field, number(x), number(y)] for step, field, x, y in settings])
    images = changed_images(a, b)
    if images:
        say(f"\n{len(images)} images came out differently, as the page shows.")
    if page:
        say(f"\n{page}")
