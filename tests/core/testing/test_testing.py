"""The parts of the kit by themselves: fingerprint, lock, memory store, tiny artifacts; and its documentation is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabloom import ImageSet, Model, testing
from fabloom.planning.fingerprint import source_fingerprint
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, MethodConformance, run_task, tiny_images, write_artifact
from fabloom.testing.method import checks, lock
from fabloom.testing.tiny import TINY

ROOT = Path(__file__).parents[3]


def test_every_check_and_setting_is_documented() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    for name in vars(MethodConformance):
        if name.startswith("test_"):
            assert f"| `{name}` |" in page, name
    for name in MethodConformance.__annotations__:
        assert f"| `{name}` |" in page, name
    for name in testing.__all__:
        assert f"{name}" in page, name


SOURCE = '"""A module."""\n\ndef f(x: int) -> int:\n    """Twice."""\n    return x + x  # twice\n'


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (SOURCE.replace("# twice", "# two times"), True),
        (SOURCE.replace('"""Twice."""', '"""Two times."""'), True),
        (SOURCE.replace("x + x", "(x\n            + x)"), True),
        (SOURCE.replace("x + x", "x - x"), False),
        (SOURCE.replace("x: int", "x: float"), False),
        (SOURCE + "\nVALUE = 1\n", False),
        (SOURCE.replace("x + x", "x + 1"), False),
        (SOURCE.replace("x + x", "x + 1.0"), False),
    ],
)
def test_the_fingerprint_sees_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, same: bool) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for source in (SOURCE, changed):
        (tmp_path / "printed.py").write_text(source)
        found.append(source_fingerprint("printed"))
    assert (found[0] == found[1]) is same and len(found[0]) == 40


def test_the_fingerprint_covers_a_package_and_what_has_no_source_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bundle" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py", "deep/net.py"):
        (tmp_path / "bundle" / name).write_text("A = 1\n")
    before = source_fingerprint("bundle")
    (tmp_path / "bundle" / "deep" / "net.py").write_text("A = 2\n")
    assert source_fingerprint("bundle") != before
    assert source_fingerprint("sys") == source_fingerprint("no_such_module_anywhere") == ""


def test_the_lock_tells_what_disagrees(tmp_path: Path) -> None:
    file = tmp_path / lock.NAME
    now = lock.Locked("abc", {"train": 2, "sample": 1})
    lock.write(file, "other", lock.Locked("x", {"train": 1}))
    lock.write(file, "weave", now)
    known = lock.read(file)
    assert set(known) == {"other", "weave"} and known["weave"] == now
    told = {
        "not in the lock": lock.disagreement(None, now),
        "": lock.disagreement(now, now),
        "another source": lock.disagreement(now, lock.Locked("def", {"train": 2, "sample": 1})),
        "another version": lock.disagreement(now, lock.Locked("def", {"train": 3, "sample": 1})),
        "a version only rises": lock.disagreement(now, lock.Locked("def", {"train": 1, "sample": 1})),
    }
    for words, said in told.items():
        assert (words in said) if words else said == ""
    file.write_text("{broken")
    with pytest.raises(ValueError, match="write it anew with `pytest --fabloom-lock`"):
        lock.read(file)


@pytest.mark.parametrize("kind", TINY)
def test_tiny_artifacts_are_sound_and_the_same_in_both_stores(kind: str, tmp_path: Path) -> None:
    stores: list[Any] = [MemoryStore(), LocalStore(tmp_path / "store")]
    here, there = (write_artifact(store, TINY[kind], seed=3) for store in stores)
    assert here.kind == there.kind == kind and not checks.problems(there)
    assert dict(here.attrs) == dict(there.attrs)
    for name in there._reader.names():  # type: ignore[attr-defined]
        assert (here.array(name)[...] == there.array(name)[...]).all()
    assert write_artifact(stores[0], TINY[kind], seed=3).digest == here.digest
    if kind != "Report":
        assert write_artifact(stores[0], TINY[kind], seed=4).digest != here.digest


def test_a_memory_store_gives_what_a_store_gives(tmp_path: Path) -> None:
    found: list[ImageSet] = []
    for store in (MemoryStore(), LocalStore(tmp_path / "store")):
        images = write_artifact(store, tiny_images)
        model = run_task(
            store, Ddpm, "train", {"steps": 2, "batch": 2, "network": {"channels": [8, 16], "norm_groups": 4}}, inputs={"images": images}
        )
        samples = run_task(store, Ddpm, "sample", {"count": 2, "steps": 2}, inputs={"model": model})
        again = run_task(store, Ddpm, "sample", {"count": 2, "steps": 2}, inputs={"model": model})
        assert isinstance(samples, ImageSet) and isinstance(model, Model) and samples.digest == again.digest
        found.append(samples)
    assert (found[0].images[:] == found[1].images[:]).all() and found[0].key == found[1].key


def test_what_a_task_reads_from_memory_is_its_own() -> None:
    store = MemoryStore()
    images = run_task(store, LinePair, "simulate", {"count": 2, "size": 32})
    assert isinstance(images, ImageSet)
    pixels = images.images[:]
    pixels[:] = 0
    assert images.images[:].any() and not np.asarray(pixels).any()
