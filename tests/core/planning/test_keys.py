"""Keys: canonical JSON, sources by content, and what is, and is not, part of what was asked."""

from __future__ import annotations

import json
import os
import random
import string
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from fabloom.errors import DataError, PipelineError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds import Report
from fabloom.method import Context, Method, Options, task
from fabloom.params import Params, Source
from fabloom.pipeline import Pipeline
from fabloom.planning import sources
from fabloom.planning.keys import artifact_key, canonical_params, step_seed
from fabloom.planning.plan import make_plan
from fabloom.planning.sources import SourceCache, source_files
from fabloom.registry import Origin, Registry
from fabloom.running.engine import Engine, run_inline
from fabloom.storage.backends.local import LocalStore

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(values)
def test_canonical_json_says_the_whole_value(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), scalars, min_size=2), st.randoms())
def test_the_order_of_names_does_not_matter(value: dict[str, Any], chance: Any) -> None:
    names = list(value)
    chance.shuffle(names)
    assert canonical_json({n: value[n] for n in names}) == canonical_json(value)


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_different_values_have_different_bytes(one: Any, other: Any) -> None:
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        {1: 2},
        {None: 1},
        {"a": {1, 2}},
        b"x",
        object(),
        Path("x"),
        [float("nan")],
        1j,
        range(3),
        "\ud800",
        {"\udcff": 1},
    ],
    ids=lambda value: "object" if type(value) is object else repr(value),
)
def test_what_has_no_single_form_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


def test_a_key_is_the_same_on_every_machine_and_every_day() -> None:
    preimage = {"schema": 1, "task": "a.b", "version": 1, "params": {"x": 1e-4, "y": "ä"}, "seed": 3, "inputs": {}}
    assert canonical_json(preimage) == (b'{"inputs":{},"params":{"x":0.0001,"y":"\xc3\xa4"},"schema":1,"seed":3,"task":"a.b","version":1}')
    assert artifact_key(preimage) == "e2dbc7af47faff67cb4d98c21ea0da62232e0761"


def test_step_seeds_are_63_bits_and_depend_on_each_part() -> None:
    seeds = {step_seed(p, s, t) for p in (0, 1) for s in (0, 1) for t in ("a.b", "a.c")}
    assert len(seeds) == 8 and all(0 <= s < 2**63 for s in seeds)
    assert any(s >= 2**62 for s in (step_seed(0, i, "a.b") for i in range(20)))


# -------------------------------------------------------------------------------------------------------------------------- parameters


class Mode(Enum):
    fast = "fast"
    slow = "slow"


class Inner(Params):
    rate: float = Field(0.5, gt=0)
    source: Source | None = None


class Outer(Params):
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    mode: Mode = Mode.fast
    anything: Any = None
    folder: Source | None = None


class Keyed(Method):
    name = "keyed"

    @task(version=1)
    def ask(self, ctx: Context, params: Outer) -> Report:
        return Report.write(ctx, {"x": 1.0})


def never(path: Path) -> str:
    raise AssertionError("nothing is to be hashed")


def test_defaults_are_filled_in_and_nesting_is_kept() -> None:
    assert canonical_params(Outer(), never) == canonical_params(Outer.model_validate({"inner": {"rate": 0.5}, "mode": "fast"}), never)
    assert canonical_params(Outer(), never)["inner"] == {"rate": 0.5, "source": None}
    deep = Outer.model_validate({"many": [{"rate": 2}], "named": {"a": {"rate": 3}}})
    assert canonical_params(deep, never)["many"] == [{"rate": 2.0, "source": None}]
    assert canonical_params(deep, never)["named"]["a"]["rate"] == 3.0


@pytest.mark.parametrize("bad", [{"inner": {"rate": float("nan")}}, {"inner": {"rte": 1}}, {"folder": ""}, {"folder": 3.5}, {"mode": "x"}])
def test_bad_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Outer.model_validate(bad)


def plan(store: LocalStore, **params: Any) -> Any:
    registry = Registry()
    registry._add_method(Keyed, Origin("keyed", "keyed", "1"))
    content = {"name": "p", "steps": {"s": {"task": "keyed.ask", "params": params}}}
    return make_plan(Pipeline.parse(content), registry, store).step("s")


def test_a_value_without_a_canonical_form_is_a_mistake_in_the_pipeline(store: LocalStore) -> None:
    with pytest.raises(PipelineError, match=r"steps\.s\.params: cannot enter a key") as caught:
        plan(store, anything=float("nan"))
    assert caught.value.exit_code == 2


def test_the_names_of_steps_and_the_order_of_inputs_are_not_in_the_key(store: LocalStore) -> None:
    registry = Registry()
    registry._add_method(Keyed, Origin("keyed", "keyed", "1"))
    plans = [
        make_plan(Pipeline.parse({"name": n, "description": n, "steps": {n: {"task": "keyed.ask"}}}), registry, store).steps[0]
        for n in "ab"
    ]
    assert plans[0].key == plans[1].key


# ----------------------------------------------------------------------------------------------------------------------------- sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name, content in {"a.png": b"first", "b.png": b"second", "deep/c.png": b"third"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_path_is_in_no_key_and_no_manifest(store: LocalStore, folder: Path) -> None:
    step = plan(store, folder=str(folder), inner={"source": str(folder / "a.png")})
    assert str(folder) not in json.dumps(dict(step.preimage)) and "a.png" not in json.dumps(dict(step.preimage))
    assert set(step.preimage["params"]["folder"]) == {"source"}
    moved = folder.rename(folder.with_name("moved elsewhere"))
    assert plan(store, folder=str(moved), inner={"source": str(moved / "a.png")}).key == step.key


def test_the_same_content_under_another_root_has_the_same_key(store: LocalStore, folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    whole = plan(store, folder=str(folder)).key
    assert plan(store, folder=str(tmp_path / "copy")).key == whole
    monkeypatch.chdir(tmp_path)
    assert plan(store, folder="copy").key == whole and plan(store, folder="./copy/").key == whole
    (tmp_path / "link").symlink_to(folder)
    assert plan(store, folder="link").key == whole


CHANGES = {
    "one byte": lambda root: (root / "a.png").write_bytes(b"fxrst"),
    "one name": lambda root: (root / "a.png").rename(root / "z.png"),
    "another folder": lambda root: (root / "deep").rename(root / "deeper"),
    "one file less": lambda root: (root / "b.png").unlink(),
    "one file more": lambda root: (root / "d.png").write_bytes(b""),
    "two swapped": lambda root: ((root / "a.png").write_bytes(b"second"), (root / "b.png").write_bytes(b"first")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_key(folder: Path, change: str) -> None:
    cache = SourceCache()
    before = cache(folder)
    CHANGES[change](folder)
    assert cache(folder) != before and cache(folder) == SourceCache()(folder)


def test_times_and_hidden_files_do_not_matter(folder: Path) -> None:
    before = SourceCache()(folder)
    os.utime(folder / "a.png", (1, 1))
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_bytes(b"x")
    assert SourceCache()(folder) == before


@pytest.fixture
def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now count as if they had been written long ago."""
    monkeypatch.setattr(sources, "TICK", -(10**10))


@pytest.mark.usefixtures("at_rest")
def test_an_unchanged_file_is_not_read_again_also_by_the_next_process(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    read: list[str] = []
    whole = sources.blake_file
    monkeypatch.setattr(sources, "blake_file", lambda path: (read.append(path.name), whole(path))[1])
    memory = tmp_path / "sources.json"
    first = SourceCache(memory)
    value = first(folder)
    assert read == ["a.png", "b.png", "c.png"]
    assert first(folder) == value == SourceCache(memory)(folder) and len(read) == 3
    os.utime(folder / "b.png", (5, 5))
    assert SourceCache(memory)(folder) == value and read[3:] == ["b.png"]
    (folder / "new.png").write_bytes(b"first")
    (folder / "new.png").replace(folder / "a.png")
    assert SourceCache(memory)(folder) == value and read[4:] == ["a.png"]
    memory.write_text("{")
    assert SourceCache(memory)(folder) == value and len(read) == 8


@pytest.mark.usefixtures("at_rest")
def test_a_file_of_equal_size_and_time_is_read_again(folder: Path, tmp_path: Path) -> None:
    """An edit in place whose times are set back (cp -p, rsync -t, tar): only the ctime tells."""
    memory = tmp_path / "sources.json"
    before = SourceCache(memory)(folder)
    now = was = (folder / "a.png").stat()
    while now.st_ctime_ns == was.st_ctime_ns:  # the kernel's clock goes on in steps of some milliseconds
        (folder / "a.png").write_bytes(b"fxrst")
        os.utime(folder / "a.png", ns=(was.st_atime_ns, was.st_mtime_ns))
        now = (folder / "a.png").stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (was.st_size, was.st_mtime_ns, was.st_ino)
    assert SourceCache(memory)(folder) != before


def test_a_file_that_changed_just_now_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    """Its next change may fall into the same step of the clock, and look like none."""
    memory = tmp_path / "sources.json"
    cache = SourceCache(memory)
    before = cache(folder)
    assert not memory.exists()
    was = (folder / "a.png").stat()
    (folder / "a.png").write_bytes(b"fxrst")
    os.utime(folder / "a.png", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert cache(folder) != before


def believing(memory: Path, name: str) -> None:
    """Have a memory hold the hash of other bytes for a file that it takes for unchanged."""
    body = memory.read_bytes().partition(b"\n")[2]
    known = json.loads(body)
    (place,) = (place for place in known if place.endswith(name))
    known[place][4] = "0" * 40
    body = json.dumps(known).encode()
    memory.write_bytes(blake(body).encode() + b"\n" + body)


@pytest.mark.usefixtures("at_rest")
def test_what_is_hashed_anew_puts_right_what_is_remembered_also_for_others(folder: Path, tmp_path: Path) -> None:
    memory = tmp_path / "sources.json"
    value = SourceCache(memory)(folder)
    believing(memory, "a.png")
    one, other = SourceCache(memory), SourceCache(memory)
    assert one(folder) == other(folder) != value
    assert one.anew(folder) == value == one(folder) == other(folder) == SourceCache(memory)(folder)


@pytest.mark.usefixtures("at_rest")
def test_a_wrong_memory_fails_a_step_once(store: LocalStore, folder: Path) -> None:
    """The step hashes every byte that it has read: its key was wrong, and the next plan must not have the same again."""
    registry = Registry()
    registry._add_method(Keyed, Origin("keyed", "keyed", "1"))
    pipeline = Pipeline.parse({"name": "p", "steps": {"s": {"task": "keyed.ask", "params": {"folder": str(folder)}}}})
    right = make_plan(pipeline, registry, store).step("s").key
    believing(store.root / "work" / "sources.json", "a.png")
    keys, codes = [], []
    for _ in range(2):
        opened = LocalStore(store.root)
        plan = make_plan(pipeline, registry, opened)
        (result,) = run_inline(plan, Engine(registry, opened, Options(device="cpu")))
        keys.append(result.key)
        codes.append(result.exit_code)
    assert keys[0] != right == keys[1] and codes == [2, 0]


@pytest.mark.usefixtures("at_rest")
def test_a_damaged_memory_is_not_believed(folder: Path, tmp_path: Path) -> None:
    """Flips of single bits and odd content: the value stays, and the memory is rebuilt."""
    memory = tmp_path / "sources.json"
    value = SourceCache(memory)(folder)
    sound = memory.read_bytes()
    chance = random.Random(1)
    odd = [b"", b"[]", b"\n", b"\xff" * 50, b"{}", b"null\nnull", b"[" * 100_000]
    odd += [blake(body).encode() + b"\n" + body for body in (b"[]", b"7", b'{"a":3}', b'{"a":[1,2,3,4,5]}', b'{"a":{}}')]
    for _ in range(200):
        at = chance.randrange(len(sound))
        odd.append(sound[:at] + bytes([sound[at] ^ 1 << chance.randrange(8)]) + sound[at + 1 :])
    for damaged in odd:
        memory.write_bytes(damaged)
        assert SourceCache(memory)(folder) == value
        assert memory.read_bytes() == sound


def test_an_unchanged_folder_costs_one_stat_a_file(folder: Path, monkeypatch: Any) -> None:
    for index in range(50):
        (folder / f"{index}.png").write_bytes(b"x")
    cache = SourceCache()
    value = cache(folder)
    asked: list[str] = []
    for name in ("resolve", "stat", "is_file", "is_symlink", "exists"):
        own = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda path, *a, own=own, name=name, **k: (asked.append(name), own(path, *a, **k))[1])
    assert cache(folder) == value and len(asked) < 10, "the state of a file comes with the scan of its folder"


def test_links_that_lead_elsewhere_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    inside = folder / "deep" / "link.png"
    inside.symlink_to("../a.png")
    assert "deep/link.png" in [name for name, _ in source_files(folder)]
    for target in (tmp_path / "secret.png", Path("../../secret.png"), tmp_path / "nothing.png"):
        inside.unlink()
        inside.symlink_to(target)
        with pytest.raises(DataError, match=r"link\.png"):
            SourceCache()(folder)
    inside.unlink()
    (tmp_path / "other").mkdir()
    (folder / "more").symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match="link to a folder"):
        SourceCache()(folder)


def test_a_source_that_is_not_there_names_the_place(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"steps\.s\.params: .*does not exist"):
        plan(store, folder=str(tmp_path / "none"))


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=4), st.binary(max_size=20), min_size=1, max_size=4))
def test_the_hash_depends_on_names_and_contents_only(files: dict[str, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for root, names in ((one, list(files)), (other, list(reversed(files)))):
            for name in names:
                (Path(root) / name).write_bytes(files[name])
        assert SourceCache()(Path(one)) == SourceCache()(Path(other))
