"""A checkpoint that is not what was written is never gone on from, and one that cannot be written leaves nothing."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.method import Context, Method, Options, StepResult, checkpoint, task
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
    for most in (4, 3):
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


def test_a_sound_checkpoint_that_does_not_fit_is_an_error_that_says_what_to_do(
    registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(registry, store)
    monkeypatch.setattr(Walker, "shape", 4)
    result = execute(registry, store)
    assert result.exit_code == DataError.exit_code and "Remove '" in result.error and "does not fit what loop 'main'" in result.error
    assert checkpoint.saved(store.work(result.key), "main"), "what is sound is not removed"
