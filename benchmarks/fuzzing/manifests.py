"""Manifests, refs and stamps: what is none, and what is odd behind a right hash."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fuzzing.world import DAMAGED, Case, World, forged, made_at, manifest_of, reattributed, spots

VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2**63, 10**30, 1.5, -0.0, 1e308, "", " ", "x", "../x", "/x", "..", "a/../../b", "a\nb", "\x1b[31mred",
    "\0", "é", "x" * 5000, "a" * 40,
    float("nan"), float("inf"), "\ud800", [], {}, [[]], [None], [1, 2, 3], ["x"], {"x": 1}, {"": {}}, {"../x": [1, "a" * 40]}, [-1],
    [10**20], functools.reduce(lambda v,
    _: [v], range(200), []),
]  # fmt: skip
ODD_NAMES = ["", ".", "..", "../x", "a/../../x", "/abs", "a//b", "a\\b", "a\0b", "a\nb", "\x1b[31m", "x" * 300, "a/" * 200 + "b", "é",
"e\u0301", "zarr.json", "images",
             "images/zarr.json/x", "images/zarr.json", "con", " ", "-rf", "*"]  # fmt: skip


RAW = [
    b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"self":1}', b'{"schema":1}',
    b'{"schema":' + b"9" * 5000 + b"}", b"\0" * 4096,
]  # fmt: skip
"""Manifests that are none."""
REF_FILES = [
    b"[]", b"{}", b"null", b'["x"]', b"[5]", b'[{"n":1}]', b"[" * 9999, b'[{"n":1,"key":"' + b"a" * 40 + b'","action":"hold"}]', b"\xff",
    b'[{"n":"x","key":1}]',
    b'["' + b"a" * 40 + b'"]', b'[{"n":1,"key":"' + b"a" * 40 + b'","why":"\\u001b[31m"}]',
]  # fmt: skip
STAMPS = [
    b"",
    b"[]",
    b"{}",
    b"null",
    b'{"schema":0}',
    b'{"schema":-1}',
    b'{"schema":"1"}',
    b'{"schema":true}',
    b'{"schema":99}',
    b"[" * 99_999,
    b"\xff",
]


def look_at(world: World, step: str) -> list[tuple[str, ...]]:
    """Commands that read the artifact of a step."""
    key = world.keys[step]
    asked = [("artifacts",), ("artifacts", "--json"), ("show", key), ("show", key, "--json"), ("lineage", key), ("lineage", key,
    "--json"), ("verify",), ("verify", key),
             ("gc",), ("gc", "--unreferenced", "--older-than", "0", "--yes"), ("plan", "fuzz"), ("plan", "fuzz", "--strict"), ("run",
             "fuzz", "--engine", "inline"),
             ("plan", "fuzz", "--seed", "5"), ("ref", "set", "x", key), ("plan", "fuzz", "--set", f"steps.model.inputs.images=key:{key}"),
             *(("export", key, "out", "--format", form) for form in world.formats[step])]  # fmt: skip
    return [(*words, "--store", "s") for words in asked]


def put(body: dict[str, Any], spot: tuple[Any, ...], how: str, value: Any) -> None:
    """Change one spot of plain data: another value, none, another name, one more beside it."""
    target: Any = body
    for name in spot[:-1]:
        target = target[name]
    if how == "removed":
        del target[spot[-1]]
    elif how == "renamed" and isinstance(target, dict):
        target[value] = target.pop(spot[-1])
    elif how == "beside" and isinstance(target, dict):
        target[value] = copy.deepcopy(target[spot[-1]])
    else:
        target[spot[-1]] = value


def special(world: World) -> Iterator[Case]:
    key = world.keys["images"]
    for data, words in itertools.product(RAW, look_at(world, "images")):
        if chanced(data, words):
            folder = Path("s") / "objects" / key[:2] / key
            yield manifest_case(f"raw {data[:12]!r}", words, functools.partial(write_at, folder, "manifest.json", data))
    asked = [
        ("ref", "list"),
        ("ref", "log", "odd"),
        ("verify",),
        ("gc", "--unreferenced"),
        ("ref", "set", "odd", key),
        ("show", "odd"),
        ("ref", "rollback", "odd"),
    ]
    for data, words in itertools.product(REF_FILES, asked):
        make = functools.partial(write_at, Path("s/refs"), "odd.json", data)
        yield manifest_case(f"ref file {data[:16]!r}", (*words, "--store", "s"), make)
    for data, words in itertools.product(STAMPS, [("artifacts",), ("plan", "fuzz"), ("verify",)]):
        yield manifest_case(
            f"store.json {data[:16]!r}", (*words, "--store", "s"), functools.partial(write_at, Path("s"), "store.json", data)
        )


def write_at(folder: Path, name: str, data: bytes, here: Path) -> None:
    """A file in the folder of a case."""
    made_at(here / folder, name, data)


def chanced(data: bytes, words: tuple[str, ...]) -> bool:
    """A third of the pairs, the same ones always."""
    return sum(data[:40]) % 3 == len("".join(words)) % 3


def manifest_case(name: str, words: tuple[str | bytes, ...], prepare: Callable[[Path], Any]) -> Case:
    return Case("manifest", f"{name}: {words[0]!s}", words, prepare, DAMAGED, one_line=words[0] != "run")


def drawn(world: World, chance: random.Random) -> Iterator[Case]:
    steps = {step: spots(manifest_of(world, step)) for step in world.keys}
    attributes = {step: spots(attributes_of(world, step)) for step in world.keys}
    while True:
        step = chance.choice(list(world.keys))
        inside = chance.random() < 0.25
        spot = chance.choice(attributes[step] if inside else [s for s in steps[step] if s[0] != "self"])
        how = chance.choice(("removed", "renamed", "beside", "value", "value", "value"))
        value = chance.choice(ODD_NAMES if how in ("renamed", "beside") else VALUES)
        words = chance.choice(look_at(world, step))
        change = functools.partial(put, spot=spot, how=how, value=value)
        make = functools.partial(reattributed if inside else forged, key=world.keys[step], change=change)
        what = f"{step} {'attributes' if inside else 'manifest'} {'.'.join(map(str, spot))[-60:]} {how} {str(value)[:20]!a}"
        yield manifest_case(what, words, lambda here, make=make: make(here))


def attributes_of(world: World, step: str) -> dict[str, Any]:
    """The attributes of a step's artifact in the template."""
    key = world.keys[step]
    found: dict[str, Any] = json.loads((world.template / "s" / "objects" / key[:2] / key / "data.zarr" / "zarr.json").read_bytes())[
        "attributes"
    ]
    return found
