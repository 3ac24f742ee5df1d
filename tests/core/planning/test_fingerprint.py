"""What the source fingerprint covers: a method's package and what it imports of its own distribution; not the engine."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import Interrupted
from fabloom.method import Options
from fabloom.method.blame import method_module
from fabloom.planning.fingerprint import source_fingerprint, sources
from fabloom.planning.modules import COMPUTING
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_step.denoising_circuits.method import DenoisingCircuits
from fabloom.running import execute
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import plan_task

METHOD = """
from fabloom import Context, Method, Model, Params, task

from ..blocks import pace

class FadeParams(Params):
    steps: int = 6

class Fade(Method):
    name = "fade-away"

    @task(version=1)
    def make(self, ctx: Context, params: FadeParams) -> Model:
        import torch

        net = torch.nn.Linear(1, 1)
        for step in ctx.loop(params.steps, net=net):
            net.weight.data += pace()
        return Model.write(ctx, state=net.state_dict(), config={})
"""
FILES = {
    "__init__.py": "",
    "fade/__init__.py": "",
    "fade/method.py": METHOD,
    "blocks/__init__.py": "from acme_looms.blocks.paces import pace\n",
    "blocks/paces.py": "def pace():\n    from .deeper import slow\n    return slow()\n",
    "blocks/deeper.py": "def slow():\n    return 0.5\n",
    "blocks/typed.py": "class Typed: ...\n",
    "other/__init__.py": "VALUE = 1\n",
    "fade/late.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from acme_looms.blocks.typed import Typed\n",
}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A third party's package: a method in one room, its blocks in another."""
    root = tmp_path / "site" / "acme_looms"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(root.parent))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_looms"]:
        del sys.modules[name]


def test_imports_are_followed_within_the_distribution_and_nothing_is_imported_for_it(acme: Path) -> None:
    found = {name.removeprefix("acme_looms.") for name in sources("acme_looms.fade")}
    assert found == {"fade", "fade.method", "fade.late", "blocks", "blocks.paces", "blocks.deeper"}
    assert not [name for name in sys.modules if name.startswith("acme_looms")]


@pytest.mark.parametrize(
    ("name", "same"),
    [("fade/method.py", False), ("blocks/__init__.py", False), ("blocks/deeper.py", False), ("blocks/typed.py", True), ("other/__init__.py", True)],
)  # fmt: skip
def test_a_change_counts_where_the_method_computes_with_it(acme: Path, name: str, same: bool) -> None:
    before = source_fingerprint("acme_looms.fade")
    (acme / name).write_text(FILES[name] + "\nMORE = 1\n")
    assert (source_fingerprint("acme_looms.fade") == before) is same


def work(store: LocalStore, stop: Callable[[], bool]) -> list[dict[str, Any]]:
    """Run the task of a new process in which the package was imported anew; what it told."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_looms"]:
        del sys.modules[name]
    execute._fingerprint.cache_clear()
    method = importlib.import_module("acme_looms.fade.method").Fade
    events: list[dict[str, Any]] = []
    step = plan_task(store, method, "make", {}, 0, {})
    try:
        execute.run_step(step, store, Options(device="cpu", checkpoint_seconds=0.0), events.append, stop)
    except Interrupted:
        events.append({"event": "stopped"})
    return events


@pytest.mark.parametrize(("changed", "over"), [("blocks/deeper.py", True), ("other/__init__.py", False), (None, False)])
def test_a_changed_block_starts_a_stopped_training_over(acme: Path, store: LocalStore, changed: str | None, over: bool) -> None:
    asked = iter([False] * 3)
    assert work(store, lambda: next(asked, True))[-1] == {"event": "stopped"}
    if changed is not None:
        (acme / changed).write_text(FILES[changed].replace("0.5", "0.25").replace("VALUE = 1", "VALUE = 2"))
    told = work(store, lambda: False)
    first = next(event["done"] for event in told if event["event"] == "progress")
    assert any("starting over" in event.get("message", "") for event in told) is over
    assert (first == 0) is over, "the loop begins where the checkpoint is, or at its beginning"


def test_our_own_methods_count_their_blocks_and_not_the_engine() -> None:
    scales = sources(method_module(SinDdm))
    blocks = {name for name in scales if name.startswith("fabloom.plugins.blocks.")}
    assert len(blocks) >= 9 and "fabloom.plugins.blocks.scale_training" in blocks
    circuits = sources(method_module(DenoisingCircuits))
    assert "fabloom.storage.format.quantise" in circuits and "fabloom.storage.format.quantise" not in scales
    assert not [name for name in {*scales, *circuits} if not name.startswith(COMPUTING)]
