"""A checkpoint that is not what was written is never gone on from, and one that cannot be written leaves nothing."""

from __future__ import annotations

import hashlib
import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fabloom.kinds import Model
from fabloom.method import Context, Method, Options, StepResult, task
from fabloom.method.checkpoint import Damaged, read, save, saved
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Origin, Registry
from fabloom.running.engine import Engine, run_inline
from fabloom.storage.backends.local import LocalStore

Damage = Callable[[bytes, random.Random], bytes]


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def zeroed(data: bytes, chance: random.Random) -> bytes:
    at = 512 * chance.randrange(len(data) // 512)
    return data[:at] + bytes(512) + data[at + 512 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


DAMAGES: list[Damage] = [flipped, zeroed, cut]


def content(step: int) -> dict[str, Any]:
    torch.manual_seed(step)
    return {"step": step, "state": {"net": nn.Linear(40, 40).state_dict()}}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_seen_before_the_content_is_interpreted(tmp_path: Path, damage: Damage) -> None:
    """torch alone accepts some of it: that is what the hash is for."""
    chance = random.Random(1)
    sound = save(tmp_path, "main", 5, content(5)).read_bytes()
    accepted = 0
    (path,) = saved(tmp_path, "main")
    for _ in range(100):
        hurt = damage(sound, chance)
        if hurt == sound:
            continue
        path.write_bytes(hurt)
        with pytest.raises(Damaged, match="hashes to"):
            read(path)
        try:
            torch.load(path, weights_only=True)
            accepted += 1
        except Exception:
            continue
    assert accepted or damage is cut
    path.write_bytes(sound)
    assert read(path)["step"] == 5


def test_a_checkpoint_under_another_name_is_not_believed(tmp_path: Path) -> None:
    first, second = save(tmp_path, "main", 1, content(1)), save(tmp_path, "main", 2, content(2))
    first.replace(second)
    with pytest.raises(Damaged):
        read(second)


def test_the_newest_two_of_each_loop_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 999_999_999, 1_000_000_000):
        save(tmp_path, "main", step, content(1))
    save(tmp_path, "main_2", 7, content(1))
    (tmp_path / "ckpt-main-000000011.pt").write_bytes(b"of an older version")
    assert [read(path)["step"] for path in saved(tmp_path, "main")] == [1, 1]
    assert [path.name.split("-")[2] for path in saved(tmp_path, "main")] == ["999999999", "1000000000"]
    assert len(saved(tmp_path, "main_2")) == 1


def test_what_a_kill_left_half_written_goes_with_the_next_one(tmp_path: Path) -> None:
    for name in (".ckpt-main.0123456789abcdef.tmp", ".ckpt-main_2.0123456789abcdef.tmp"):
        (tmp_path / name).write_bytes(b"torn")
    path = save(tmp_path, "main", 1, content(1))
    assert {p.name for p in tmp_path.iterdir()} == {path.name, ".ckpt-main_2.0123456789abcdef.tmp"}


@contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """Files of this process end at `most` bytes, by the kernel: EFBIG below everything that torch does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("most", [0, 1000, 6000])
def test_a_full_disk_is_told_as_such_and_leaves_nothing(tmp_path: Path, most: int) -> None:
    kept = save(tmp_path, "main", 1, content(1))
    with file_size_limit(most), pytest.raises(OSError, match="File too large"):
        save(tmp_path, "main", 2, content(2))
    assert list(tmp_path.iterdir()) == [kept]
    assert read(kept)["step"] == 1


class Walk(Params):
    steps: int = 12


class Walker(Method):
    """A random walk of a layer's weights: every step depends on all before."""

    name = "walker"
    shape = 3

    @task(version=1)
    def walk(self, ctx: Context, params: Walk) -> Model:
        layer = nn.Linear(Walker.shape, 1, bias=False)
        with torch.no_grad():
            layer.weight.zero_()
            for _ in ctx.loop(params.steps, layer=layer):
                layer.weight.add_(torch.randn(1, Walker.shape, generator=ctx.generator("walk")))
        return Model.write(ctx, layer.state_dict(), {})


PIPELINE = Pipeline.parse({"name": "walk", "steps": {"walk": {"task": "walker.walk"}}})


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made._add_method(Walker, Origin("walker", "walker", "1"))
    return made


def execute(registry: Registry, store: LocalStore, **more: Any) -> StepResult:
    plan = make_plan(PIPELINE, registry, store)
    (result,) = run_inline(plan, Engine(registry, store, Options(device="cpu"), **more))
    return result


def stopped(registry: Registry, store: LocalStore) -> list[Path]:
    """The checkpoints of a walk that was stopped half way, and one earlier, the newest last."""
    for most in (6, 5):
        polls = iter(range(100))
        result = execute(registry, store, stop=lambda most=most, polls=polls: next(polls) == most)
        assert result.exit_code == 130
    return saved(store.work(result.key), "main")


@pytest.mark.parametrize("hurt", [1, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_goes_on_from_what_is_sound_and_ends_as_if_nothing_had_been(
    registry: Registry, tmp_path: Path, damage: Damage, hurt: int
) -> None:
    whole = execute(registry, LocalStore(tmp_path / "whole"))
    for seed in range(4):
        store = LocalStore(tmp_path / f"damaged-{seed}")
        first, second = stopped(registry, store)
        for path in (first, second)[-hurt:]:
            path.write_bytes(damage(path.read_bytes(), random.Random(seed)))
        events: list[dict[str, Any]] = []
        result = execute(registry, store, emit=events.append)
        assert result.digest == whole.digest
        told = [event["message"] for event in events if event["event"] == "log"]
        assert sum("is left out" in line for line in told) == hurt
        assert (f"going on from step {int(first.name.split('-')[2])} of 'main'" in told) == (hurt == 1)


def test_after_one_was_left_out_the_two_newest_sound_ones_are_kept(registry: Registry, store: LocalStore) -> None:
    """A damaged one further on must not count, let alone push out what was just written."""
    first, second = stopped(registry, store)
    second.write_bytes(b"damaged")
    polls = iter(range(100))
    stop = execute(registry, store, stop=lambda: next(polls) == 3)
    assert stop.exit_code == 130
    kept = saved(store.work(stop.key), "main")
    assert kept[0] == first and len(kept) == 2 and [read(path)["step"] for path in kept] == [5, 7]


def test_a_checkpoint_of_another_step_or_loop_is_not_gone_on_from(registry: Registry, tmp_path: Path) -> None:
    """It is whole and of the same shapes; only what is written in it says whose it is."""
    whole = execute(registry, LocalStore(tmp_path / "whole"))
    for number, other in enumerate(({"of": ["f" * 40, "main"]}, {"of": [whole.key, "second"]})):
        store = LocalStore(tmp_path / f"mixed-{number}")
        for path in stopped(registry, store):
            step = read(path)["step"]
            path.unlink()
            made = {**content(step), **other, "state": {"layer": nn.Linear(3, 1, bias=False).state_dict()}}
            forged = save(tmp_path, f"held_{number}_{step}", step, made)
            forged.rename(path.with_name(f"ckpt-main-{'-'.join(forged.name.split('-')[2:])}"))
        events: list[dict[str, Any]] = []
        assert execute(registry, store, emit=events.append).digest == whole.digest
        assert sum("another step or loop wrote it" in event.get("message", "") for event in events) == 2


class Fussy:
    """Something of the loop that refuses what another version of it wrote, after others took theirs."""

    version = 1

    def state_dict(self) -> dict[str, Any]:
        return {"version": Fussy.version}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if Fussy.version == 0:
            raise MemoryError
        if state["version"] != Fussy.version:
            raise ValueError(f"written by version {state['version']}")


class FussyWalker(Method):
    """The same walk, with a passenger that may refuse."""

    name = "walker"

    @task(version=1)
    def walk(self, ctx: Context, params: Walk) -> Model:
        layer = nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            for _ in ctx.loop(params.steps, layer=layer, fussy=Fussy()):
                layer.weight.add_(torch.randn(1, 3, generator=ctx.generator("walk")) + torch.randn(()))
        return Model.write(ctx, layer.state_dict(), {})


@pytest.fixture
def fussy() -> Registry:
    made = Registry()
    made._add_method(FussyWalker, Origin("walker", "walker", "1"))
    return made


def test_a_sound_checkpoint_that_does_not_fit_changes_nothing_and_the_loop_begins_anew(
    fussy: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer has taken the checkpoint's weights, and every generator its state, when the passenger refuses."""
    whole = execute(fussy, LocalStore(tmp_path / "whole"))
    store = LocalStore(tmp_path / "stopped")
    stopped(fussy, store)
    monkeypatch.setattr(Fussy, "version", 2)
    events: list[dict[str, Any]] = []
    polls = iter(range(100))
    early = execute(fussy, store, emit=events.append, stop=lambda: next(polls) == 2)
    told = [event["message"] for event in events if event["event"] == "log"]
    assert sum("does not fit and is set aside: ValueError: written by version 1" in line for line in told) == 2
    assert "beginning 'main' anew: none of its 2 checkpoints can be gone on from" in told
    work = store.work(early.key)
    assert len(list(work.glob("unfit-ckpt-*.pt"))) == 2 and len(saved(work, "main")) == 1, "what is sound is not removed"
    assert execute(fussy, store).digest == whole.digest


def test_a_newer_torch_wrote_the_newest_and_the_one_before_is_used(registry: Registry, tmp_path: Path) -> None:
    whole = execute(registry, LocalStore(tmp_path / "whole"))
    store = LocalStore(tmp_path / "stopped")
    first, second = stopped(registry, store)
    foreign = b"PK of a format to come"
    second.unlink()
    second.with_name(f"ckpt-main-000000009-{hashlib.blake2b(foreign, digest_size=20).hexdigest()}.pt").write_bytes(foreign)
    events: list[dict[str, Any]] = []
    assert execute(registry, store, emit=events.append).digest == whole.digest
    told = [event["message"] for event in events if event["event"] == "log"]
    assert any("does not fit and is set aside: this torch" in line and "\n" not in line for line in told)
    assert f"going on from step {int(first.name.split('-')[2])} of 'main'" in told


def test_a_lack_of_memory_does_not_cost_the_checkpoints(fussy: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = stopped(fussy, store)
    monkeypatch.setattr(Fussy, "version", 0)
    assert "out of memory" in execute(fussy, store).error
    assert saved(paths[0].parent, "main") == paths


@pytest.mark.parametrize("what", ["FIFO", "device", "folder", "link"])
def test_what_is_no_file_is_left_out_and_nobody_waits_for_it(registry: Registry, tmp_path: Path, what: str) -> None:
    whole = execute(registry, LocalStore(tmp_path / "whole"))
    store = LocalStore(tmp_path / "stopped")
    put: dict[str, Callable[[Path], Any]] = {
        "FIFO": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": Path.mkdir, "link": lambda p: p.symlink_to(p),
    }  # fmt: skip
    for path in stopped(registry, store):
        path.unlink()
        put[what](path)
    assert execute(registry, store).digest == whole.digest
