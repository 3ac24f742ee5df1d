"""What a method promises before it runs: its schema, imports, source, lock, what it prepares, and that its parameters are JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fabloom.errors import FabloomError
from fabloom.hashing import canonical_json
from fabloom.method import Method, read_tasks
from fabloom.method.blame import located, method_module
from fabloom.params import Params
from fabloom.planning.keys import canonical_params
from fabloom.planning.sources import SourceCache
from fabloom.progress import Messenger
from fabloom.registry import Registry, check_api

from . import lock, source
from .bench import Bench, Input, breach, listed


class DescriptionConformance:
    """The part of `MethodConformance` that runs no task, and what its author says of the method."""

    method: ClassVar[type[Method]]
    params: ClassVar[Mapping[str, Mapping[str, Any] | Params]] = {}
    inputs: ClassVar[Mapping[str, Mapping[str, Input]]] = {}
    seconds: ClassVar[float] = 120.0
    """A single run of a task may take so long."""
    also: ClassVar[tuple[str, ...]] = ()
    """Modules that imports within the method's distribution do not lead to and whose change alters results; the lock covers them too."""
    lock_file: ClassVar[Path | None] = None
    """Where the lock is; `fabloom.lock` beside the test file where left out."""

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        """Parameters of `task`. Override it where one names files: write them into `folder`, which may be there already."""
        given = self.params.get(task, {})
        return given if isinstance(given, Mapping) else given.model_dump()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each task."""
        if "task" in metafunc.fixturenames:
            try:
                names = sorted(read_tasks(self.method))
            except (TypeError, ValueError):  # test_schema tells
                names = []
            metafunc.parametrize("task", names)

    def test_schema(self) -> None:
        """Name, contract version and signatures are as `fabloom` wants them at registration."""
        name = getattr(self.method, "name", None)
        if not isinstance(name, str) or not name or "." in name:
            breach(self.method.__name__, f"its name is {name!r}", "a method has a name, without a dot", 'write  name = "my-method"')
        wrong = _registration(self.method)
        if wrong:
            breach(str(name), wrong, "what is registered has a contract version, signatures and a name that fabloom can use",
                   "change what the message names; docs: 'Hooks', 'Tasks' and 'Stability'")  # fmt: skip
        for spec in read_tasks(self.method).values():
            canonical_json(json.loads(json.dumps(spec.params.model_json_schema())))

    def test_importing_it_is_light(self) -> None:
        """`fabloom tasks`, `plan` and `--help` import every method: none of torch, Prefect, diffusers, zarr at module level."""
        loaded, lines = source.heavy_imports(self.method.__module__, (method_module(self.method),))
        if loaded:
            breach(
                self.method.name,
                f"importing {self.method.__module__} loads {', '.join(loaded)}{f': {listed(lines)}' if lines else ''}",
                "a method's module imports none of torch, prefect, diffusers, zarr at module level: every `fabloom --help` pays for it",
                "move those imports into the task's function, or into a sibling module that the function imports",
            )

    def test_source_has_no_pickle(self) -> None:
        """No pickler is imported, no weights_only=False, no allow_pickle=True."""
        found = source.pickling((method_module(self.method),))
        if found:
            breach(
                self.method.name,
                listed(found),
                "nothing is pickled or unpickled: loading a pickle runs whatever code it holds",
                "keep tensors with Model.write, numbers in attributes; read foreign weights with safetensors or weights_only=True",
            )

    def test_lock(self, request: pytest.FixtureRequest) -> None:
        """A changed source has a changed version, or somebody has said that results are the same."""
        file = self.lock_file or Path(inspect.getfile(type(self))).with_name(lock.NAME)
        found = lock.Locked.of(self.method, (method_module(self.method), *self.also))
        if request.config.getoption("--fabloom-lock"):
            lock.write(file, self.method.name, found)
            return
        known = lock.read(file).get(self.method.name)
        wrong = lock.disagreement(known, found)
        if wrong and known is None:
            breach(self.method.name, f"{wrong} ({file.name})", "the lock says what a task's version was when the source looked like this",
                   "run `pytest --fabloom-lock` once, and commit the file beside the tests")  # fmt: skip
        if wrong:
            breach(
                self.method.name,
                f"{wrong} ({file.name})",
                "a task's version is in every key: it rises when equal inputs would give another output, or stores hold stale results",
                "raise @task(version=…) of the tasks whose output changes; then, or where no output changes, run `pytest --fabloom-lock`",
            )

    def test_prepare(self, fabloom_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is done before a run raises nothing but errors that tell a user what to do."""
        monkeypatch.setenv("FABLOOM_OFFLINE", "1")
        steps = [fabloom_bench.step(task) for task in sorted(fabloom_bench.specs)]
        try:
            self.method.prepare(steps, Messenger())
        except FabloomError:
            return  # what it needs is not on this machine
        except Exception as error:
            breach(
                self.method.name,
                f"prepare raises {located(error, self.method)}",
                "before a run, a method fetches what its steps need or refuses with EnvironmentProblem",
                "raise EnvironmentProblem with what is missing and where to put it; a Messenger has log(message) and progress(total)",
            )

    def test_params_round_trip(self, task: str, tmp_path: Path) -> None:
        """Parameters survive JSON: workers, deployments and manifests get them that way."""
        spec = read_tasks(self.method)[task]
        params = spec.params.model_validate(self.task_params(task, tmp_path))
        text = params.model_dump_json()
        wrong, back, keys = "", params, [b"", b""]
        try:
            back = spec.params.model_validate_json(text)
            keys = [canonical_json(canonical_params(p, SourceCache())) for p in (params, back)]
        except (ValueError, TypeError) as error:
            wrong = str(error)
        if wrong:
            breach(
                spec.full_name, f"{spec.params.__name__} {text} cannot be read back: {wrong}", ROUND_TRIP, "use plain pydantic types only"
            )
        if back != params or keys[0] != keys[1]:
            breach(spec.full_name, f"{spec.params.__name__} {text} comes back as {back.model_dump_json()}", ROUND_TRIP, ROUND_TRIP_FIX)


def _registration(method: type[Method]) -> str:
    """Why fabloom would not register the method, or registers another of its name; '' where all is well."""
    try:
        check_api(method.api)
        read_tasks(method)
    except (TypeError, ValueError) as error:
        return str(error)
    registry = Registry.load()
    other = registry.methods.get(method.name)
    if other is not None and other is not method:
        return f"the name '{method.name}' is taken by {registry.origins[method.name]}"
    return _unlike(method, registry)


def _unlike(method: type[Method], registry: Registry) -> str:
    """How a declared signature differs from that of another method with the same tag; '' where all agree."""
    for spec in read_tasks(method).values():
        same = [o for o in registry.tasks.values() if spec.signature and (o.name, o.signature) == (spec.name, spec.signature)]
        for other in same:
            if other.method.name != method.name and (other.signed, other.output) != (spec.signed, spec.output):
                mine, theirs = (f"{one.full_name} has {one.signed} -> {one.output.kind}" for one in (spec, other))
                return f"{mine}, but {theirs}: one tag, one set of ports; take another tag or the same ports"
    return ""


ROUND_TRIP = "parameters are JSON and back the same: workers, deployments, keys and manifests rely on it"
ROUND_TRIP_FIX = "make validators idempotent, serialise every field under its own name, and use plain pydantic types"
