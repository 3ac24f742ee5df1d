"""What became of runs: a small JSON file for each, beside its page. A view: it has no key, and without it the store lacks nothing.

A run has one record: running the same work again replaces it. Each is written whole or not at all; the newest `MOST` are kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import write_durably
from fabloom.errors import Interrupted, UserError, did_you_mean
from fabloom.method import StepResult
from fabloom.planning.plan import Plan
from fabloom.regular import clear, is_plain, read_regular
from fabloom.running.engine import exit_code

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

log = logging.getLogger("fabloom")

SCHEMA, MOST = 1, 200
"""Version of a record, and the number of records that a store keeps."""
LARGEST, LONGEST = 1 << 22, 2000
"""Bytes of a record, and characters of an error in it."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,120}")
STEP = ("name", "task", "kind", "key", "digest", "status", "seconds", "error")
OUTCOMES = ("done", "failed", "stopped")


@dataclass(frozen=True)
class RunRecord:
    """A run that ended: when (UTC), how, what it worked on and what it gave.

    `outcome` is done, failed or stopped; `seconds` those of the work that this run did itself. `steps` hold name, task, kind, key, digest,
    status, seconds and error of each. `headline` is what its last report is about: metric, name, value, interval, unit, better, and
    `told`, the sentence; of predicted masks step and told alone; empty where nothing says so.
    """

    run: str
    pipeline: Mapping[str, Any]
    finished: str
    outcome: str
    exit_code: int
    seconds: float
    steps: Sequence[Mapping[str, Any]]
    headline: Mapping[str, Any]

    @property
    def pipeline_name(self) -> str:
        """Name of what was run."""
        return str(self.pipeline["name"])

    def page(self, store: Store) -> Path:
        """Where its page is, or would be."""
        return store.pages / f"{self.run}.html"

    def as_dict(self, store: Store) -> dict[str, Any]:
        """The document that `fabloom runs --json` prints of it."""
        page = self.page(store)
        return {**asdict(self), "page": str(page) if page.is_file() else None}


def record(name: str, plan: Plan, results: Sequence[StepResult], store: Store) -> None:
    """Note how a run ended. Where that cannot be written a line is logged: the run itself is in the store."""
    code = exit_code(results)
    steps = [
        {field: getattr(result, field) for field in STEP} | {"status": result.outcome, "error": result.error[:LONGEST]}
        for result in results
    ]
    made = RunRecord(
        name,
        plan.pipeline.model_dump(mode="json"),
        datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "done" if code == 0 else "stopped" if code == Interrupted.exit_code else "failed",
        code,
        sum(result.seconds for result in results if result.status == "ran"),
        steps,
        headline_of(results, store) or findings_of(plan, results, store),
    )
    try:
        store.pages.mkdir(parents=True, exist_ok=True)
        path = store.pages / f"{name}.json"
        if not is_plain(path):
            clear(path)
        write_durably(path, json.dumps({"schema": SCHEMA, **asdict(made)}, indent=1).encode())
        for old in newest_first(store)[MOST:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the run %s cannot be listed: %s", name, error.strerror or error)


def headline_of(results: Sequence[StepResult], store: Store) -> dict[str, Any]:
    """What the last report is about that says so; {} where none does, or where it cannot be read."""
    from fabloom.flows.report.numbers import headline

    for result in reversed(results):
        if result.kind != "Report" or result.status not in ("ran", "reused"):
            continue
        with contextlib.suppress(Exception):  # damaged, or of a plugin's own making: the run is listed all the same
            report: Any = store.get(result.key)
            found = headline(report.described)
            if found is not None:
                name, first = found.results[0]
                told = " ".join(sentence for sentence, _ in found.lead(report.verdict))
                return {
                    "step": result.name, "metric": found.metric, "name": name, "value": first.value, "unit": first.unit,
                    "interval": list(first.interval) if first.interval else None, "better": first.better, "told": told,
                }  # fmt: skip
    return {}


def findings_of(plan: Plan, results: Sequence[StepResult], store: Store) -> dict[str, Any]:
    """Of a run that ends in predicted masks: the folder, how many of its images have a defect, and by which model; else {}."""
    last = results[-1] if results else None
    steps = plan.pipeline.steps
    if last is None or not last.task.endswith((".segment", ".detect")) or last.status not in ("ran", "reused"):
        return {}
    with contextlib.suppress(Exception):  # as above
        inputs = steps[last.name].inputs
        model, folder = str(inputs["model"]), Path(str(steps[str(inputs["images"])].params["path"])).name
        images: Any = store.get(last.key)
        defects = int((images.domain[...] == 1).sum())
        by = model.removeprefix("key:")[:12]
        return {"step": last.name, "told": f"{folder}: {defects} of {len(images)} images with a defect, by model {by}"}
    return {}


def newest_first(store: Store) -> list[Path]:
    """The records of a store; another process may be taking some away."""
    found = []
    for path in store.pages.glob("*.json"):
        with contextlib.suppress(OSError):
            if is_plain(path):
                found.append((path.stat().st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found, reverse=True)]


def listed(store: Store) -> tuple[list[RunRecord], list[str]]:
    """The runs of a store, newest first, and what is wrong with records that cannot be read."""
    found, problems = [], []
    for path in newest_first(store):
        try:
            found.append(read(path))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append(f"'{path.name}' is no record of a run ({' '.join(str(error).split())[:200]}); remove it")
    return sorted(found, key=lambda one: one.finished, reverse=True), problems


def read(path: Path) -> RunRecord:
    """One record. Raises ValueError, KeyError or TypeError for anything else, OSError for what cannot be read."""
    kept = json.loads(read_regular(path, LARGEST))
    known = {field.name: kept[field.name] for field in fields(RunRecord)}
    sound = (
        isinstance(known["run"], str) and NAME.fullmatch(known["run"]) and known["run"] == path.stem and known["outcome"] in OUTCOMES
        and isinstance(known["pipeline"]["name"], str) and isinstance(known["finished"], str) and isinstance(known["headline"], dict)
        and isinstance(known["seconds"], int | float) and all(isinstance(step[field], str) for step in known["steps"] for field in STEP[:6])
    )  # fmt: skip
    if not sound:
        raise ValueError("its fields are not those of a run")
    return RunRecord(**known)


def find(runs: Sequence[RunRecord], text: str) -> RunRecord:
    """The run that is meant: a number in the list (1 is the newest; ~1 the one before that), a name, the beginning of one name, or
    a pipeline, of which the newest. Raises UserError.
    """
    if not runs:
        raise UserError("this store has no runs yet. Another store? Give its place with --store or FABLOOM_STORE.")
    number = text.removeprefix("~")
    if number.isdecimal() and number.isascii() and len(number) < 6:
        place = int(number) if text.startswith("~") else int(number) - 1
        if 0 <= place < len(runs):
            return runs[place]
        raise UserError(f"there is no run {text}: the list has {len(runs)}. See `fabloom runs`.")
    exact = [run for run in runs if text in (run.run, run.pipeline_name)]
    if exact:
        return exact[0]
    beginning = [run for run in runs if run.run.startswith(text)]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        raise UserError(f"'{text}' begins {len(beginning)} runs; give more of it: {', '.join(run.run for run in beginning[:4])}")
    raise UserError(f"there is no run '{text}'.{did_you_mean(text, [run.run for run in runs])} See `fabloom runs`.")
