"""`precision: auto`: what it comes to, that a step stays with it, that it costs nothing where nothing asks. The probe is faked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fabloom.errors import Interrupted
from fabloom.kinds import Model
from fabloom.method import Context, Method, Options, PlannedStep, task
from fabloom.params import Params, Precision
from fabloom.planning.plan import make_plan
from fabloom.precision import Finding, asked_by, choose, memory, probe
from fabloom.running.engine import Engine, prepare
from fabloom.running.execute import run_step
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore
from fabloom.testing.running import plan_task, run_task

CPU = torch.device("cpu")
NATIVE, IMITATED = Finding.timed(1.9), Finding.timed(0.31)


class Group(Params):
    precision: Precision = "auto"


class Asking(Params):
    precision: Precision = "auto"
    steps: int = 4
    inner: Group = Group(precision="fp32")
    several: tuple[Group, ...] = ()


class Half(Method):
    """Says in what its network computed, and with how many threads."""

    name = "half"
    seen: list[str] = []

    @task(version=1)
    def learn(self, ctx: Context, params: Asking) -> Model:
        net = torch.nn.Linear(4, 4)
        for _ in ctx.loop(params.steps, net=net):
            with ctx.autocast(params.precision):
                Half.seen.append(str(net(torch.ones(1, 4)).dtype).removeprefix("torch."))
        return Model.write(ctx, net.state_dict(), {"threads": torch.get_num_threads()})


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Half.seen.clear()
    yield


def fake(monkeypatch: pytest.MonkeyPatch, found: Finding) -> list[str]:
    """Replace the measurement; gives the list of devices that were measured."""
    asked: list[str] = []
    monkeypatch.setattr(probe, "measure", lambda device: (asked.append(device.type), found)[1])
    return asked


def forget(tmp_path: Path) -> None:
    for file in (tmp_path / "cache").rglob("*.json"):
        file.unlink()


@pytest.mark.parametrize(
    ("found", "used", "dtype"), [(NATIVE, "bf16", "bfloat16"), (IMITATED, "fp32", "float32")], ids=["native", "imitated"]
)
def test_auto_is_bf16_only_where_it_is_native(
    found: Finding, used: str, dtype: str, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fake(monkeypatch, found)
    model = run_task(store, Half, "learn")
    manifest = store.manifest(model.key)
    assert set(Half.seen) == {dtype} and manifest["precision"]["auto"] == {"used": used, "why": str(found)}
    assert manifest["preimage"]["params"]["precision"] == "auto" and manifest["precision"]["fp32"]["used"] == "fp32"
    run_task(store, Half, "learn", seed=1)
    assert asked == ["cpu"], "measured once, then remembered"
    assert "precision" not in json.dumps(model.attrs), "circumstances stay out of the artifact"
    run_task(MemoryStore(), Half, "learn", {"precision": "bf16"})
    assert Half.seen[-1] == "bfloat16", "what is asked is done, native or not"


def test_a_step_that_goes_on_keeps_precision_and_threads_and_one_that_starts_anew_does_not(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, NATIVE)
    monkeypatch.setenv("FABLOOM_THREADS", "2")
    step = plan_task(store, Half, "learn", {}, 0, {})
    with pytest.raises(Interrupted):
        run_step(step, store, Options(device="cpu", checkpoint_seconds=0), stop=lambda: len(Half.seen) >= 2)
    assert list(store.work(step.key).glob("ckpt-*"))
    forget(tmp_path)
    fake(monkeypatch, IMITATED)
    monkeypatch.setenv("FABLOOM_THREADS", "1")
    told: list[str] = []
    run_step(step, store, Options(device="cpu"), lambda event: told.append(event.get("message", "")))
    assert Half.seen == ["bfloat16"] * 4
    manifest = store.manifest(step.key)
    assert manifest["threads"] == 2 and manifest["precision"]["auto"]["used"] == "bf16"
    assert any("2 threads, as this step began" in line for line in told)
    other = plan_task(store, Half, "learn", {}, 1, {})  # the control: begun, but with nothing to go on from
    work = store.work(other.key)
    work.mkdir()
    for name in ("precision.json", "threads.json"):
        (work / name).write_text("{}")
    run_step(other, store, Options(device="cpu"))
    assert store.manifest(other.key)["threads"] == 1 and Half.seen[-1] == "float32"


def plan_of(registry, store: LocalStore, asked: str):
    from fabloom.pipeline import Pipeline

    steps = {name: {"task": "half.learn", "seed": seed, "params": {"precision": asked}} for seed, name in enumerate("ab")}
    return make_plan(Pipeline.parse({"name": "halves", "steps": steps}), registry, store)


@pytest.mark.parametrize(
    ("asked", "found", "warned"),
    [("bf16", IMITATED, True), ("bf16", NATIVE, False), ("auto", IMITATED, False), ("fp32", IMITATED, False)],
    ids=["imitated", "native", "auto", "fp32"],
)
def test_bf16_where_it_is_imitated_is_told_once_before_the_run(
    asked: str, found: Finding, warned: bool, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fabloom.registry import Registry
    from fabloom.registry.discovery import Origin

    registry = Registry()
    registry._add_method(Half, Origin("half", "half", "1"))
    measured = fake(monkeypatch, found)
    told: list[str] = []
    prepare(plan_of(registry, store, asked), Engine(registry, store, Options(device="cpu"), lambda event: told.append(event["message"])))
    assert bool(told) is warned and not Half.seen
    if warned:
        assert told == ["steps a, b ask for precision bf16, but bf16 runs 0.31 times as fast as fp32 here: it is imitated. "
                        "auto or fp32 would be faster."]  # fmt: skip
    assert bool(measured) is (asked == "bf16"), "nothing is measured for who does not ask"


@pytest.mark.parametrize("damage", ["flip", "truncate", "other", "factor", "folder"])
def test_a_broken_memory_is_measured_anew(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake(monkeypatch, NATIVE)
    choose("auto", CPU)
    (file,) = (tmp_path / "cache").rglob("*.json")
    text = file.read_bytes()
    assert choose("auto", CPU).used == "bf16" and len(asked) == 1
    if damage == "flip":
        file.write_bytes(text.replace(b"1.9", b"0.9"))
    elif damage == "truncate":
        file.write_bytes(text[:40])
    elif damage == "other":
        memory.write_note(file, {"machine": memory.machine("mps"), "factor": 0.1})
    elif damage == "factor":
        memory.write_note(file, {"machine": memory.machine("cpu"), "factor": "a lot"})
    else:
        file.unlink()
        file.mkdir()
    assert choose("auto", CPU).used == "bf16" and len(asked) == 2


def test_without_a_place_to_remember_it_is_measured_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake(monkeypatch, IMITATED)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made there
    assert [choose("auto", CPU).used for _ in range(2)] == ["fp32"] * 2 and asked == ["cpu"] * 2


def test_how_long_float32_took_is_remembered_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    here = memory.machine("cpu")
    memory.remember(here, 1.9)
    assert memory.recall(here) == 1.9 and memory.recall(here, "seconds") is None, "as before it was kept"
    memory.place(here).unlink()  # type: ignore[union-attr]
    fake(monkeypatch, Finding.timed(0.5, 0.002))
    choose("auto", CPU)
    assert memory.recall(here) == 0.5 and memory.recall(here, "seconds") == 0.002


def test_the_memory_is_of_this_machine_and_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    here = memory.place(memory.machine("cpu"))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert memory.place(memory.machine("cpu")) != here
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/somewhere")
    place = memory.place(memory.machine("cpu"))
    assert place is not None and place.is_relative_to("/somewhere/.cache")


def test_the_real_probe_is_cheap_and_leaves_nothing_changed() -> None:
    torch.manual_seed(3)
    before, threads, spent = torch.get_rng_state(), torch.get_num_threads(), os.times()
    found = probe.measure(CPU)
    after = os.times()
    assert after.user + after.system - spent.user - spent.system < 1.0
    assert found.factor is not None and found.factor > 0 and found.native is (found.factor >= probe.NATIVE)
    assert found.seconds is not None and 0 < found.seconds < 1
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_what_asks_is_found_in_groups_and_other_words_are_refused() -> None:
    assert list(asked_by(Asking(precision="bf16", several=(Group(), Group())))) == ["bf16", "fp32", "auto", "auto"]
    with pytest.raises(ValueError, match="auto, fp32 or bf16"):
        choose("half", CPU)
    with pytest.raises(ValueError, match="precision"):
        Asking(precision="fp16")  # type: ignore[arg-type]


def test_asking_what_is_chosen_needs_no_torch_in_this_process(tmp_path: Path) -> None:
    code = "import sys; from fabloom.running.arithmetic import inspect; print(inspect('cpu').native, 'torch' in sys.modules)"
    memory.remember(memory.machine("cpu"), 1.5)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_steps_are_named_in_the_plan_with_what_was_asked(store: LocalStore) -> None:
    """A key is the same on every machine."""
    step: PlannedStep = plan_task(store, Half, "learn", {}, 0, {})
    assert step.preimage["params"]["precision"] == "auto"
