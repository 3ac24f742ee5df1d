"""From a plan to results: the part that every engine shares, and the inline engine, which needs nothing else."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from fabloom.errors import FabloomError, Interrupted
from fabloom.kinds.store import Store
from fabloom.method import Method, Options, PlannedStep, StepResult
from fabloom.method.blame import own_fault
from fabloom.planning.plan import Plan
from fabloom.progress import Emit, Event, Messenger, silent
from fabloom.registry import Registry

from .arithmetic import warn
from .course import Course
from .execute import failed, note, source_of, waiting
from .executors import Executor, InlineExecutor
from .parts import Crew, Tally, note_parts, parts_of
from .requests import request_of
from .retry import advance, kept

log = logging.getLogger("fabloom")

STOP_PERIOD = 0.2
"""Seconds between two looks whether the run is to stop."""


@dataclass
class Engine:
    """Performs steps against a store, by an executor; without one, in this process."""

    registry: Registry
    store: Store
    options: Options = field(default_factory=Options)
    emit: Emit = silent
    stop: Callable[[], bool] = lambda: False
    executor: Executor | None = None
    keep_going: bool = False
    """After a failure, steps that do not need what failed run all the same."""
    crew: Crew = field(default_factory=Crew)
    """How many steps, or parts of one, run at the same time."""

    def emit_for(self, step: PlannedStep) -> Emit:
        """Where events of `step` go; what it logs also to the observers that want it."""

        def send(event: Event) -> None:
            self.emit({"step": step.name, **event})
            if event["event"] == "scalars":
                self._observe("fabloom_step_logged", step=step, loop=event["loop"], at=event["at"], values=event["values"])

        return send

    def perform(self, step: PlannedStep) -> StepResult:
        """Run or reuse one step and tell the observers. Never raises for a step's failure: the result says it."""
        self._observe("fabloom_step_started", step=step)
        try:
            if self.store.has(step.key) and step.name not in self.options.redo:
                result = StepResult.committed(step, "reused", self.store.manifest(step.key))
            elif self.stop():
                raise Interrupted(f"step '{step.name}' was not begun: a stop was asked for. Run the same command again to go on.")
            else:
                result = self._execute(step)
        except (FabloomError, KeyboardInterrupt, OSError) as error:
            result = failed(step, error)
        self.emit({"event": "finished", "step": step.name, "result": result.as_dict()})
        self._observe("fabloom_step_finished", step=step, result=result, manifest=self._manifest(result))
        return result

    def _execute(self, step: PlannedStep) -> StepResult:
        """Run the step, in parts where its task can be cut and there is more than one worker."""
        emit = self.emit_for(step)
        parts = parts_of(step, self.store, self.crew.workers)
        if not parts:
            return self._attempt(step, emit, self.options)
        began = time.monotonic()
        failure = self._make(parts, step, emit)
        if failure is not None:
            return replace(failure, key=step.key)
        result = self._attempt(step, emit, replace(self.options, parts=tuple(part.key for part in parts)))
        return replace(result, seconds=time.monotonic() - began) if result.status == "ran" else result

    def _make(self, parts: Sequence[PlannedStep], step: PlannedStep, emit: Emit) -> StepResult | None:
        """Have the workers make the parts; the first failure, where there is one. After one no part begins, and those that run end.

        The step is held meanwhile: who wants the same waits, and `gc` leaves what it needs.
        """
        with self.store.lock(step.key, waiting(emit), self.stop) as held:
            if not held:
                raise Interrupted("stopped while waiting for another process")
            if self.store.has(step.key) and step.name not in self.options.redo:
                return None  # made meanwhile; the join finds it
            note_parts(parts, step, self.store)
            note(step, self.store)
            tally, failures = Tally(emit, parts), list[StepResult]()
            options = replace(self.options, share=min(len(parts), self.crew.workers))
            emit({"event": "log", "message": f"in {len(parts)} parts on {options.share} worker{'s' * (options.share > 1)}"})

            def make(index: int) -> None:
                if not failures:
                    result = self._part(parts[index], tally.of(index), options)
                    if result.status == "failed":
                        failures.append(result)
                    else:
                        tally.finish(index)

            if self.crew.workers == 1:
                for index in range(len(parts)):
                    make(index)
            else:
                with ThreadPoolExecutor(self.crew.workers, "fabloom-part") as pool:
                    list(pool.map(make, range(len(parts))))
            if not failures:
                return None
            own = (one for one in failures if one.exit_code != Interrupted.exit_code)
            failure = next(own, replace(failures[0], error=f"stopped after {tally.told()}. Run the same command again to go on."))
            note(step, self.store, ended="stopped" if failure.outcome == "stopped" else "failed", why=failure.error[:1000])
            return failure

    def _part(self, part: PlannedStep, emit: Emit, options: Options) -> StepResult:
        """A part that is there, made by the code of today, or make it."""
        try:
            there = part.name not in options.redo and self.store.has(part.key)
            if there and self.store.manifest(part.key)["source"] == source_of(part.spec.method):
                return StepResult.committed(part, "reused", self.store.manifest(part.key))
            return self._attempt(part, emit, replace(options, redo=(*options.redo, part.name)) if there else options)
        except (FabloomError, OSError) as error:
            return failed(part, error)

    def _attempt(self, step: PlannedStep, emit: Emit, options: Options) -> StepResult:
        """Run the step, and once more where a signal ended its process after it had come further."""
        work = self.store.work(step.key)
        before = kept(work)
        result = self._once(step, emit, options)
        further = advance(before, kept(work)) if result.signal and not self.stop() else ""
        if not further:
            return result
        why = f"its process was killed by {result.signal}. It is begun again, once, and goes on from {further}"
        emit({"event": "log", "message": why})
        return self._once(step, emit, options)

    def _once(self, step: PlannedStep, emit: Emit, options: Options) -> StepResult:
        """Have the executor run the step, and pass a wish to stop on to it while it does."""
        with self.crew.worker(self.stop, STOP_PERIOD):
            executor = self.executor or InlineExecutor(self.registry, self.store, self.stop)
            future = executor.submit(request_of(step, self.store, options), emit)
            while True:
                try:
                    return future.result(timeout=STOP_PERIOD)
                except TimeoutError:
                    if self.stop():
                        executor.stop()

    def _manifest(self, result: StepResult) -> dict[str, Any] | None:
        """Of what the step committed, where an observer wants it; None where nothing is there."""
        asked = any("manifest" in one.argnames for one in self.registry.hooks.hook.fabloom_step_finished.get_hookimpls())
        if asked and result.digest:
            with contextlib.suppress(FabloomError):  # removed meanwhile, by gc
                return self.store.manifest(result.key)
        return None

    def _observe(self, hook: str, **arguments: Any) -> None:
        """Call each observer in its own try, with copies: it can neither alter what was observed nor stop the run."""
        for implementation in getattr(self.registry.hooks.hook, hook).get_hookimpls():
            try:
                implementation.function(**{name: _copied(arguments[name]) for name in implementation.argnames})
            except (Exception, SystemExit):
                log.exception("observer %s of plugin %s failed", hook, implementation.plugin_name)


def _copied(value: Any) -> Any:
    """Nothing of the copy is shared but the classes of the method."""
    if not isinstance(value, PlannedStep):
        return copy.deepcopy(value)
    params = value.params.model_copy(deep=True)
    return replace(value, params=params, inputs=copy.deepcopy(value.inputs), preimage=copy.deepcopy(value.preimage))


def skipped(step: PlannedStep, why: str) -> StepResult:
    """The result of a step that could not be started."""
    return StepResult.of(step, "skipped", error=why)


def prepare(plan: Plan, engine: Engine) -> None:
    """Have each method fetch or refuse what its steps need from outside the store. Raises EnvironmentProblem before anything ran."""
    steps = [step for step in plan.steps if step.name in engine.options.redo or not engine.store.has(step.key)]
    waiting: dict[type[Method], list[PlannedStep]] = {}
    for step in steps:
        waiting.setdefault(step.spec.method, []).append(step)
    warn(steps, engine.options.device, engine.emit)
    for method, steps in waiting.items():
        with own_fault(method, f"steps.{steps[0].name}", "preparing"):
            method.prepare(steps, Messenger(engine.emit_for(steps[0]), engine.stop))


def run_inline(plan: Plan, engine: Engine) -> list[StepResult]:
    """Run the steps one after another in this process; after a failure the rest is skipped, or with `keep_going` what needs it."""
    course = Course(keep_going=engine.keep_going)
    for step in plan.steps:
        why = course.hindrance(step)
        course.add(skipped(step, why) if why else engine.perform(step))
    return list(course.results.values())


def exit_code(results: Sequence[StepResult]) -> int:
    """0 if every step ran or was reused, else the code of the first failure."""
    return next((r.exit_code or 1 for r in results if r.status == "failed"), 0)
