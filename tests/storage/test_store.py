"""The store: whole artifacts or none, whatever is interrupted; damage is found; names, refs, rubbish and foreign folders."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import zarr

from fabloom import durable, locks
from fabloom.errors import DamagedArtifact, EnvironmentProblem, FabloomError, Interrupted, StepFailed, UserError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds import ImageSet, Model, OfflineData, Report, RowSpec, Table
from fabloom.method import Context, Method, Options, PlannedStep, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Origin, Registry
from fabloom.running.execute import code_of, run_step
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.backends.pins import deciding
from fabloom.storage.commit import manifest, rows, staging
from fabloom.storage.format.arrays import SMALL_ROW
from fabloom.storage.gc import collect, leftovers, sweep, unreferenced
from fabloom.storage.verify import verify

ROWS, BLOCK = 40, 8
SPECS = {"sample_id": RowSpec("int64", compress=False), "codes": RowSpec("int8", (2, 4, 4))}


class Size(Params):
    count: int = 6


class Kinds(Method):
    """One task of every kind."""

    name = "kinds"
    blocks: ClassVar[list[int]] = []
    before_block: Callable[[int], None] = staticmethod(lambda start: None)

    @task(version=1)
    def images(self, ctx: Context, params: Size) -> ImageSet:
        """Images with masks, domain and classes."""
        pixels = torch.randint(0, 255, (params.count, 1, 8, 8), generator=ctx.generator(), dtype=torch.uint8).numpy()
        masks = np.zeros((params.count, 8, 8), np.uint8)
        masks[::2, 2:4, 3] = 1
        labels = (np.arange(params.count) % 2).astype(np.int16)
        return ImageSet.write(ctx, pixels, masks=masks, labels=labels, class_names=["gap", "bridge"])

    @task(version=1)
    def model(self, ctx: Context, params: Size, *, images: ImageSet) -> Model:
        """Tensors of several types, one of them empty and one without axes."""
        state = {
            "net.0.weight": torch.randn(params.count, 3, generator=ctx.generator()),
            "half": torch.ones(4, dtype=torch.bfloat16) * 1.5,
            "steps": torch.tensor(7),
            "none": torch.empty(0, 3),
        }
        return Model.write(ctx, state, {"grey": float(np.asarray(images.images[:]).mean())})

    @task(version=1)
    def tensors(self, ctx: Context, params: Size) -> Model:
        """Tensors of one size."""
        return Model.write(ctx, {name: torch.randn(64, generator=ctx.generator()) for name in "abc"}, {})

    @task(version=1)
    def offline(self, ctx: Context, params: Size, *, images: ImageSet) -> OfflineData:
        """Rows from (seed, index), as teacher data are."""
        writer = OfflineData.writer(ctx, count=ROWS, block=BLOCK, arrays=SPECS)
        for start in range(writer.start, ROWS, BLOCK):
            Kinds.before_block(start)
            Kinds.blocks.append(start)
            rows = np.arange(start, start + BLOCK)
            codes = np.stack([np.random.default_rng([5, row]).integers(-100, 100, (2, 4, 4)) for row in rows])
            writer.append({"sample_id": rows, "codes": codes.astype(np.int8)})
        return OfflineData.finish(ctx, writer, {"T": 10})

    @task(version=1)
    def report(self, ctx: Context, params: Size, *, images: ImageSet) -> Report:
        """Numbers, a table and a picture."""
        picture = np.asarray(images.images[0][0])
        return Report.write(ctx, {"dice": 0.5}, tables={"t": Table(["a"], [[1]])}, pictures={"first": picture}, notes=["a note"])


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    Kinds.blocks.clear()
    yield
    Kinds.before_block = staticmethod(lambda start: None)


def make_all(run_task: Any, **more: Any) -> dict[str, Any]:
    images = run_task(Kinds, "images", **more)
    return {"images": images} | {name: run_task(Kinds, name, images=images, **more) for name in ("model", "offline", "report")}


def data_files(store: LocalStore, key: str) -> list[Path]:
    return sorted(p for p in store.folder(key).rglob("*") if p.is_file())


# ---------------------------------------------------------------------------------------------------------------- what is written


def test_plain_zarr_reads_every_kind_and_the_same_values(run_task: Any, store: LocalStore) -> None:
    for artifact in make_all(run_task).values():
        group = zarr.open_group(store.folder(artifact.key) / "data.zarr", mode="r")
        assert dict(group.attrs) == dict(artifact.attrs)
        names = sorted(name for name, _ in group.arrays())
        assert names == sorted(store.manifest(artifact.key)["arrays"])
        for name in names:
            plain = np.asarray(group[name][...])
            ours = artifact.array(name)[...]
            assert ours.dtype == plain.dtype and np.array_equal(ours, plain)
            assert store.manifest(artifact.key)["arrays"][name] == {"shape": list(plain.shape), "dtype": str(plain.dtype)}


def test_a_model_comes_back_bit_for_bit(run_task: Any) -> None:
    model = make_all(run_task)["model"]
    state = model.state()
    assert state["half"].dtype == torch.bfloat16 and torch.equal(state["half"], torch.full((4,), 1.5, dtype=torch.bfloat16))
    assert state["steps"].shape == () and int(state["steps"]) == 7
    assert state["none"].shape == (0, 3) and list(model.state("net.")) == ["0.weight"]


def test_nothing_under_the_data_names_a_pickle_path_host_or_time(run_task: Any, store: LocalStore, tmp_path: Path) -> None:
    year = re.compile(rb"20\d\d-\d\d-\d\d")
    for artifact in make_all(run_task).values():
        for path in (store.folder(artifact.key) / "data.zarr").rglob("*"):
            if not path.is_file():
                continue
            data = path.read_bytes()
            assert not data.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")), path
            assert os.fsencode(tmp_path) not in data and os.uname().nodename.encode() not in data and not year.search(data), path


def test_equal_content_has_an_equal_digest_and_the_manifest_is_no_part_of_it(run_task: Any, store: LocalStore, tmp_path: Path) -> None:
    other = LocalStore(tmp_path / "other")
    here, there = make_all(run_task), make_all(run_task, store=other)
    for name, artifact in here.items():
        assert (artifact.key, artifact.digest) == (there[name].key, there[name].digest)
    key = here["images"].key
    first = store.manifest(key)
    assert first["digest"] == blake(canonical_json(sorted([n, *entry] for n, entry in first["files"].items())))
    body = {**{k: v for k, v in first.items() if k != "self"}, "created": "2001-01-01T00:00:00Z", "seconds": 9.0}
    manifest.write_manifest(store.folder(key), body)
    assert store.get(key).digest == here["images"].digest and not verify(store).problems
    assert run_task(Kinds, "images", seed=1).digest != here["images"].digest


def test_the_manifest_says_what_was_asked_and_by_whom(run_task: Any, store: LocalStore) -> None:
    found = store.manifest(make_all(run_task)["model"].key)
    assert blake(canonical_json(found["preimage"])) == found["key"]
    assert set(found["preimage"]) == {"schema", "task", "version", "params", "seed", "inputs"}
    assert {"plugin", "source", "made_with", "device", "threads", "created", "seconds", "metrics", "digest"} <= set(found)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "/etc/passwd", "a\0b", "zarr.json", ".hidden", "-x", "ä", "a" * 300, "a\n"])
def test_unsafe_array_names_are_refused(store: LocalStore, name: str) -> None:
    staged = store.stage("ab" * 20)
    with pytest.raises(ValueError, match="safe array name"):
        staged.put(name, np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="safe array name"):
        staged.rows(2, 2, {name: RowSpec("uint8")})


# --------------------------------------------------------------------------------------------------------------- interrupted commits


def broken(module: Any, name: str, at: int, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[int]:
    """Make the `at`-th call of a function raise, before it has done anything."""
    calls: list[int] = []
    whole = getattr(module, name)

    def call(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise error
        return whole(*arguments, **more)

    monkeypatch.setattr(module, name, call)
    return calls


STAGES = [
    (os, "fsync", 1), (os, "fsync", 3), (os, "fsync", 5), (os, "fsync", 8), (rows, "write_shard", 2), (rows, "create_array", 2),
    (staging, "create_group", 1), (staging, "write_manifest", 1), (manifest, "write_durably", 1), (Path, "replace", 2), (Path, "rename", 1),
    (staging, "sync_folders", 1), (staging, "tree_digest", 1),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "at"), STAGES, ids=[f"{name}-{at}" for _, name, at in STAGES])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_commit_broken_at_any_stage_leaves_nothing_and_a_rerun_works(
    store: LocalStore, run_task: Any, module: Any, name: str, at: int, error: BaseException, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        calls = broken(module, name, at, patch, error)
        with pytest.raises((FabloomError, KeyboardInterrupt)):
            run_task(Kinds, "images")
    assert len(calls) >= at
    assert not list(store.keys()) and not verify(store).problems
    again = run_task(Kinds, "images")
    assert again.digest == run_task(Kinds, "images", store=LocalStore(tmp_path / "undisturbed")).digest
    health = verify(store)
    assert health.checked == 1 and not health.problems and not health.leftovers


def test_files_of_a_killed_attempt_never_enter_the_artifact(store: LocalStore, run_task: Any, tmp_path: Path) -> None:
    whole = run_task(Kinds, "report", images=run_task(Kinds, "images", store=LocalStore(tmp_path / "w")), store=LocalStore(tmp_path / "w"))
    images = run_task(Kinds, "images")
    rubbish = store.root / "staging" / whole.key
    for name in ("data.zarr/picture_9/c/0/0/0", "data.zarr/old/zarr.json", ".manifest.json.77.tmp", "manifest.json", "data.zarr/zarr.json"):
        (rubbish / name).parent.mkdir(parents=True, exist_ok=True)
        (rubbish / name).write_bytes(b"left by a kill")
    assert run_task(Kinds, "report", images=images).digest == whole.digest
    assert not verify(store).problems


def test_declared_rows_that_were_not_written_cannot_be_committed(store: LocalStore) -> None:
    staged = store.stage("ab" * 20)
    writer = staged.rows(ROWS, BLOCK, SPECS)
    writer.append({"sample_id": np.arange(10), "codes": np.zeros((10, 2, 4, 4), np.int8)})
    with pytest.raises(ValueError, match="10 of the 40"):
        writer.close()
    with pytest.raises(ValueError, match="30 of the 40"):
        staged.commit(store.folder(staged.key), {"kind": "OfflineData", "preimage": {"task": "kinds.images", "inputs": {}}})
    with pytest.raises(ValueError, match="declared once"):
        staged.rows(ROWS, BLOCK, SPECS)
    assert not list(store.keys())


def test_arrays_put_before_and_after_the_rows_are_all_kept(store: LocalStore) -> None:
    staged = store.stage("ab" * 20)
    staged.put("first", np.arange(3))
    writer = staged.rows(2, 2, {"row": RowSpec("uint8")})
    writer.append({"row": np.array([1, 2], np.uint8)})
    writer.close()
    staged.put("last", np.arange(4))
    staged.commit(store.folder(staged.key), {"kind": "OfflineData", "preimage": {"task": "kinds.images", "inputs": {}}})
    assert sorted(store.manifest(staged.key)["arrays"]) == ["first", "last", "row"]


# ----------------------------------------------------------------------------------------------------------------------- the journal


def interrupt_at(row: int) -> Callable[[int], None]:
    def before(start: int) -> None:
        if start == row:
            raise Interrupted("stop")

    return before


def recorded_in_part(run_task: Any) -> Any:
    """Images, after a recording that ended when three of its five blocks were done."""
    images = run_task(Kinds, "images")
    Kinds.before_block = staticmethod(interrupt_at(24))
    with pytest.raises(Interrupted):
        run_task(Kinds, "offline", images=images)
    Kinds.before_block = staticmethod(lambda start: None)
    assert Kinds.blocks == [0, 8, 16]
    Kinds.blocks.clear()
    return images


def whole_recording(run_task: Any, folder: Path) -> str:
    other = LocalStore(folder / "undisturbed")
    digest: str = run_task(Kinds, "offline", images=run_task(Kinds, "images", store=other), store=other).digest
    Kinds.blocks.clear()
    return digest


def test_finished_blocks_are_not_made_again(run_task: Any, tmp_path: Path) -> None:
    images = recorded_in_part(run_task)
    again = run_task(Kinds, "offline", images=images)
    assert Kinds.blocks == [24, 32]
    assert again.digest == whole_recording(run_task, tmp_path)


def change_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_block_whose_bytes_changed_meanwhile_is_thrown_away_with_all_after_it(run_task: Any, store: LocalStore, tmp_path: Path) -> None:
    images = recorded_in_part(run_task)
    change_byte(next((store.root / "staging").glob("*/data.zarr/codes/c/1/0/0/0")))
    again = run_task(Kinds, "offline", images=images)
    assert Kinds.blocks == [8, 16, 24, 32]
    assert again.digest == whole_recording(run_task, tmp_path)


@pytest.mark.parametrize(
    ("tail", "kept"),
    [(b'[["codes/c/3/0/0/0",12', 3), (b"\0\0\0\0\n", 3), (b"[1,2]\n", 3), (b'{"a":1}\n', 3), (b'[["../../x",1,"a"]]\n', 3)],
    ids=["torn", "zeros", "rubbish", "mapping", "outside"],
)
def test_a_journal_with_a_bad_tail_keeps_its_good_head(run_task: Any, store: LocalStore, tmp_path: Path, tail: bytes, kept: int) -> None:
    images = recorded_in_part(run_task)
    journal = next((store.root / "work").glob("*/journal.jsonl"))
    journal.write_bytes(journal.read_bytes() + tail)
    again = run_task(Kinds, "offline", images=images)
    assert Kinds.blocks[0] == kept * BLOCK
    assert again.digest == whole_recording(run_task, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"not json\n", b'"another layout"\n'])
def test_a_journal_that_cannot_be_used_costs_its_blocks_and_nothing_else(
    run_task: Any, store: LocalStore, tmp_path: Path, content: bytes
) -> None:
    images = recorded_in_part(run_task)
    next((store.root / "work").glob("*/journal.jsonl")).write_bytes(content)
    assert run_task(Kinds, "offline", images=images).digest == whole_recording(run_task, tmp_path)


def test_blocks_of_rows_that_the_task_no_longer_writes_are_dropped(store: LocalStore) -> None:
    first = store.stage("ab" * 20)
    first.rows(4, 2, {"row": RowSpec("uint8")}).append({"row": np.zeros(3, np.uint8)})
    second = store.stage("ab" * 20)
    second.put("other", np.arange(3))
    second.commit(store.folder(second.key), {"kind": "OfflineData", "preimage": {"task": "kinds.images", "inputs": {}}})
    assert sorted(store.manifest(second.key)["arrays"]) == ["other"] and not verify(store).problems


# ------------------------------------------------------------------------------------------------------------------------------ damage


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "flip": flip,
    "truncate": lambda path, chance: os.truncate(path, chance.randrange(path.stat().st_size)),
    "delete": lambda path, chance: path.unlink(),
    "append": lambda path, chance: path.write_bytes(path.read_bytes() + b"\0"),
}


def read_all(store: LocalStore, key: str) -> None:
    artifact: Any = store.get(key)
    dict(artifact.attrs)
    for name in artifact._reader.names():
        artifact.array(name)[...]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["images", "model", "offline", "report"])
def test_every_damage_to_every_file_is_found_by_verify_and_by_reading(run_task: Any, store: LocalStore, damage: str, kind: str) -> None:
    artifact = make_all(run_task)[kind]
    chance = random.Random(f"{damage} {kind}")
    folder = store.folder(artifact.key)
    sound = folder.with_name("sound")
    shutil.copytree(folder, sound)
    names = [p.relative_to(folder) for p in data_files(store, artifact.key)]
    assert Path("manifest.json") in names and Path("data.zarr/zarr.json") in names and len(names) >= 4
    for name in names:
        DAMAGES[damage](folder / name, chance)
        health = verify(store, artifact.key)
        assert list(health.problems) == [artifact.key], f"{damage} of {name} was not found"
        # a task never sees it: a lost manifest means that there is no artifact
        with pytest.raises((DamagedArtifact, UserError)):
            read_all(store, artifact.key)
        shutil.rmtree(folder)
        shutil.copytree(sound, folder)
        assert not verify(store, artifact.key).problems
        read_all(store, artifact.key)


def swaps(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs of data files of one size and other content."""
    found = [p for p in sorted((folder / "data.zarr").rglob("*")) if p.is_file() and p.name != "zarr.json"]
    return [
        (a, b) for a, b in itertools.combinations(found, 2) if a.stat().st_size == b.stat().st_size and a.read_bytes() != b.read_bytes()
    ]


def swap(a: Path, b: Path) -> None:
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


@pytest.mark.parametrize("kind", ["offline", "model"])
def test_sound_files_that_changed_places_are_found_when_they_are_opened(run_task: Any, store: LocalStore, kind: str) -> None:
    """Every chunk of them passes its crc32c. Without the marks, as in an older manifest, they are read, and `verify` finds them."""
    artifact = run_task(Kinds, "tensors") if kind == "model" else make_all(run_task)["offline"]
    folder = store.folder(artifact.key)
    pairs = swaps(folder)
    assert len(pairs) >= 3
    body = json.loads((folder / "manifest.json").read_bytes())
    for a, b in pairs:
        swap(a, b)
        with pytest.raises(DamagedArtifact, match="another"):
            read_all(store, artifact.key)
        swap(a, b)
    read_all(store, artifact.key)
    body = {name: value for name, value in body.items() if name not in ("self", "marks")}
    (folder / "manifest.json").write_bytes(canonical_json({**body, "self": blake(canonical_json(body))}))
    swap(*pairs[0])
    read_all(store, artifact.key)
    assert verify(store, artifact.key).problems


@pytest.mark.parametrize("place", ["extra", "data.zarr/extra", "data.zarr/images/c/9/0/0/0", "data.zarr/images/.x"])
def test_a_stranger_file_is_found(run_task: Any, store: LocalStore, place: str) -> None:
    artifact = run_task(Kinds, "images")
    stranger = store.folder(artifact.key) / place
    stranger.parent.mkdir(parents=True, exist_ok=True)
    stranger.write_bytes(b"x")
    assert list(verify(store).problems) == [artifact.key]


def planned(store: LocalStore) -> PlannedStep:
    registry = Registry()
    registry._add_method(Kinds, Origin("kinds", "kinds", "1"))
    return make_plan(Pipeline.parse({"name": "one", "steps": {"images": {"task": "kinds.images"}}}), registry, store).step("images")


@pytest.mark.parametrize("name", ["manifest.json", "data.zarr/zarr.json", "data.zarr/images/c/0/0/0/0"])
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_redo_heals(run_task: Any, store: LocalStore, name: str, damage: str) -> None:
    whole = run_task(Kinds, "images").digest
    step = planned(store)
    DAMAGES[damage](store.folder(step.key) / name, random.Random(1))
    assert verify(store).problems
    result = run_step(step, store, Options(device="cpu", redo=("images",)))
    assert result.status == "ran" and result.digest == whole
    assert not verify(store).problems and not verify(store).leftovers


def test_a_redo_that_fails_keeps_what_was_there(run_task: Any, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_task(Kinds, "images").digest
    step = planned(store)

    def fails(self: Kinds, ctx: Context, params: Params) -> ImageSet:
        ImageSet.write(ctx, np.zeros((1, 1, 2, 2), np.uint8))
        raise RuntimeError("half way")

    broken = replace(step, spec=replace(step.spec, function=fails))
    with pytest.raises(StepFailed, match="half way"):
        run_step(broken, store, Options(device="cpu", redo=("images",)))
    assert store.get(step.key).digest == before and not verify(store).problems
    sweep(store)
    assert store.get(step.key).digest == before


@pytest.mark.parametrize("whole", [True, False], ids=["in one step", "in two, where the file system cannot"])
def test_a_redo_is_there_at_every_moment_also_where_it_is_killed(
    run_task: Any, store: LocalStore, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Killed before each call that changes the disk, from the first rename on, and opened again."""
    before = run_task(Kinds, "images").digest
    step = planned(store)
    if not whole:
        monkeypatch.setattr("fabloom.storage.commit.staging.exchange", lambda first, second: False)
    seen = set()
    for point in range(40):
        child = os.fork()
        if child == 0:
            calls = itertools.count()

            def dies(function: Any, calls: Any = calls, point: int = point) -> Any:
                def call(*given: Any, **named: Any) -> Any:
                    if next(calls) == point:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*given, **named)

                return call

            os.rename, shutil.rmtree = dies(os.rename), dies(shutil.rmtree)
            staging.exchange = dies(staging.exchange)
            staging.sync_folders = dies(staging.sync_folders)
            run_step(step, LocalStore(store.root), Options(device="cpu", redo=("images",)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        seen.add(status)
        again = LocalStore(store.root)
        with again.lock(step.key, lambda pid: None, lambda: False):
            pass
        assert again.get(step.key).digest == before and not verify(again).problems, point
        sweep(again)
        assert again.get(step.key).digest == before and not verify(again).leftovers, point
        if status == 0:
            break
    assert seen == {0, signal.SIGKILL}, "the last points lie behind the end"


def test_an_input_and_a_ref_that_point_at_nothing_are_told(run_task: Any, store: LocalStore) -> None:
    made = make_all(run_task)
    store.refs.set("champion", made["report"].key)
    assert not verify(store).problems
    store.set_aside(made["images"].key)
    store.set_aside(made["report"].key)
    problems = verify(store).problems
    assert any(made["images"].key[:12] in line for line in problems[made["model"].key])
    assert "points at" in problems["ref champion"][0]
    assert list(store.lineage(made["model"].key)) == [made["model"].key]
    assert unreferenced(store, 0.0)


def test_a_fork_of_a_step_does_not_keep_its_key(store: LocalStore) -> None:
    """A task's own child outlives the step that was killed: it must not hold the key for ever."""
    path = store.root / "locks" / f"{'a' * 40}.lock"
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        locks.try_lock(path)
        orphan = os.fork()
        if orphan == 0:
            os.write(writing, str(os.getpid()).encode())
            signal.pause()
        signal.pause()
    orphan = int(os.read(reading, 32))
    try:
        assert locks.try_lock(path) is None
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        handle = locks.try_lock(path)
        assert handle is not None
        locks.release(path, handle)
    finally:
        os.kill(orphan, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


def test_what_a_living_run_reads_is_not_collected_and_a_killed_run_pins_nothing(run_task: Any, store: LocalStore) -> None:
    made = make_all(run_task)
    reading, writing = os.pipe()
    run = os.fork()
    if run == 0:
        with LocalStore(store.root).pinned([made["model"].key]):
            os.write(writing, b"pinned")
            signal.pause()
    try:
        os.read(reading, 16)
        kept = {made["model"].key, made["images"].key}
        assert set(collect(store, 0.0)[0]) == {a.key for a in made.values()} - kept and set(store.keys()) == kept
        assert not [name for name in verify(store).leftovers if "run-" in name]
    finally:
        os.kill(run, signal.SIGKILL)
        os.waitpid(run, 0)
        os.close(reading)
        os.close(writing)
    assert [name for name in verify(store).leftovers if "run-" in name]
    sweep(store)
    assert not verify(store).leftovers
    assert set(collect(store, 0.0)[0]) == kept and not list(store.keys())


def test_a_run_waits_for_a_gc_that_is_deciding(store: LocalStore) -> None:
    began, done = threading.Event(), threading.Event()

    def run() -> None:
        began.set()
        with store.pinned(["a" * 40]):
            done.set()

    with deciding(store.root / "locks"):
        thread = threading.Thread(target=run)
        thread.start()
        began.wait()
        assert not done.wait(0.3)
    thread.join()
    assert done.is_set() and not list((store.root / "locks").iterdir())


def test_a_lock_that_is_a_link_is_refused_and_what_it_points_at_stays(store: LocalStore, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    path = store.root / "locks" / f"{'a' * 40}.lock"
    path.symlink_to(target)
    with pytest.raises(EnvironmentProblem, match="is a link"):
        locks.try_lock(path)
    sweep(store)
    assert target.read_text() == "mine" and not path.is_symlink()


FORGED = {
    "leads out": {"files": {"../../../../escaped": [3, "a" * 40]}},
    "absolute": {"files": {"/etc/passwd": [3, "a" * 40]}},
    "dots inside": {"files": {"images/../../x": [3, "a" * 40]}},
    "size is text": {"files": {"zarr.json": ["3", "a" * 40]}},
    "files is a list": {"files": []},
    "an input that is a path": {"preimage": {"task": "a.b", "inputs": {"images": "../../x"}}},
    "arrays without shapes": {"arrays": {"images": 7}},
    "seconds is text": {"seconds": "for ever"},
    "metrics is a number": {"metrics": 3},
    "kind is a list": {"kind": ["ImageSet"]},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_manifest_is_damaged_and_takes_nothing_else_with_it(run_task: Any, store: LocalStore, how: str) -> None:
    """Its own hash is right: that is no signature."""
    made = make_all(run_task)
    path = store.folder(made["images"].key) / "manifest.json"
    body = {**json.loads(path.read_bytes()), **FORGED[how]}
    del body["self"]
    path.write_bytes(canonical_json({**body, "self": blake(canonical_json(body))}))
    with pytest.raises(DamagedArtifact):
        store.manifest(made["images"].key)
    assert list(verify(store).problems) == [made["images"].key]
    assert store.get(made["report"].key).digest == made["report"].digest


CIRCUMSTANCES = ("created", "seconds", "device", "threads", "source", "plugin", "made_with", "precision", "curves", "marks")


def test_a_manifest_without_circumstances_is_read_with_their_defaults(run_task: Any, store: LocalStore) -> None:
    """Who lists, shows or plans asks for them: one manifest that lacks one must not be a KeyError for all."""
    made = make_all(run_task)
    path = store.folder(made["images"].key) / "manifest.json"
    body = json.loads(path.read_bytes())
    preimage = {name: value for name, value in body["preimage"].items() if name not in ("version", "seed", "inputs", "params")}
    body = {**{name: value for name, value in body.items() if name not in (*CIRCUMSTANCES, "self")}, "preimage": preimage}
    path.write_bytes(canonical_json({**body, "self": blake(canonical_json(body))}))
    found = store.manifest(made["images"].key)
    assert {name: type(found[name]) for name in CIRCUMSTANCES} == dict(
        zip(CIRCUMSTANCES, (str, float, str, int, str, *[dict] * 5), strict=True)
    )
    assert found["preimage"] == {"version": 0, "seed": 0, "inputs": {}, "params": {}, **preimage}
    assert not verify(store).problems and store.get(made["images"].key).digest == made["images"].digest


def test_a_key_that_was_only_held_back_is_no_broken_ref(run_task: Any, store: LocalStore) -> None:
    store.refs.hold("champion", run_task(Kinds, "images").key, why="not yet")
    with pytest.raises(UserError, match="points at nothing yet"):
        store.refs.get("champion")
    with pytest.raises(UserError, match="points at nothing yet"):
        store.refs.rollback("champion")
    assert not verify(store).problems and store.refs.history("champion") == []


def test_a_ref_that_holds_a_path_is_damaged(run_task: Any, store: LocalStore) -> None:
    run_task(Kinds, "images")
    (store.root / "refs" / "champion.json").write_text(json.dumps(["../../../etc"]))
    (store.root / "refs" / "späť.json").write_text("[]")
    with pytest.raises(DamagedArtifact):
        store.refs.get("champion")
    assert "ref champion" in verify(store).problems and store.refs.names() == ["champion"]


def test_no_flipped_bit_of_a_ref_leaves_another_log(run_task: Any, store: LocalStore) -> None:
    """A move that is none any more, or a key of the past: the ref would point elsewhere, and nothing would tell."""
    made = make_all(run_task)
    for name in ("model", "report"):
        store.refs.set("champion", made[name].key, why="better")
    store.refs.set("other", made["images"].key)
    path = store.root / "refs" / "champion.json"
    sound = path.read_bytes()
    chance = random.Random(1)
    for at in range(len(sound)):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << chance.randrange(8)]) + sound[at + 1 :])
        with pytest.raises(DamagedArtifact, match="ref 'champion' is damaged"):
            store.refs.get("champion")
    path.write_bytes((store.root / "refs" / "other.json").read_bytes())
    assert list(verify(store).problems) == ["ref champion"]
    with pytest.raises(DamagedArtifact):
        collect(store, 0.0)  # what a ref protects that cannot be read, nobody knows
    path.write_bytes(canonical_json([{k: v for k, v in entry.items() if k != "sum"} for entry in json.loads(sound)]))
    assert store.refs.get("champion") == made["report"].key, "a log from before the sums is read"


@pytest.mark.parametrize("what", ["folder", "FIFO", "link"])
def test_a_ref_in_whose_place_no_file_is_stays_a_ref(run_task: Any, store: LocalStore, what: str) -> None:
    """Were it not listed, `gc --unreferenced` would remove what it protects."""
    store.refs.set("champion", run_task(Kinds, "images").key)
    path = store.root / "refs" / "champion.json"
    path.unlink()
    {"folder": Path.mkdir, "FIFO": os.mkfifo, "link": lambda p: p.symlink_to(p.name)}[what](path)
    assert store.refs.names() == ["champion"] and list(verify(store).problems) == ["ref champion"]
    with pytest.raises(DamagedArtifact):
        collect(store, 0.0)


def test_a_damaged_list_of_what_a_living_run_needs_stops_gc(run_task: Any, store: LocalStore) -> None:
    key = run_task(Kinds, "images").key
    with store.pinned([key]):
        (path,) = (store.root / "locks").glob("run-*.lock")
        body = path.read_text()
        path.write_text(body.replace(key, "f" + key[1:]))
        with pytest.raises(DamagedArtifact, match="living run"):
            collect(store, 0.0)
    assert collect(store, 0.0)[0] == [key]


IN_PLACE: dict[str, Callable[[Path, Path], None]] = {
    "FIFO": lambda path, out: os.mkfifo(path),
    "device": lambda path, out: path.symlink_to("/dev/zero"),
    "folder": lambda path, out: path.mkdir(),
    "link to itself": lambda path, out: path.symlink_to(path.name),
    "file": lambda path, out: path.write_bytes(b"x"),
    "link to a folder": lambda path, out: path.symlink_to(out),
}


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize(
    "name", ["manifest.json", "data.zarr/zarr.json", "data.zarr/images/c/0/0/0/0", "data.zarr/images", "data.zarr", "."]
)
def test_what_stands_in_the_place_of_a_file_or_folder_is_found_at_once_and_healed(
    run_task: Any, store: LocalStore, tmp_path: Path, name: str, what: str
) -> None:
    whole = run_task(Kinds, "images")
    step, other = planned(store), run_task(Kinds, "report", images=whole)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    path = store.folder(step.key) / name
    path.rename(tmp_path / "was")
    IN_PLACE[what](path, tmp_path / "out")
    assert step.key in verify(store).problems
    with pytest.raises((DamagedArtifact, UserError)):
        read_all(store, step.key)
    read_all(store, other.key)
    sweep(store)
    result = run_step(step, store, Options(device="cpu", redo=("images",)))
    assert result.digest == whole.digest and not verify(store).problems and not verify(store).leftovers
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious"], "nothing behind a link is touched"


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize("room", ["staging", "work"])
def test_what_stands_in_the_place_of_a_steps_own_folder_is_cleared(store: LocalStore, tmp_path: Path, room: str, what: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    step = planned(store)
    IN_PLACE[what](store.root / room / step.key, tmp_path / "out")
    assert run_step(step, store, Options(device="cpu")).status == "ran"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["precious"] and not verify(store).problems


def test_a_journal_whose_names_are_damaged_loses_no_block(run_task: Any, store: LocalStore, tmp_path: Path) -> None:
    """Blocks of equal content vouch for each other: the one whose name is gone would be missing in what is committed."""
    images = recorded_in_part(run_task)
    journal = next((store.root / "work").glob("*/journal.jsonl"))
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([lines[0], lines[1], lines[3], b""]))
    again = run_task(Kinds, "offline", images=images)
    assert Kinds.blocks == [8, 16, 24, 32]
    assert again.digest == whole_recording(run_task, tmp_path)
    read_all(store, again.key)


def test_an_artifact_without_its_manifest_is_made_again_without_being_asked(run_task: Any, store: LocalStore) -> None:
    whole = run_task(Kinds, "images").digest
    step = planned(store)
    (store.folder(step.key) / "manifest.json").unlink()
    assert run_step(step, store, Options(device="cpu")).digest == whole and not verify(store).problems


# ------------------------------------------------------------------------------------------------------------------- two committers


def test_a_second_committer_drops_its_own_and_a_difference_is_shown(store: LocalStore) -> None:
    facts = {"kind": "ImageSet", "preimage": {"task": "kinds.images", "inputs": {}}}
    key = "cd" * 20
    made = []
    for value in (1, 1, 2):
        staged = staging.StagedArtifact(key, store.root / "staging" / f"{key}-{len(made)}", store.work(key))
        staged.put("x", np.full(5, value, np.uint8))
        made.append(staged.commit(store.folder(key), facts)["digest"])
        assert not list((store.root / "staging").iterdir())
        assert bool(verify(store).warnings) == (value == 2)
    assert len(set(made)) == 1
    assert np.array_equal(store.get(key).array("x")[...], np.full(5, 1, np.uint8))
    (warning,) = verify(store, key).warnings
    assert made[0] in warning and not verify(store).problems


def test_threads_that_want_one_artifact_make_it_once(store: LocalStore) -> None:
    step = planned(store)
    results = []
    waited: list[dict[str, Any]] = []

    def make() -> None:
        results.append(run_step(step, store, Options(device="cpu"), waited.append))

    holder = locks.try_lock(store.root / "locks" / f"{step.key}.lock")
    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    while sum("waiting for process" in e.get("message", "") for e in list(waited)) < 3:
        pass
    assert holder is not None and verify(store).leftovers == []
    locks.release(store.root / "locks" / f"{step.key}.lock", holder)
    for thread in threads:
        thread.join()
    assert sorted(r.status for r in results) == ["ran", "reused", "reused"] and len({r.digest for r in results}) == 1
    assert not list((store.root / "locks").iterdir())


def test_a_wait_names_a_living_process_that_has_the_lock_and_each_holder_anew(store: LocalStore) -> None:
    path, told = store.root / "locks" / "x.lock", []
    written = iter([str(os.getppid()), "4194305", "another machine's", "\xff\xfe", str(os.getpid())])
    holder = locks.try_lock(path)
    assert holder is not None

    def stop() -> bool:
        """After each look: who lives and has nothing to do with it, who cannot live, what is no number, and at last who holds it."""
        follower = next(written, None)
        if follower is not None:
            path.write_text(follower)
        return follower is None

    with locks.locked(path, told.append, stop) as held:
        assert not held
    locks.release(path, holder)
    assert told == ["", "", "", "", str(os.getpid())]


def test_waiting_for_a_lock_can_be_stopped(store: LocalStore) -> None:
    path = store.root / "locks" / "x.lock"
    holder = locks.try_lock(path)
    assert holder is not None and locks.try_lock(path) is None and locks.is_held(path)
    with locks.locked(path, lambda pid: None, lambda: True) as held:
        assert not held
    locks.release(path, holder)
    assert not path.exists() and not locks.is_held(path)


# ----------------------------------------------------------------------------------------------------------------- opening a store


def test_an_empty_or_half_made_folder_is_completed(tmp_path: Path, run_task: Any) -> None:
    for present in ([], ["objects"], ["objects", "staging", "locks"]):
        root = tmp_path / f"s{len(present)}"
        for room in present:
            (root / room).mkdir(parents=True)
        opened = LocalStore(root)
        assert not verify(opened).problems and verify(opened).checked == 0
    (root / "store.json").write_bytes(b"")  # killed while it was first opened
    (root / ".store.json.9.tmp").write_bytes(b"{")
    assert run_task(Kinds, "images", store=LocalStore(root)).key


def test_a_foreign_folder_and_a_file_are_refused_untouched(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holiday\.jpg"):
        LocalStore(foreign)
    assert [p.name for p in foreign.iterdir()] == ["holiday.jpg"]
    with pytest.raises(UserError, match="is a file"):
        LocalStore(foreign / "holiday.jpg")
    with pytest.raises((UserError, EnvironmentProblem)):
        LocalStore(foreign / "holiday.jpg" / "below")
    with pytest.raises(UserError, match="no such user"):
        LocalStore("~no-such-user/store")


def test_a_newer_store_or_artifact_asks_for_an_upgrade(tmp_path: Path, run_task: Any, store: LocalStore) -> None:
    artifact = run_task(Kinds, "images")
    body = {k: v for k, v in store.manifest(artifact.key).items() if k != "self"}
    body["schema"] = 2
    body["self"] = blake(canonical_json(body))
    manifest.write_durably(store.folder(artifact.key) / "manifest.json", canonical_json(body))
    with pytest.raises(EnvironmentProblem, match="Upgrade"):
        store.get(artifact.key)
    (store.root / "store.json").write_bytes(b'{"schema":2}')
    with pytest.raises(EnvironmentProblem, match="Upgrade"):
        LocalStore(store.root)
    for rubbish in (b"[]", b"{", b"{}", b'{"schema":"1"}', b"[" * 100_000):
        (store.root / "store.json").write_bytes(rubbish)
        with pytest.raises(FabloomError):
            LocalStore(store.root)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many kilobytes of its own."""
    mounted: list[Path] = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["images", "model"])
def test_a_full_disk_is_the_machines_fault_and_leaves_nothing_half_written(
    small_disk: Callable[[int], Path], run_task: Any, tmp_path: Path, name: str
) -> None:
    root = small_disk(400) / "store"
    opened = LocalStore(root)
    images = run_task(Kinds, "images", store=opened)
    inputs = {"images": images} if name == "model" else {}
    with pytest.raises(EnvironmentProblem, match="No space left") as caught:
        run_task(Kinds, name, {"count": 40000}, store=opened, **inputs)
    assert code_of(caught.value) == 3
    assert list(opened.keys()) == [images.key] and not verify(opened).problems
    sweep(opened)
    assert run_task(Kinds, name, {"count": 7}, store=opened, **inputs).key and not verify(opened).problems


def test_a_full_disk_without_a_mount(run_task: Any, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(os, "fsync", 2, monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(EnvironmentProblem, match="No space left"):
        run_task(Kinds, "images")
    assert not list(store.keys())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_the_machines_fault(number: int, run_task: Any, store: LocalStore, monkeypatch: Any) -> None:
    broken(locks.fcntl, "flock", 1, monkeypatch, OSError(number, os.strerror(number)))
    with pytest.raises(EnvironmentProblem, match=os.strerror(number)) as caught:
        run_task(Kinds, "images")
    assert code_of(caught.value) == 3 and not list(store.keys())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS], ids=errno.errorcode.get)
def test_what_may_not_be_touched_is_the_machines_fault_in_the_store_and_the_tasks_elsewhere(
    number: int, run_task: Any, store: LocalStore, tmp_path: Path
) -> None:
    images = run_task(Kinds, "images")
    for place, kind, code in ((store.root / "staging" / "x", EnvironmentProblem, 3), (tmp_path / "mine", StepFailed, 1)):

        def refuse(start: int, place: Path = place) -> None:
            raise OSError(number, os.strerror(number), str(place))

        Kinds.before_block = staticmethod(refuse)
        with pytest.raises(kind, match=os.strerror(number)) as caught:
            run_task(Kinds, "offline", images=images)
        assert code_of(caught.value) == code and str(place) in str(caught.value)


def test_a_read_only_store_is_the_machines_fault(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(400)
    LocalStore(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for place in (disk / "store", disk / "new"):
        with pytest.raises(EnvironmentProblem, match=r"cannot be written|cannot open"):
            LocalStore(place)


# --------------------------------------------------------------------------------------------- resolve, refs, lineage, rubbish


def test_what_a_text_stands_for(run_task: Any, store: LocalStore) -> None:
    artifact = run_task(Kinds, "images")
    store.refs.set("line-pair/champion", artifact.key)
    for text in (artifact.key, artifact.key[:6], f"key:{artifact.key[:12]}", "line-pair/champion", "ref:line-pair/champion"):
        assert store.resolve(text) == artifact.key
    for text in ("", "abc", artifact.key[:5], "0" * 40, "ref:nothing", "key:../..", "../..", "ref:../x", artifact.key + "00"):
        with pytest.raises(UserError):
            store.resolve(text)
    with pytest.raises(UserError, match="Did you mean 'line-pair/champion'"):
        store.resolve("line-pair/champoin")


def test_a_beginning_that_fits_two_keys_is_ambiguous(store: LocalStore) -> None:
    for key in ("abcdef" + "0" * 34, "abcdef" + "1" * 34):
        staged = store.stage(key)
        staged.put("x", np.zeros(1))
        staged.commit(store.folder(key), {"kind": "Model", "preimage": {"task": "kinds.images", "inputs": {}}})
    with pytest.raises(UserError, match="begins 2 keys"):
        store.resolve("abcdef")
    assert store.resolve("abcdef0") == "abcdef" + "0" * 34


def test_refs_remember_and_roll_back(store: LocalStore) -> None:
    for key in ("a" * 40, "b" * 40, "b" * 40, "c" * 40):
        store.refs.set("x/champion", key)
    store.refs.set("x", "d" * 40)
    assert store.refs.history("x/champion") == ["a" * 40, "b" * 40, "c" * 40] and store.refs.names() == ["x", "x/champion"]
    assert store.refs.rollback("x/champion").key == "b" * 40 == store.refs.get("x/champion")
    with pytest.raises(UserError, match="no earlier artifact"):
        store.refs.rollback("x")


def test_a_ref_of_a_store_older_than_the_log_is_read_and_goes_on(store: LocalStore) -> None:
    (store.root / "refs" / "old.json").write_text(json.dumps(["a" * 40, "b" * 40]))
    assert store.refs.get("old") == "b" * 40 and store.refs.names() == ["old"]
    assert [(e.n, e.action, e.key, e.at) for e in store.refs.log("old")] == [(1, "set", "a" * 40, ""), (2, "set", "b" * 40, "")]
    assert store.refs.set("old", "c" * 40, expected="b" * 40, why="better").n == 3
    assert store.refs.rollback("old", to="a" * 40).key == "a" * 40 and store.refs.held("old") == {"c" * 40}
    assert store.refs.history("old") == ["a" * 40, "b" * 40, "c" * 40, "a" * 40]


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/../b", "a//b", "a/", ".x", "a\n", "ä", "a b", "x" * 201])
def test_ref_names_that_lead_elsewhere_are_refused(store: LocalStore, name: str) -> None:
    for act in (store.refs.get, store.refs.rollback, lambda n: store.refs.set(n, "a" * 40)):
        with pytest.raises(UserError, match="no ref name"):
            act(name)
    assert not list((store.root / "refs").iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"[1]", b"3", b"\xff", b"[" * 100_000], ids=lambda content: content[:3])
def test_a_damaged_ref_is_told(store: LocalStore, content: bytes) -> None:
    (store.root / "refs" / "x.json").write_bytes(content)
    with pytest.raises(DamagedArtifact, match="ref 'x' is damaged"):
        store.refs.get("x")


def test_lineage_walks_to_everything(run_task: Any, store: LocalStore) -> None:
    made = make_all(run_task)
    assert list(store.lineage(made["model"].key)) == [made["model"].key, made["images"].key]
    assert list(store.lineage(made["images"].key)) == [made["images"].key]


def test_leftovers_are_told_and_swept_but_not_those_of_the_living(run_task: Any, store: LocalStore) -> None:
    images = recorded_in_part(run_task)
    (dead,) = {p.name for p in (store.root / "staging").iterdir()}
    (store.root / "locks" / f"{'e' * 40}.lock").touch()
    (store.root / "staging" / f"aside-{'e' * 40}-1").mkdir()
    told = {f"staging/aside-{'e' * 40}-1", f"staging/{dead}", f"work/{dead}", f"locks/{'e' * 40}.lock"}
    assert set(verify(store).leftovers) == told and not verify(store).problems
    lock = store.root / "locks" / f"{dead}.lock"
    holder = locks.try_lock(lock)
    assert holder is not None
    assert [p.name for p in leftovers(store)] == [f"aside-{'e' * 40}-1", f"{'e' * 40}.lock"]
    removed, _ = sweep(store)
    assert len(removed) == 2 and (store.root / "staging" / dead).is_dir()
    locks.release(lock, holder)
    removed, freed = sweep(store)
    assert len(removed) == 2 and freed > 0 and verify(store).leftovers == [] and list(store.keys()) == [images.key]
    assert sweep(store) == ([], 0)


def killed_over(work: Callable[[], Any], name: str) -> None:
    """Do the work in a child that is killed as it is about to rename a temporary file over `name`."""
    child = os.fork()
    if child == 0:
        real = Path.replace

        def dies(self: Path, target: Path) -> Path:
            if target.name == name:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.replace = dies  # type: ignore[method-assign]
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_files_that_a_killed_process_did_not_come_to_rename_are_told_and_swept(store: LocalStore, tmp_path: Path) -> None:
    """Of a promotion, of the first opening, of the memory of sources and of a report page; a living writer's are not."""
    other = tmp_path / "other"
    killed_over(lambda: LocalStore(other), "store.json")
    store.refs.set("line/champion", "a" * 40)
    killed_over(lambda: LocalStore(store.root).refs.set("line/champion", "b" * 40), "champion.json")
    killed_over(lambda: LocalStore(store.root).hasher(Path(__file__)), "sources.json")  # one that is at rest
    killed_over(lambda: (store.pages.mkdir(), durable.write_durably(store.pages / "page.html", b"x")), "page.html")
    told = [name.rpartition("/")[::2] for name in verify(store).leftovers]
    names = {("refs", ".lock"), ("refs/line", ".champion.json.*.tmp"), ("work", ".sources.json.*.tmp"), ("reports", ".page.html.*.tmp")}
    assert {(room, re.sub("[0-9a-f]{16}", "*", name)) for room, name in told} == names and len(told) == 4
    with durable.replacing(store.root / "refs" / "living.json") as (file, temporary):
        file.write(b"[]")
        removed, freed = sweep(store)
        assert len(removed) == 4 and freed > 0 and temporary.exists() and verify(store).leftovers == []
    assert store.refs.history("line/champion") == ["a" * 40]
    opened = LocalStore(other)
    assert re.fullmatch(r"\.store\.json\.[0-9a-f]{16}\.tmp", *verify(opened).leftovers)
    assert len(sweep(opened)[0]) == 1 and verify(opened).leftovers == [] and LocalStore(other)


def test_a_file_that_is_swept_before_its_writer_could_lock_it_is_written_again(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real, swept = durable._claimed, []

    def late(file: Any) -> bool:
        swept.extend(sweep(store)[0] if not swept else [])
        return real(file)

    monkeypatch.setattr(durable, "_claimed", late)
    store.refs.set("champion", "a" * 40)
    assert len(swept) == 1 and store.refs.get("champion") == "a" * 40 and verify(store).leftovers == []


def test_what_is_held_stays_with_what_it_was_made_from(run_task: Any, store: LocalStore) -> None:
    made = make_all(run_task)
    with store.lock(made["model"].key, lambda pid: None, lambda: False):
        assert set(collect(store, 0.0)[0]) == {made["offline"].key, made["report"].key}
    assert set(store.keys()) == {made["model"].key, made["images"].key} and not verify(store).problems


def test_what_a_ref_or_a_run_wants_is_not_collected_when_it_comes_in_that_moment(
    run_task: Any, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed after it was looked which artifacts are reached, and before they are listed."""
    key, keys = planned(store).key, LocalStore.keys

    def just_now(self: LocalStore) -> Any:
        assert run_task(Kinds, "images").key == key
        return keys(self)

    monkeypatch.setattr(LocalStore, "keys", just_now)
    with store.pinned([key]):
        assert unreferenced(store, -1.0) == []
    assert unreferenced(store, -1.0) == [key]
    store.set_aside(key)
    store.refs.set("champion", key)
    assert unreferenced(store, -1.0) == []


def test_a_stored_input_of_a_run_is_pinned_too(run_task: Any, store: LocalStore) -> None:
    made = run_task(Kinds, "images")
    registry = Registry()
    registry._add_method(Kinds, Origin("kinds", "kinds", "1"))
    one = {"task": "kinds.model", "inputs": {"images": f"key:{made.key}"}}
    plan = make_plan(Pipeline.parse({"name": "two", "steps": {"model": one}}), registry, store)
    with store.pinned(plan.keys()):
        assert collect(store, 0.0) == ([], 0)
    assert collect(store, 0.0)[0] == [made.key]


def test_a_ref_that_was_only_held_against_points_at_nothing_and_breaks_nothing(store: LocalStore) -> None:
    store.refs.hold("champion", "a" * 40)
    for ask in (store.refs.get, store.refs.rollback, lambda name: store.resolve(f"ref:{name}")):
        with pytest.raises(UserError, match="points at nothing yet"):
            ask("champion")
    assert not verify(store).problems and unreferenced(store, 0.0) == []
    assert store.refs.set("champion", "a" * 40).n == 2


@pytest.mark.parametrize("moment", ["before the array", "before the file"])
def test_a_reader_never_gives_what_a_redo_made_later(store: LocalStore, moment: str) -> None:
    """Another content in files of equal size, with equal metadata and first chunks: what is open is read on, what is not is an error."""
    key, facts = "ab" * 20, {"kind": "OfflineData", "preimage": {"task": "kinds.images", "inputs": {}}}

    def make(value: int) -> None:
        staged = store.stage(key)
        writer = staged.rows(2, 2, {"row": RowSpec("uint8", (SMALL_ROW,), compress=False)})
        writer.append({"row": np.repeat(np.array([[1], [value]], np.uint8), SMALL_ROW, axis=1)})
        writer.close()
        staged.put("tensor", np.full(5, value))
        store.commit(staged, facts, replace=True)

    make(1)
    artifact: Any = store.get(key)
    arrays = {name: artifact.array(name) for name in ("row", "tensor")} if moment == "before the file" else {}
    make(1)
    opened = artifact.array("row")
    assert (opened[0] == 1).all(), "made again alike: nothing has changed"
    make(2)
    assert (opened[1] == 1).all()
    for name in ("row", "tensor"):
        with pytest.raises(DamagedArtifact, match="another content"):
            (arrays.get(name) or artifact.array(name))[-1]
    assert (store.get(key).array("row")[1] == 2).all()


def test_old_pages_go_and_the_newest_stay(store: LocalStore) -> None:
    (store.root / "reports").mkdir()
    for index in range(23):
        page = store.root / "reports" / f"{index:02d}.html"
        page.write_text("x")
        os.utime(page, (index, index))
    removed, _ = sweep(store)
    assert [p.name for p in removed] == ["00.html", "01.html", "02.html"]


def test_only_what_no_ref_reaches_and_is_old_is_unreferenced(run_task: Any, store: LocalStore) -> None:
    made = make_all(run_task)
    store.refs.set("champion", made["model"].key)
    assert sorted(unreferenced(store, 0.0)) == sorted([made["offline"].key, made["report"].key])
    assert unreferenced(store, 1.0) == []
    old = store.folder(made["report"].key) / "manifest.json"
    os.utime(old, (0, 0))
    assert unreferenced(store, 1.0) == [made["report"].key]
    store.refs.set("champion", made["report"].key)
    assert sorted(unreferenced(store, 0.0)) == [made["offline"].key], "what a ref pointed at before can be rolled back to"


def test_a_task_that_returns_another_kind_or_writes_unwritable_attributes_fails_and_commits_nothing(
    store: LocalStore, run_task: Any
) -> None:
    class Bad(Method):
        name = "bad"

        @task(version=1)
        def nan(self, ctx: Context, params: Size) -> Report:
            return Report.write(ctx, {"dice": float("nan")})

        @task(version=1)
        def other(self, ctx: Context, params: Size) -> Report:
            return ImageSet.write(ctx, np.zeros((1, 1, 2, 2), np.uint8))  # type: ignore[return-value]

    with pytest.raises(StepFailed, match="nan has no canonical form"):
        run_task(Bad, "nan")
    with pytest.raises(StepFailed, match="must return Report, not ImageSet"):
        run_task(Bad, "other")
    assert not list(store.keys())


def test_the_manifest_is_plain_canonical_json(run_task: Any, store: LocalStore) -> None:
    path = store.folder(run_task(Kinds, "images").key) / "manifest.json"
    assert canonical_json(json.loads(path.read_bytes())) == path.read_bytes()
