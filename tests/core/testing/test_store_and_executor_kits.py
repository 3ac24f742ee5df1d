"""The kits of stores and executors find what they are for: a right one with one thing made wrong fails at its own check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import FabloomError
from fabloom.kinds.store import RefEntry, Store
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit
from fabloom.registry import Registry
from fabloom.running.executors import Executor, InlineExecutor
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.refs import LocalRefs
from fabloom.testing import ExecutorConformance, MemoryStore, StoreConformance


class SeenEarly(MemoryStore):
    def has(self, key: str) -> bool:
        return super().has(key) or key in self._locks


class LastWins(MemoryStore):
    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        self.committed.pop(staged.key, None)
        return super().commit(staged, facts)


class NeverReplaces(MemoryStore):
    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        return super().commit(staged, facts)


class OneDigest(MemoryStore):
    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        manifest = super().commit(staged, facts, replace=replace)
        self.committed[staged.key][0]["digest"] = self.committed[staged.key][1].digest = "d" * 40
        return {**manifest, "digest": "d" * 40}


class NoLock(MemoryStore):
    @contextmanager
    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        yield True


class OwnManifest(MemoryStore):
    def manifest(self, key: str) -> dict[str, Any]:
        super().manifest(key)
        return self.committed[key][0]


class ForgetfulRefs(LocalRefs):
    def set(self, name: str, key: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        return super().set(name, key)


class RacingRefs(LocalRefs):
    @contextmanager
    def _writing(self, name: str) -> Iterator[list[RefEntry]]:
        self.root.mkdir(parents=True, exist_ok=True)
        yield self.read(name) if self._file(name).is_file() else []


class Forgetful(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.refs = ForgetfulRefs(self.refs.root)  # type: ignore[attr-defined]


class Writes(MemoryStore):
    def writable(self) -> None:
        pass


WRONG_STORES: dict[str, tuple[type[MemoryStore], str]] = {
    "visible before the commit": (SeenEarly, "test_before_the_commit_nothing_is_seen"),
    "a later commit wins": (LastWins, "test_the_first_commit_of_a_key_stays"),
    "a replacing commit is dropped": (NeverReplaces, "test_a_replacing_commit_takes_the_place_of_the_first_which_stays_until_then"),
    "a digest of nothing": (OneDigest, "test_equal_content_has_one_digest_and_other_content_another"),
    "everybody holds the key": (NoLock, "test_a_key_has_one_holder_and_a_wait_can_be_ended"),
    "hands out its own manifest": (OwnManifest, "test_what_is_handed_out_cannot_be_changed_through_it"),
    "no compare-and-set, no reasons": (Forgetful, "test_a_promotion_against_an_old_state_fails"),
    "writes though read-only": (Writes, "test_a_read_only_door_reads_everything_and_changes_nothing"),
}


def ask(kit: StoreConformance, check: str, place: Path) -> None:
    function: Any = getattr(kit, check)
    arguments: dict[str, Any] = {"fabloom_store": kit.open(place)}
    if "place" in function.__code__.co_varnames[: function.__code__.co_argcount]:
        arguments["place"] = place
    function(**arguments)


def kit_of(store: MemoryStore) -> StoreConformance:
    class Kit(StoreConformance):
        def open(self, place: Path, *, read_only: bool = False) -> Store:
            return store.opened_read_only() if read_only else store

    return Kit()


@pytest.mark.parametrize("how", WRONG_STORES)
def test_a_wrong_store_fails_at_its_own_check(how: str, tmp_path: Path) -> None:
    wrong, check = WRONG_STORES[how]
    ask(kit_of(MemoryStore()), check, tmp_path)
    with pytest.raises((AssertionError, pytest.fail.Exception, FabloomError)):
        ask(kit_of(wrong()), check, tmp_path)


def test_refs_without_a_lock_lose_promotions(tmp_path: Path) -> None:
    class Kit(StoreConformance):
        def open(self, place: Path, *, read_only: bool = False) -> Store:
            store = LocalStore(place)
            store.refs = RacingRefs(store.refs.root)  # type: ignore[attr-defined]
            return store

    lost = 0
    for attempt in range(5):  # a race need not be lost every time
        try:
            ask(Kit(), "test_many_writers_lose_nothing", tmp_path / str(attempt))
        except (AssertionError, FabloomError, OSError):
            lost += 1
    assert lost


class Raises(InlineExecutor):
    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        done = super().submit(request, emit)
        if done.result().status == "failed":
            raise RuntimeError(done.result().error)
        return done


class Silent(InlineExecutor):
    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        return super().submit(request, lambda event: None)


class Stubborn(InlineExecutor):
    def stop(self) -> None:
        self.asked = True
        if self.asked:
            raise AssertionError("it would go on")  # instead of simulating 100,000 images


class Trusting(InlineExecutor):
    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        from dataclasses import replace

        from fabloom.running.requests import request_of

        plan_side = request_of(self._registry and _planned(request, self._registry), self._store, request.options)
        return super().submit(replace(plan_side, key=request.key, preimage=request.preimage), emit)


def _planned(request: StepRequest, registry: Registry) -> Any:
    from fabloom.method import PlannedStep

    spec = registry.task(request.task)
    params = spec.params.model_validate(dict(request.params))
    return PlannedStep(request.name, spec, params, request.inputs, (), request.seed, request.key, request.preimage)


WRONG_EXECUTORS: dict[str, tuple[type[InlineExecutor], str, dict[str, Any]]] = {
    "raises what the result should say": (Raises, "test_a_step_that_fails_gives_a_result_that_says_why", {}),
    "swallows events": (Silent, "test_a_step_runs_to_its_commit_and_equals_one_in_this_process", {}),
    "does not stop": (Stubborn, "test_a_stop_ends_the_running_step_and_starts_no_other", {}),
    "runs other code than was planned": (Trusting, "test_other_code_than_planned_is_refused", {"change": "version"}),
}


@pytest.mark.parametrize("how", WRONG_EXECUTORS)
def test_a_wrong_executor_fails_at_its_own_check(how: str, tmp_path: Path) -> None:
    wrong, check, more = WRONG_EXECUTORS[how]
    registry = Registry.load()
    for made, fails in ((InlineExecutor, False), (wrong, True)):
        store = LocalStore(tmp_path / made.__name__)

        class Kit(ExecutorConformance):
            def make(self, registry: Registry, store: Store, made: type[InlineExecutor] = made) -> Executor:
                return made(registry, store)

        kit = Kit()
        function: Any = getattr(kit, check)
        wanted = function.__code__.co_varnames[: function.__code__.co_argcount]
        (tmp_path / made.__name__ / "files").mkdir(parents=True, exist_ok=True)
        given = {"executor": kit.make(registry, store), "fabloom_registry": registry, "fabloom_store": store}
        given["tmp_path"] = tmp_path / made.__name__ / "files"
        arguments = {name: value for name, value in given.items() if name in wanted} | more
        if fails:
            with pytest.raises((AssertionError, RuntimeError)):
                function(**arguments)
        else:
            function(**arguments)
