"""Where the kit works on one method: a store of its own, tiny inputs, and one uninterrupted run of each task to compare with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from fabloom.kinds import Artifact
from fabloom.method import Context, Method, PlannedStep, Port, read_tasks
from fabloom.params import Source
from fabloom.planning.keys import step_seed
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import plan_task, write_artifact
from fabloom.testing.tiny import TINY

from .sandbox import Outcome, Run, Sandbox
from .server import find_method

Write = Callable[[Context], Artifact]
Input = str | Write | Sequence[str | Write] | None
PRODUCERS = {"Model": ("train", "distill"), "OfflineData": ("record",)}
HASH_SEEDS = (42, 7)


def breach(where: str, what: str, contract: str, mend: str) -> None:
    """Fail the test with what was found, what the contract wants, and how to mend it."""
    pytest.fail(f"{where}: {what}\n  the contract: {contract}\n  mend it: {mend}", pytrace=False)


def listed(lines: Sequence[str]) -> str:
    """One finding as it is, several on lines of their own."""
    return lines[0] if len(lines) == 1 else "".join(f"\n    {line}" for line in lines)


class Bench:
    """Runs the tasks of one method. `params(task, folder)` and `inputs` come from the author's test class."""

    def __init__(
        self,
        method: type[Method],
        params: Callable[[str, Path], Mapping[str, Any]],
        inputs: Mapping[str, Mapping[str, Input]],
        seconds: float,
        folder: Path,
    ) -> None:
        self.method, self.seconds, self.folder = method, seconds, folder
        self.specs = read_tasks(method)
        self.store = LocalStore(folder / "store")
        self._params, self._inputs = params, inputs
        self._references: dict[str, Outcome] = {}
        self._seconds: dict[str, tuple[Outcome, list[str]]] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self._open: list[str] = []
        self._libraries: list[str] = []  # what runs imported of others' packages: the next fork need not wait for it
        self._runs = 0
        self._place = f"{method.__module__}:{method.__qualname__}"
        self._check_place()

    def _check_place(self) -> None:
        try:
            found: object = find_method(self._place)
        except (ImportError, AttributeError) as error:
            found = error
        if found is not self.method:
            breach(
                self.method.__name__,
                f"cannot be imported as {self._place} ({found})",
                "steps run in processes of their own, which import the method by module and name",
                "define the class at the top level of a module of your package, not in the test file, and install the package",
            )

    def name(self, task: str) -> str:
        """`<method>.<task>`."""
        return self.specs[task].full_name

    def step(self, task: str, seed: int = 0) -> PlannedStep:
        """The task with the author's parameters and its inputs, which are made first."""
        params = self._params(task, self.folder / "files" / task)
        return plan_task(self.store, self.method, task, params, seed, self._keys(task))

    def reference(self, task: str) -> Outcome:
        """The uninterrupted run; the same each time it is asked for. Its artifact stays in the store."""
        if task not in self._references:
            step = self.step(task)
            self._references[task] = self.run(task, sparse=True)
            if self.store.has(step.key):
                self._manifests[task] = self.store.manifest(step.key)
        return self._references[task]

    def again(self, task: str) -> tuple[Outcome, list[str]]:
        """A second run with another hash seed and a checkpoint at every step, and the files in which it differs; made once."""
        if task not in self._seconds:
            self.committed(task)
            with self.anew(task):
                outcome = self.run(task, hash_seed=HASH_SEEDS[1])
                self._seconds[task] = outcome, self.differing(task)
        return self._seconds[task]

    def committed(self, task: str, *, tell: bool = False) -> Artifact:
        """What the uninterrupted run committed; fails the test where it did not, and with `tell` says all about it."""
        outcome = self.reference(task)
        key = self.step(task).key
        if not self.store.has(key):
            if not tell:
                why = told(outcome).partition("\n")[0]
                pytest.fail(f"{self.name(task)} did not come to its end ({why}); test_output[{task}] tells more", pytrace=False)
            breach(
                self.name(task),
                f"did not come to its end: {told(outcome)}",
                f"with the parameters of the test class, a task ends by returning the {self.specs[task].output.kind} that it wrote",
                "see the end of its log above; tiny parameters go into `params`, other inputs into `inputs` of the test class",
            )
        return self.store.get(key)

    @contextmanager
    def anew(self, task: str) -> Iterator[None]:
        """The store as if the task had never run; afterwards it holds the uninterrupted run's artifact again."""
        key = self.step(task).key
        folder, kept = self.store.folder(key), self.folder / "kept" / key
        kept.parent.mkdir(exist_ok=True)
        folder.rename(kept)
        self._clear(key)
        try:
            yield
        finally:
            self.store.set_aside(key)
            self._clear(key)
            kept.rename(folder)

    def _clear(self, key: str) -> None:
        for room in (self.store.work(key), self.store.root / "staging" / key):
            shutil.rmtree(room, ignore_errors=True)

    def run(self, task: str, *, hash_seed: int = HASH_SEEDS[0], seed: int = 0, **how: Any) -> Outcome:
        """Run the task in the sandbox; `how` are fields of `Run`."""
        step = self.step(task, seed)
        self._runs += 1
        wanted = Run(
            method=self._place,
            task=task,
            params=plain(step.params),
            inputs=dict(step.inputs),
            seed=seed,
            store=str(self.store.root),
            folder=str(self.folder / f"run-{self._runs:03d}"),
            seconds=self.seconds,
            preload=(*self.method.preload, *self._libraries),
            **how,
        )
        outcome = Sandbox.shared(hash_seed).run(wanted)
        self._libraries = sorted({*self._libraries, *outcome.libraries})
        return outcome

    def differing(self, task: str) -> list[str]:
        """Files whose content differs between the uninterrupted run and what is in the store now; none where nothing is."""
        key = self.step(task).key
        if not self.store.has(key):
            return []
        first, now = self._manifests[task]["files"], self.store.manifest(key)["files"]
        return sorted(name for name in {*first, *now} if first.get(name) != now.get(name))

    def _keys(self, task: str) -> dict[str, str | list[str]]:
        given = self._inputs.get(task, {})
        unknown = sorted(set(given) - set(self.specs[task].inputs))
        if unknown:
            pytest.fail(f"inputs[{task!r}] names {unknown}; {self.name(task)} has {sorted(self.specs[task].inputs)}", pytrace=False)
        keys: dict[str, str | list[str]] = {}
        for port, wanted in self.specs[task].inputs.items():
            source = given[port] if port in given else None if wanted.optional else self._producer(task, wanted)
            if isinstance(source, list | tuple):
                keys[port] = [self._make(task, port, one, place) for place, one in enumerate(source)]
            elif source is not None:
                key = self._make(task, port, source, 0)  # type: ignore[arg-type]
                keys[port] = [key] if wanted.many else key
        return keys

    def _producer(self, task: str, port: Port) -> str | Write:
        """A task of this method that gives the kind (train for a Model), else the tiny artifact of the kind."""
        kind = port.kind.kind
        for name in PRODUCERS.get(kind, ()):
            if name != task and name in self.specs and self.specs[name].output is port.kind and name not in self._open:
                return name
        if kind in TINY:
            return TINY[kind]
        others = [n for n, spec in self.specs.items() if spec.output is port.kind and n != task and n not in self._open]
        if not others:
            pytest.fail(
                f"{self.name(task)} wants a {kind}: say in `inputs` which task makes one, or a function that writes one", pytrace=False
            )
        return others[0]

    def _make(self, task: str, port: str, source: str | Write, place: int) -> str:
        if not isinstance(source, str):  # each port has other images, so that nothing is tested on what it learned
            return write_artifact(self.store, source, seed=step_seed(place, 0, f"{task}.{port}") % 2**32).key
        other, _, shared = source.partition(".")
        if shared and other in self.specs and shared in self.specs[other].inputs:  # the very artifact that the other task was given
            return str(self._keys(other)[shared])
        if source not in self.specs or source in self._open:
            pytest.fail(f"inputs[{task!r}][{port!r}] = {source!r}: no other task of {self.method.name} has that name", pytrace=False)
        self._open.append(task)
        try:
            return self.committed(source).key
        finally:
            self._open.pop()


def plain(value: Any) -> Any:
    """Parameters as JSON; a file is named by its absolute path, because runs have a current folder of their own."""
    if isinstance(value, Source):
        return str(value.path.absolute())
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return to_jsonable_python(value)


def told(outcome: Outcome) -> str:
    """Why a run did not commit, with the end of what it printed."""
    tail = "\n".join(outcome.log.strip().splitlines()[-12:])
    if outcome.forbidden:
        why = "it was refused: " + "; ".join(f"{what} ({detail})" for what, detail in outcome.forbidden)
    elif outcome.overdue:
        why = "it took longer than `seconds` of the test class and was killed"
    elif outcome.error:
        why = outcome.error
    else:
        why = f"its process ended with status {outcome.status}"
    return f"{why}\n{tail}".strip()
