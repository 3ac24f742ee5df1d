"""One night: hold the line, freeze, plan, check, run what is missing, judge, promote, note down. Whatever happens ends in one outcome.

held by another  -> Skipped         the line is not ours tonight
plan             -> NoChange        the challenger is the champion; nothing ran
                 -> Held            the challenger was rolled back
check, run       -> Rejected, Failed, Stopped
gate             -> Rejected
compare-and-set  -> Promoted
                 -> NoChange        the ref points at the challenger already: another night promoted it meanwhile
                 -> Superseded      it points at something else by now
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError, EnvironmentProblem, FabloomError, Interrupted, RefMoved
from fabloom.flows.run import api
from fabloom.flows.run.api import EngineName, RunnerName
from fabloom.progress import Emit, silent
from fabloom.registry.address import without_secrets

from . import line, watching
from .data import accepted, look, objections
from .decision import BAD, Outcome, Record
from .gate import headline_of, judge, judge_first, sources_of
from .preparing import Prepared, part, prepare

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult
    from fabloom.kinds.store import Store
    from fabloom.pipeline import Pipeline
    from fabloom.registry import Registry

    from .spec import Spec

LONGEST = 1000
"""Characters of a reason."""
UNTAKEN = ("Skipped", "Superseded", *BAD)
"""Outcomes after which what is watched is still due: nothing was decided on it, or not against the champion that there is now."""


@dataclass(frozen=True)
class Night:
    """How a night ended. `decision` is the key of the record, '' where none was kept; `run` what ran, None where nothing did."""

    record: Record
    decision: str = ""
    run: RunResult | None = None
    exit_code: int = 0
    """0 for whatever a schedule expects; that of the first failure for Failed and Stopped."""

    @property
    def outcome(self) -> Outcome:
        """One of `decision.OUTCOMES`."""
        return self.record.outcome

    def as_dict(self) -> dict[str, Any]:
        """The document that `fabloom retrain --json` prints."""
        return {**asdict(self.record), "decision": self.decision, "run": self.run.as_dict() if self.run is not None else None}


@dataclass(frozen=True)
class How:
    """With what a night runs: plugins, store, engine, and who listens."""

    registry: Registry
    store: Store
    engine: EngineName = "inline"
    runner: RunnerName = "threads"
    device: str | None = None
    seed: int | None = None
    redo: Sequence[str] = ()
    note: str = ""
    emit: Emit = silent
    stop: Callable[[], bool] = lambda: False


def retrain(spec: Spec, how: How) -> Night:
    """Carry a night out. Raises FabloomError where it cannot even begin: a pipeline that does not fit, a store that cannot be written."""
    with line.at_work(how.store, spec.line, spec.pipeline) as holder:
        if holder:
            reason = f"line '{spec.line}' is at work already: {holder}"
            return Night(Record(spec.line, "Skipped", reason, how.note, spec.pipeline))
        line.mend(how.store, spec.line)
        ready = _ready(spec, how)
        with how.store.pinned({*ready.plan.keys(), *filter(None, (ready.champion,))}):
            return _Course(spec, how, ready).go()


def _ready(spec: Spec, how: How) -> Prepared:
    """What is decided on. Raises UserError, also for a step to be redone that is none."""
    ready = prepare(spec, how.registry, how.store, seed=how.seed)
    for name in how.redo:
        ready.plan.step(name)
    return ready


class _Course:
    """A night that holds the line; `record` gathers what is known so far."""

    def __init__(self, spec: Spec, how: How, ready: Prepared) -> None:
        self.spec, self.how, self.ready = spec, how, ready
        self.run: RunResult | None = None
        self.record = started(spec, ready, how.note)

    def go(self) -> Night:
        """All of it. Raises EnvironmentProblem where the machine is at fault: it may be unable to keep a decision too."""
        try:
            early = foreseen(self.spec, self.how.store, self.ready)
            if early is not None:
                return self._end(*early)
            return self._check() or self._run(self.ready.pipeline) or self._judge()
        except EnvironmentProblem:
            raise
        except FabloomError as error:
            return self._end("Failed", str(error), error.exit_code)

    def _check(self) -> Night | None:
        """Look at the training set before anything is trained on it."""
        check, ready, store = self.spec.check, self.ready, self.how.store
        if check is None:
            return None
        last = accepted(line.latest(store, self.spec.line))
        key = ready.plan.step(check.step).key
        if last.get("key") == key and last.get("test") == ready.test:  # looked at before: the bounds alone may be others
            data, problems = last, objections(check, {**last, "known": None}, {})
        else:
            ended = self._run(part(ready.pipeline, check.step, ready.tested))
            if ended is not None:
                return ended
            data = look(store, key, test=ready.test, last=str(last.get("key", "")))
            problems = objections(check, data, last)
        self.record = replace(self.record, data={**data, "accepted": not problems})
        return self._end("Rejected", f"the training set of step '{check.step}': {'; '.join(problems)}") if problems else None

    def _run(self, pipeline: Pipeline) -> Night | None:
        """Run what is missing; the night's end where that did not go well."""
        how, options = self.how, self.spec.options
        made = () if self.run is None else [step.name for step in self.run.steps]
        redo = [name for name in how.redo if name in pipeline.steps and name not in made]
        self.run = api.run(
            pipeline, store=how.store, registry=how.registry, engine=how.engine, runner=how.runner, device=how.device or options.device,
            checkpoint_seconds=options.checkpoint_seconds, redo=redo, emit=how.emit, stop=how.stop, check=False,
        )  # fmt: skip
        bad = next((step for step in self.run.steps if step.status == "failed"), None)
        if bad is not None:
            told = bad.error if bad.name in bad.error else f"step '{bad.name}': {bad.error}"
            return self._end("Stopped" if bad.exit_code == Interrupted.exit_code else "Failed", told, self.run.exit_code)
        moved = [step.name for step in self.run.plan.steps if step.key != self.ready.plan.step(step.name).key]
        if moved:
            told = f"the files that step '{moved[0]}' reads changed while the night began; the next one takes them as they are then"
            return self._end("Failed", told, DataError.exit_code)
        return None

    def _judge(self) -> Night:
        """Hold challenger against champion, and promote where the gate says so."""
        assert self.run is not None
        spec, ready = self.spec, self.ready
        report: Any = self.run[ready.evaluation]
        metrics, ports = report.described, spec.evaluate.ports
        if ready.champion:
            verdicts = judge(spec.gate, metrics, ports.challenger)
        else:
            verdicts = judge_first(spec.first, metrics, ports.challenger) if isinstance(spec.first, Mapping) else []
        self.record = replace(
            self.record,
            evaluation=report.key,
            gate=[one.as_dict() for one in verdicts],
            sources=sources_of(metrics),
            headline=headline_of(metrics, ports.challenger, ports.champion, spec.gate[0].metric),
        )
        if not all(one.passed for one in verdicts):
            return self._end("Rejected", "; ".join(one.why for one in verdicts if not one.passed))
        return self._promote("; ".join(one.why for one in verdicts) or "the line had no champion")

    def _promote(self, reason: str) -> Night:
        """Compare and set. The record is there before the ref moves, so that the ref's log can name it."""
        store, spec, ready = self.how.store, self.spec, self.ready
        if ready.challenger in line.held_back(store, spec.champion):
            return self._end("Held", "the challenger was held back while the night ran")
        promoted = self._ended("Promoted", reason)
        key = line.keep(store, promoted)
        why = f"{line.DECIDED}{key}: {promoted.reason}"
        try:
            store.refs.set(spec.champion, ready.challenger, expected=ready.champion, why=why)
        except RefMoved as error:
            if line.pointed(store, spec.champion) == ready.challenger:
                same = f"the challenger {ready.challenger[:12]} was made the champion while this night ran, by another night or by hand"
                return self._end("NoChange", f"{same}; nothing is left to change. The gate had passed here too: {reason}")
            return self._end("Superseded", f"{error}. The gate had passed: {reason}")
        return self._noted(promoted, key)

    def _end(self, outcome: Outcome, reason: str, exit_code: int = 0) -> Night:
        """Keep the decision and make it the newest of its line."""
        record = self._ended(outcome, reason)
        return self._noted(record, line.keep(self.how.store, record), exit_code)

    def _ended(self, outcome: Outcome, reason: str) -> Record:
        """The record with its end: the reason in one line of at most LONGEST characters, without secrets."""
        reason = " ".join(without_secrets(reason).split())
        return replace(self.record, outcome=outcome, reason=reason if len(reason) <= LONGEST else f"{reason[: LONGEST - 1]}…")

    def _noted(self, record: Record, key: str, exit_code: int = 0) -> Night:
        """The night, its decision the newest of its line."""
        line.note_down(self.how.store, self.spec.line, key, f"{record.outcome}: {record.reason}")
        return Night(record, key, self.run, exit_code)


def if_new(spec: Spec, how: How, now: float) -> Night:
    """A night where what is watched has changed and come to rest; else NoChange or Skipped, of which nothing is kept."""
    watch, state = watching.remembered(how.store, spec.line), watching.state_of(spec, how.registry, how.store, how.seed)
    watch, sight = watching.look(watch, state, now, spec.settle)
    watching.remember(how.store, spec.line, watch)
    if sight == "unchanged":
        return Night(Record(spec.line, "NoChange", "nothing that is watched has changed since the last night", how.note, spec.pipeline))
    if sight == "settling":
        reason = f"what is watched changed in the last {spec.settle:g} s; a night begins once it has been at rest for as long"
        return Night(Record(spec.line, "Skipped", reason, how.note, spec.pipeline))
    done = retrain(spec, how)
    if done.outcome not in UNTAKEN:
        watching.remember(how.store, spec.line, watching.taken(watch, state))
    return done


def started(spec: Spec, ready: Prepared, note: str = "") -> Record:
    """What is known of a night before it runs; its outcome stands for none yet."""
    return Record(
        spec.line, "Failed", "it did not come to an end", note, ready.pipeline.name, ready.challenger, ready.champion, ready.test,
        frozen=dict(sorted(ready.frozen.items())),
    )  # fmt: skip


def foreseen(spec: Spec, store: Store, ready: Prepared) -> tuple[Outcome, str] | None:
    """How a night ends whose end is known before anything runs; None where it must run."""
    if ready.challenger == ready.champion:
        return "NoChange", f"the challenger {ready.challenger[:12]} is the champion: data, code and settings are those that made it"
    if ready.challenger in line.held_back(store, spec.champion):
        entry = next(entry for entry in reversed(store.refs.log(spec.champion)) if (entry.action, entry.key) == ("hold", ready.challenger))
        why = f": {entry.why}" if entry.why else ""
        return "Held", (
            f"the challenger {ready.challenger[:12]} is held back since {entry.at}{why}. "
            f"New data make another one; `fabloom ref unhold {spec.champion} {ready.challenger[:12]}` lets this one be promoted"
        )
    if not ready.champion and spec.first == "reject":
        return "Rejected", f"the line has no champion, and `first: reject` makes none; set one with `fabloom ref set {spec.champion} KEY`"
    return None


def rehearse(spec: Spec, how: How) -> dict[str, Any]:
    """What a night would do, by the plan alone: nothing runs, nothing is written, the line is not held.

    `outcome` is None where the gate would decide; `steps` says run or reuse, and "not run" of all where the outcome is known.
    """
    ready = _ready(spec, how)
    outcome, reason = foreseen(spec, how.store, ready) or (None, "")
    steps = {step.name: "reuse" if how.store.has(step.key) and step.name not in how.redo else "run" for step in ready.plan.steps}
    if outcome is not None:
        steps = dict.fromkeys(steps, "not run")
    keys = {"challenger": ready.challenger, "champion": ready.champion, "test": ready.test}
    return {"line": spec.line, "outcome": outcome, "reason": reason, **keys, "frozen": dict(ready.frozen), "steps": steps}
