"""The store on fsspec's memory file system: what one machine commits, another one reads, and damage is never passed on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fabloom_remote_store import fabloom_open_store
from fabloom_remote_store.remote import Remote
from fabloom_remote_store.store import RemoteStaged, RemoteStore
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

import fabloom
from fabloom import ImageSet
from fabloom.errors import DamagedArtifact, EnvironmentProblem, UserError
from fabloom.hashing import blake, canonical_json
from fabloom.storage.commit.manifest import tree_digest
from fabloom.storage.gc import size, unreferenced
from fabloom.storage.verify import verify
from fabloom.testing import StoreConformance

URL = "remote+memory://lab/runs"
PIPELINE = {"name": "tiny", "steps": {"images": {"task": "line-pair.simulate", "params": {"count": 4}}}}


@pytest.fixture
def files() -> Iterator[dict[str, Any]]:
    """The memory file system's content, by path; empty for each test."""
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem.store
    MemoryFileSystem.store.clear()


@pytest.fixture
def ours(files: dict[str, Any], tmp_path: Path) -> RemoteStore:
    return RemoteStore(URL, tmp_path / "ours")


@pytest.fixture
def theirs(files: dict[str, Any], tmp_path: Path) -> RemoteStore:
    return RemoteStore(URL, tmp_path / "theirs")


def make(store: RemoteStore, **more: Any) -> Any:
    """The one step of the pipeline: its result."""
    return fabloom.run(PIPELINE, store=store, device="cpu", check=False, **more).steps[0]


def data_of(files: dict[str, Any], key: str) -> list[str]:
    return sorted(path for path in files if key in path and "/data.zarr/" in path)


def rewrite(remote: dict[str, Any], key: str, **changes: Any) -> None:
    """A manifest that somebody with access to the remote has edited, its own hash made right again."""
    path = next(p for p in remote if key in p and p.endswith("manifest.json"))
    body = json.loads(remote[path].getvalue()) | changes
    body.pop("self")
    body["self"] = blake(canonical_json(body))
    MemoryFileSystem().pipe_file(path, canonical_json(body))


def test_other_urls_are_left_to_other_plugins(tmp_path: Path) -> None:
    for url in ("s3://bucket/x", "/a/folder", "file:///a/folder", "memory://x", ""):
        assert fabloom_open_store(url) is None
    with pytest.raises(UserError, match="remote\\+s3://bucket/prefix"):
        fabloom_open_store("remote+/a/folder")
    with pytest.raises(UserError, match="nonsense"):
        fabloom_open_store("remote+nonsense://x")


def test_a_second_machine_reuses_what_the_first_one_made(ours: RemoteStore, theirs: RemoteStore) -> None:
    ran = make(ours)
    assert ran.status == "ran" and list(theirs.keys()) == [ran.key]
    reused = make(theirs)
    assert (reused.status, reused.digest) == ("reused", ran.digest)
    assert not theirs.folder(ran.key).exists(), "a reused step is answered by its manifest: no data was fetched"
    images = theirs.get(ran.key)
    assert isinstance(images, ImageSet) and (images.images[:] == ours.get(ran.key).images[:]).all()  # type: ignore[attr-defined]
    assert theirs.resolve(ran.key[:8]) == theirs.resolve(f"key:{ran.key}") == ran.key
    assert list(theirs.lineage(ran.key)) == [ran.key] and theirs.committed_at(ran.key) > 1.7e9
    with pytest.raises(UserError, match="no artifact"):
        theirs.manifest("0" * 40)


def test_a_damaged_object_is_found_and_made_again(ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any]) -> None:
    key = make(ours).key
    whole = {path: files[path].getvalue() for path in data_of(files, key)}
    assert len(whole) > 3
    for path, content in whole.items():
        flipped = bytes([content[0] ^ 1]) + content[1:]
        for bad in (flipped, content[:-1], None):
            MemoryFileSystem().rm_file(path) if bad is None else MemoryFileSystem().pipe_file(path, bad)
            with pytest.raises(DamagedArtifact, match="--redo"):
                theirs.get(key)
            assert not theirs.folder(key).exists() and not list((theirs.root / "staging").iterdir())
        MemoryFileSystem().pipe_file(path, content)
    assert theirs.get(key).key == key, "the same bytes again: only the damage was refused"
    MemoryFileSystem().pipe_file(min(whole), b"")
    assert make(ours, redo=["images"]).status == "ran"
    assert {path: files[path].getvalue() for path in data_of(files, key)} == whole


def test_a_manifest_is_data(ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any], tmp_path: Path) -> None:
    key = make(ours).key
    path = next(p for p in files if p.endswith("manifest.json"))
    whole = files[path].getvalue()
    for bad in (whole[:-1], whole.replace(b'"kind"', b'"kinb"', 1), b"{", b""):
        MemoryFileSystem().pipe_file(path, bad)
        with pytest.raises(DamagedArtifact):
            theirs.manifest(key)
    for name in ("../../escape", "/etc/escape", "a/../../escape", "a\\b", "a//b", "", "c:/escape", ".hidden"):
        MemoryFileSystem().pipe_file(path, whole)
        table = {**json.loads(whole)["files"], name: [0, blake(b"")]}
        rewrite(files, key, files=table, digest=tree_digest({n: (s, d) for n, (s, d) in table.items()}))
        with pytest.raises(DamagedArtifact, match="safe file name"):
            theirs.get(key)
    MemoryFileSystem().pipe_file(path, whole)
    rewrite(files, key, preimage=json.loads(whole)["preimage"] | {"seed": 1})
    with pytest.raises(DamagedArtifact, match="another key"):
        theirs.manifest(key)
    MemoryFileSystem().pipe_file(path, whole)
    assert theirs.manifest(key)["key"] == key and not list(tmp_path.rglob("*escape*"))


def test_an_upload_that_stops_is_finished_and_nobody_saw_half_of_it(
    ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Remote.write

    def cut(self: Remote, name: str, data: bytes) -> None:
        raise EnvironmentProblem("the network is gone")

    monkeypatch.setattr(Remote, "write", cut)
    failed = make(ours)
    assert failed.status == "failed" and "the network is gone" in failed.error
    assert data_of(files, failed.key) and not any(path.endswith("manifest.json") for path in files)
    assert not theirs.has(failed.key) and not ours.has(failed.key) and not list(theirs.keys())
    monkeypatch.setattr(Remote, "write", real)
    assert make(ours).status == "reused", "the work was done: only its upload was missing"
    assert theirs.get(failed.key).digest == ours.manifest(failed.key)["digest"]


def test_a_network_that_is_down_is_no_empty_store(ours: RemoteStore, theirs: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make(ours).key

    def down(self: Any, path: str, **more: Any) -> Any:
        raise TimeoutError("no route to host")

    for call in ("info", "ls", "cat_file"):
        monkeypatch.setattr(MemoryFileSystem, call, down)
    for listing in ("find", "glob"):  # fsspec's walk passes over what it cannot reach
        monkeypatch.setattr(MemoryFileSystem, listing, lambda self, path, **more: {})
    remote, fetched = theirs.remote, theirs.root / "x"
    calls: list[Callable[[], Any]] = [
        lambda: theirs.has(key),
        lambda: theirs.manifest(key),
        lambda: list(theirs.keys()),
        theirs.refs.names,
        lambda: remote.download("objects", {"a": 1}, fetched),
        lambda: remote.remove(["objects"]),
        lambda: make(theirs),
    ]
    for call_ in calls:
        with pytest.raises(EnvironmentProblem, match="no route to host"):
            call_()
    assert make(ours).status == "reused", "what is known needs no network"


@pytest.mark.parametrize("differs", [False, True])
def test_the_first_of_two_committers_stays(
    ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, differs: bool
) -> None:
    real, first = RemoteStaged.commit, ""

    def overtaken(self: RemoteStaged, target: Path, facts: Any, **more: Any) -> dict[str, Any]:
        nonlocal first
        monkeypatch.undo()
        key, first = make(theirs).key, make(theirs).digest
        if differs:  # as if theirs had come out otherwise
            table = {**theirs.manifest(key)["files"], "zarr.json": [0, blake(b"")]}
            first = tree_digest({name: (count, digest) for name, (count, digest) in table.items()})
            rewrite(files, key, files=table, digest=first)
        return real(self, target, facts, **more)

    monkeypatch.setattr(RemoteStaged, "commit", overtaken)
    late = make(ours)
    assert (late.status, late.digest) == ("ran", first)
    assert [("different results" in warning) for warning in verify(ours).warnings] == [True] * differs


def test_refs_are_shared(ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any]) -> None:
    key = make(ours).key
    ours.refs.set("line/champion", key)
    assert theirs.refs.names() == ["line/champion"] and theirs.resolve("ref:line/champion") == key
    theirs.refs.set("line/champion", "a" * 40)
    assert ours.refs.get("line/champion") == "a" * 40 and ours.refs.rollback("line/champion").key == key == theirs.refs.get("line/champion")
    for name in ("../escape", "/escape", "none"):
        with pytest.raises(UserError):
            theirs.refs.get(name)
    for bad in (b'["../../../escape"]', b"[", b"[]", b'{"a": 1}'):
        MemoryFileSystem().pipe_file("/lab/runs/refs/line/champion.json", bad)
        with pytest.raises(DamagedArtifact):
            theirs.refs.get("line/champion")


def test_gc_reaches_what_only_the_remote_holds(ours: RemoteStore, theirs: RemoteStore, files: dict[str, Any]) -> None:
    key = make(ours).key
    assert unreferenced(theirs, -1) == [key] and unreferenced(theirs, 1) == [] and size(theirs.folder(key)) == 0
    ours.refs.set("kept", key)
    assert unreferenced(theirs, -1) == [] and not verify(ours).problems
    theirs.set_aside(key)
    assert not any(key in path for path in files) and not theirs.has(key)


class TestConformance(StoreConformance):
    """fabloom's own kit: each place is a remote of its own, every opening a machine with a cache of its own."""

    @pytest.fixture(autouse=True)
    def clean(self, files: dict[str, Any]) -> None:
        """Every test begins with an empty remote."""

    def open(self, place: Path, *, read_only: bool = False) -> RemoteStore:
        return RemoteStore(URL, place, read_only=read_only)
