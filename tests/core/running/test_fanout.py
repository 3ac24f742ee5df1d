"""One step on several workers: the same bytes under the same key, whatever the number; failures, deaths and stops of a part."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, OfflineData
from fabloom.method import Context, Fanout, Method, Options, StepResult, read_tasks, task
from fabloom.params import Params
from fabloom.planning.keys import rows_of, whole_of
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.running.engine import Engine
from fabloom.running.executors.processes import ProcessExecutor
from fabloom.running.parts import Crew, parts_of
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit.joining import join
from fabloom.storage.gc import collect
from fabloom.storage.verify import verify
from fabloom.testing import write_artifact
from fabloom.testing.tiny import tiny_model

INSTALLED = Path(__file__).parents[2] / "installed"
CPU = Options(device="cpu", checkpoint_seconds=0.05)
OWN = {"key", "digest", "kind", "preimage", "files", "marks", "arrays", "metrics", "step", "pipeline", "plugin", "source", "precision"}
"""Of a manifest, what does not tell when and how fast it was made."""


@pytest.fixture(scope="module", autouse=True)
def registry() -> Iterator[Registry]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(INSTALLED))
        patch.setenv("PYTHONPATH", str(INSTALLED))
        patch.setenv("FABLOOM_THREADS", "1")
        yield Registry.load()


def recording(registry: Registry, store: LocalStore, **record: Any) -> Plan:
    """The model is there; the step `offline` is to be made."""
    params = {"count": 43, **record}
    built = registry.pipeline("fade").override([f"steps.offline.params.{n}={json.dumps(v)}" for n, v in params.items()])
    plan = make_plan(built, registry, store)
    engine = Engine(registry, store, CPU)
    for name in ("images", "model"):
        assert engine.perform(plan.step(name)).exit_code == 0
    return plan


def record(plan: Plan, registry: Registry, store: LocalStore, workers: int, **more: Any) -> StepResult:
    return Engine(registry, store, more.pop("options", CPU), crew=Crew(workers), **more).perform(plan.step("offline"))


def keys_of_parts(store: LocalStore) -> list[str]:
    return [key for key in store.keys() if whole_of(store.manifest(key)["preimage"])]


def test_the_manifest_does_not_tell_how_many_workers_made_it(registry: Registry, tmp_path: Path) -> None:
    made = []
    for workers in (1, 2, 3):
        store, events = LocalStore(tmp_path / str(workers)), list[dict[str, Any]]()
        plan = recording(registry, store)
        result = record(plan, registry, store, workers, emit=events.append)
        assert result.status == "ran", result.error
        made.append({name: value for name, value in store.manifest(result.key).items() if name in OWN})
        assert result.key == plan.step("offline").key and not keys_of_parts(store), "parts go with the commit"
        health = verify(store)
        assert not health.problems and not health.leftovers
        told = [e["message"] for e in events if e["event"] == "log"]
        assert (f"in {workers} parts on {workers} workers" in told) is (workers > 1)
        shown = [(e["done"], e["total"]) for e in events if e["event"] == "progress"]
        assert {total for _, total in shown} == {43} and max(shown) == (43, 43)
        assert [e["event"] for e in events].count("started") == 1
    assert made[0] == made[1] == made[2] and rows_of(made[0]["preimage"]) is None
    data = LocalStore(tmp_path / "3").get(made[0]["key"])
    assert isinstance(data, OfflineData) and data.array("sample_id")[:].tolist() == list(range(43))


def test_a_failing_part_fails_the_step_with_its_own_error_and_the_others_are_kept(registry: Registry, store: LocalStore) -> None:
    plan = recording(registry, store, fail_at=42)
    events: list[dict[str, Any]] = []
    failed = record(plan, registry, store, 2, emit=events.append)
    assert (failed.status, failed.exit_code, failed.error) == ("failed", 2, "row 42 is upside down")
    assert failed.key == plan.step("offline").key and not store.has(failed.key)
    assert [rows_of(store.manifest(key)["preimage"]) for key in keys_of_parts(store)] == [range(24)]
    first = keys_of_parts(store)[0]
    before = store.committed_at(first)
    assert record(plan, registry, store, 2).status == "failed" and store.committed_at(first) == before, "a finished part is a hit"
    with store.pinned(plan.keys()):
        assert not collect(store, 0)[0], "a living run may be making the whole"
    assert first in collect(store, 0)[0]


def test_a_stopped_step_goes_on_with_the_parts_that_it_began_by_however_many_workers(
    registry: Registry, store: LocalStore, tmp_path: Path
) -> None:
    plan, stopping = recording(registry, store, count=83, pause=0.3), threading.Event()

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and event["done"] > 0:
            stopping.set()

    stopped = record(plan, registry, store, 3, emit=emit, stop=stopping.is_set)
    assert (stopped.outcome, stopped.exit_code) == ("stopped", 130)
    assert stopped.error.startswith("stopped after ") and " of 83 rows, in 3 parts. Run" in stopped.error
    assert {(said["step"], said["ended"]) for said in verify(store).steps.values()} == {("offline", "stopped")}
    assert not store.has(stopped.key) and len(parts_of(plan.step("offline"), store, 1)) == 3
    events: list[dict[str, Any]] = []
    again = record(plan, registry, store, 1, emit=events.append)
    assert again.status == "ran" and next(e["done"] for e in events if e["event"] == "progress") >= 8, "from what was written"
    other = LocalStore(tmp_path / "other")
    assert again.digest == record(recording(registry, other, count=83), registry, other, 1).digest


@pytest.mark.parametrize("what", ["text", "folder", "link", "FIFO", "no folder"])
def test_what_stands_in_the_place_of_the_cut_is_not_believed_and_cleared(
    registry: Registry, store: LocalStore, tmp_path: Path, what: str
) -> None:
    plan = recording(registry, store)
    place = store.work(plan.step("offline").key) / "parts.json"
    (place.parent if what != "no folder" else place.parent.parent).mkdir(exist_ok=True)
    if what == "text":
        place.write_text('{"parts": [[0, 8]], "source": "x"}')
    elif what == "folder":
        place.mkdir()
    elif what == "link":
        place.symlink_to(tmp_path / "elsewhere")
    elif what == "FIFO":
        os.mkfifo(place)
    else:
        place.parent.symlink_to(tmp_path / "elsewhere")
    result = record(plan, registry, store, 2)
    assert result.status == "ran", result.error
    assert not keys_of_parts(store) and not (tmp_path / "elsewhere").exists() and not verify(store).leftovers


def test_who_wants_parts_of_what_somebody_else_makes_waits_for_them_by_name(registry: Registry, store: LocalStore) -> None:
    plan, told = recording(registry, store), list[str]()
    with store.lock(plan.step("offline").key, told.append, lambda: False):
        waited = record(plan, registry, store, 2, emit=lambda event: told.append(str(event.get("message"))), stop=lambda: bool(told))
    assert told[0] == f"waiting for process {os.getpid()}, which is making the same artifact" and waited.outcome == "stopped"
    assert keys_of_parts(store) == []


def test_what_was_begun_in_one_piece_stays_in_one(registry: Registry, store: LocalStore) -> None:
    plan = recording(registry, store, fail_at=30)
    assert record(plan, registry, store, 1).status == "failed"
    assert parts_of(plan.step("offline"), store, 2) == [] and record(plan, registry, store, 2).status == "failed"
    assert keys_of_parts(store) == []


def test_redo_makes_every_part_again_and_parts_of_other_code_are_not_joined(
    registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recording(registry, store)
    first = record(plan, registry, store, 2)
    at = store.committed_at(first.key)
    again = record(plan, registry, store, 2, options=Options("cpu", redo=("offline",)))
    assert again.status == "ran" and again.digest == first.digest and store.committed_at(first.key) > at and not keys_of_parts(store)
    assert record(plan, registry, store, 2).status == "reused"
    failing = recording(registry, store, fail_at=42)
    assert record(failing, registry, store, 2).status == "failed"
    (part,) = keys_of_parts(store)
    before = store.committed_at(part)
    for place in ("engine", "execute", "parts", "requests"):
        monkeypatch.setattr(f"fabloom.running.{place}.source_of", lambda method: "0" * 40)
    assert record(failing, registry, store, 2).status == "failed"
    assert store.committed_at(part) > before and store.manifest(part)["source"] == "0" * 40


def test_a_killed_part_goes_on_alone_in_worker_processes(registry: Registry, store: LocalStore, tmp_path: Path) -> None:
    executor = ProcessExecutor(["torch"])
    try:
        plan, events = recording(registry, store, die_at=35), list[dict[str, Any]]()
        result = record(plan, registry, store, 2, executor=executor, emit=events.append)
    finally:
        executor.close()
    assert result.status == "ran", result.error
    told = [e["message"] for e in events if e["event"] == "log"]
    assert [line for line in told if "SIGKILL" in line] == [
        "part 2 of 2: its process was killed by SIGKILL. It is begun again, once, and goes on from the rows that are written"
    ]
    other = LocalStore(tmp_path / "other")
    whole = recording(registry, other, die_at=-2)
    assert store.manifest(result.key)["files"] == other.manifest(record(whole, registry, other, 1).key)["files"]


class Named(Params):
    count: int = 24
    batch: int = 5
    share: float = 0.5


class Squares(Method):
    """Images whose parts differ in an attribute, and a fanout that asks for what is not there."""

    name = "squares"

    @task(version=1, fanout=Fanout(count="number"))
    def make(self, ctx: Context, params: Named) -> ImageSet:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("fanout", "said"),
    [
        (Fanout(count="number"), "no parameter 'number'"),
        (Fanout(unit=("share",)), "the parameter 'share' is no int"),
        (Fanout(unit=(0,)), "a number below 1"),
    ],
)
def test_a_fanout_that_does_not_fit_its_task_is_refused_with_the_signature(fanout: Fanout, said: str) -> None:
    Squares.make.__fabloom_fanout__ = fanout  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=said) as refused:
        read_tasks(Squares)
    assert "def Squares.make(" in str(refused.value)


def test_cuts_lie_at_whole_units() -> None:
    assert Fanout().cut(Named(), 2) == ((0, 10), (10, 24))
    assert Fanout(unit=("batch", 2)).cut(Named(), 2) == ((0, 10), (10, 24))
    assert Fanout().cut(Named(count=9), 2) == () and Fanout().cut(Named(), 1) == ()
    assert [b - a for a, b in Fanout(unit=(1,)).cut(Named(count=20), 3)] == [7, 6, 7]
    assert Fanout().cut(Named(count=500_003), 64)[-1][1] == 500_003


def test_attributes_that_differ_need_a_method_that_joins_them(registry: Registry, store: LocalStore) -> None:
    step = recording(registry, store).step("offline")
    assert Method.joined(step, [{"a": 1}, {"a": 1}]) == {"a": 1}
    with pytest.raises(ValueError, match=r"the attribute 'b' differs among the parts of 'offline'; override Method\.joined"):
        Method.joined(step, [{"a": 1}, {"a": 1, "b": 2}])


def test_rows_cut_beside_their_blocks_come_out_the_same(store: LocalStore) -> None:
    """Of images, whose blocks are longer than a batch."""
    pixels = np.random.default_rng(0).integers(0, 255, (2500, 1, 4, 4)).astype(np.uint8)

    def rows(first: int, last: int) -> Any:
        def write(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, pixels[first:last], domain=(np.arange(first, last) % 2).astype(np.int8))

        write.__qualname__ = f"rows.{first}.{last}"
        return write

    whole = write_artifact(store, rows(0, 2500))
    parts = [write_artifact(store, rows(*edges))._reader for edges in ((0, 700), (700, 2048), (2048, 2500))]

    def joined(ctx: Context) -> ImageSet:
        join(ctx.staging, parts)  # type: ignore[arg-type]
        return ImageSet(ctx.staging.as_reader())

    assert write_artifact(store, joined).digest == whole.digest
    weights = write_artifact(store, tiny_model)._reader
    key = "0" * 40
    with store.lock(key, lambda who: None, lambda: False), pytest.raises(DataError, match="'bias' of a part is not row-wise"):
        store.stage(key).join([parts[0], weights])  # type: ignore[attr-defined]
