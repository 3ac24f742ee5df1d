"""The cases of fuzz.py: YAML of pipelines and `--set`, command lines, manifests, names. Special ones first, then drawn ones."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fuzz_world import MOST_SECONDS, Case, World, emptied, forged, made_at, manifest_of, reattributed, spots

KINDS = ("yaml", "line", "manifest", "name")
SHARES = {"yaml": 0.4, "line": 0.25, "manifest": 0.25, "name": 0.1}
REFUSED = frozenset({2})
DAMAGED = frozenset({0, 1, 2, 3})
ANY = frozenset({0, 2, 3})

# --------------------------------------------------------------------------------------------------------------------------------- YAML

BAD = [
    "!!int x", "!!float 1", "!!binary aGk=", "!!python/object/apply:os.system [id]", "!!timestamp 2024-01-01", "!!set {a}", "!!omap [a: 1]",
    "!mine x", "!<tag:yaml.org,2002:int> 3", "9" * 5000, "-" + "9" * 30, str(2**64), ".inf", "-.INF", ".nan", "1e999", "-1e400", "*nothing",
    "&a [*a]", "[" * 500 + "]" * 500, "{a: " * 500 + "1" + "}" * 500, "[" * 500, '"\\ud800"', '"\\udfff x"', '"\\x"', "'open", '"open',
    "[1,", "{a: 1",
    "a: b: c", "@x", "`x`", "%x", "? [1]\n      : 2", "- - - - x", "\t- x", "{a: 1, a: 2}", "<<: 3", "{<<: 3}", "{<<: [1]}", "x\0y",
    "\x07", "\x1b[31m",
    "[a]: 1", "!!str [a]", "--- 1\n--- 2", "...\n...", "&a &b x", "&a *a", "\ufffe", "[*_ok*]", "{? : : }",
]  # fmt: skip
"""Nowhere a value."""
ODD = [
    "2024-01-01", "2024-01-01T12:30:45Z", "2024-01-01 12:30:45.5 -5", "12:30:45", "190:20:30", "yes", "No", "on", "OFF", "y", "true",
    "False", "TRUE", "~", "null",
    "NULL", "", "''", '""', "0", "-0", "+1", "-1", "1.", ".5", "1e3", "1e-4", "1E400000", "5e-324", "1_000", "0x1F", "0xZZ", "0o17",
    "0b1", "010", "08", "0.0",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "-9223372036854775808", "1.7976931348623157e308", "=", "<<",
    "<", "-", "--", ":", "a:",
    ":a", "#", "a #b", "a#b", "|", ">-", "|\n        text\n        more", "- 1", "? a", "[]", "{}", "[1, 2]", "[1, 2.5]", "[a, b]",
    "{a: 1}", "{a: {b: {c: 1}}}",
    "{1: 2}", "{null: 1}", "{true: 1}", "{2024-01-01: 1}", "[[1], [2]]", "[null]", "[~, yes, 1e3]", "{a: .5, b: x}", '"a\\0b"', '"a\\nb"',
    '"\\e[31mred"',
    '"\\u202e"', '"\\uFEFF"', '"\\t"', '"\\r\\n"', '"\\U0001F600"', "é", "e\u0301", "漢字", "\u2028", "\u00a0", "\u200b", "'it''s'",
    "!!str 5", "! 6", "x" * 300,
    "x" * 5000, "[" + "1, " * 2000 + "1]", "{" + ", ".join(f"k{i}: {i}" for i in range(1000)) + "}", "[" * 60 + "]" * 60, "key:",
    "key:zz", "key:" + "0" * 40,
    "ref:", "ref:../x", "ref:fuzz/champion", "ref:nothing", "../../x", "/", "~/x", "~no-such-user/x", "/dev/zero", "/proc/self/mem", "file",
    "folder", "loop",
    "dangling", "$HOME", "$(id)", "%s", "{0}", "fuzz.make", "fuzz.learn", "fuzz.", ".make", "images", "model", "steps", "nan", "inf",
    "NaN", "Infinity", "0.1.2",
    "1,2", "one", "TWO", "'[1]'", "__class__", "model_config", "x.y.z", "*x", "&a 1", "&a {b: 1}", "a b", "A" * 101, "a" * 99, "con", "a/b",
]  # fmt: skip
TEMPLATE = """{before}name: {name}
description: {description}
seed: {seed}
steps: {steps}
  {step}:
    task: {task}
    seed: {step_seed}
    params: {params}
      count: {count}
      share: {share}
      title: {title}
      flag: {flag}
      choice: {choice}
      many: {many}
      pair: {pair}
      words:
        - {word}
      named: {named}
        {entry}: {entry_value}
      inner: {inner}
        depth: {depth}
      maybe: {maybe}
      either: {either}
      anything: {anything}
      {param}: {value}
    inputs: {inputs}
  other:
    task: fuzz.learn
    inputs:
      {port}: {source}
      others:
        - {item}
{after}
"""
PLACES = {
    "before": "", "name": "p", "description": "d", "seed": "0", "steps": "", "step": "images", "task": "fuzz.make", "step_seed": "1",
    "params": "", "count": "3",
    "share": "0.5", "title": "t", "flag": "true", "choice": "one", "many": "[1, 2]", "pair": "[1, 2.0]", "word": "x", "named": "",
    "entry": "a", "entry_value": "1",
    "inner": "", "depth": "1", "maybe": "null", "either": "1", "anything": "null", "param": "file", "value": "null", "inputs": "{}",
    "port": "images",
    "source": "images", "item": "images", "after": "",
}  # fmt: skip
NAMES = ("before", "after", "step", "entry", "param", "port")
"""Places that are no values."""
SETTINGS = ("steps.images.params.count={}", "steps.images.params.named={}", "steps.images.params.words=[{}]",
"steps.images.params.inner.depth={}",
            "steps.images.params.file={}", "steps.*.seed={}", "steps.images.params={}", "steps.model.inputs.images={}", "steps={}",
            "name={}", "{}=3", "{}",
            "steps.{}.params.count=3", "steps.images.params.{}=3", "steps.images.params.named.{}=3", "steps.images.params.anything={}",
            "seed={}")  # fmt: skip


def raw(text: str) -> bytes:
    """UTF-8, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "utf-8 BOM": lambda t: b"\xef\xbb\xbf" + raw(t),
    "utf-16": lambda t: t.encode("utf-16", "surrogatepass"),
    "utf-16-be": lambda t: t.encode("utf-16-be", "surrogatepass"),
    "utf-32": lambda t: t.encode("utf-32", "surrogatepass"),
    "latin-1": lambda t: t.encode("latin-1", "replace") + b"\xe9",
    "CRLF": lambda t: raw(t.replace("\n", "\r\n")),
    "CR": lambda t: raw(t.replace("\n", "\r")),
    "NUL": lambda t: raw(t) + b"\0",
    "cut": lambda t: raw(t)[: len(t) * 2 // 3],
    "surrogate": lambda t: raw(t + "\ud800"),
    "tabs": lambda t: raw(t.replace("  ", "\t")),
    "twice": lambda t: raw(t + t),
    "documents": lambda t: raw(f"{t}---\n{t}"),
}


def document(place: str, text: str) -> str:
    """The pipeline with `text` at a place."""
    return TEMPLATE.format_map({**PLACES, place: text})


def bombs() -> dict[str, str]:
    """Documents whose cost could be more than their length."""
    rows = [f"a0: &a0 [{', '.join('x' * 10)}]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
    maps = ["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{{', '.join(f'k{i}: *a{n - 1}' for i in range(9))}}}" for n in range(1, 12))]
    names = ", ".join(f"n{i}: {i}" for i in range(6000))
    values = {
        "lists of aliases": "{" + ", ".join(rows) + "}", "mappings of aliases": "{" + ", ".join(maps) + "}",
        "a chain of aliases": "[&a0 [x], " + ", ".join(f"&a{n} [*a{n - 1}]" for n in range(1, 1300)) + "]",
        "doubled aliases": "[&b0 [y], " + ", ".join(f"&b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 40)) + "]",
        "merges": f"[&x {{{names}}}, {{{names}, <<: [{', '.join(['*x'] * 15)}]}}]",
        "small merges": f"[&x {{a: 1}}, {{{names}, <<: [{', '.join(['*x'] * 9000)}]}}]",
        "anchors": "[" + ", ".join(f"&a{i} x" for i in range(8000)) + "]", "one anchor": "[" + "&a x, " * 8000 + "*a]",
        "lists": "[" * 300_000, "dashes": "- " * 200_000, "questions": "? " * 200_000, "braces": "{" * 300_000, "quotes": '"' * 200_000,
        "colons": ": " * 200_000, "ands": "&a " * 200_000, "hashes": "#" * 1_000_000, "lines": "\n" * 1_000_000, "bangs": "!" * 200_000,
        "spaces": " " * 1_000_000 + "a", "stars": "*" * 200_000, "one word": "a" * 1_000_000, "deep": "[" * 58 + "]" * 58,
        "escapes": '"' + "\\u00e9" * 100_000 + '"', "many names": "{" + ", ".join(f"k{i}: v" for i in range(8000)) + "}",
        "one name": "{" + "a: 1, " * 8000 + "}", "wide and deep": "[" + ", ".join(["[" * 50 + "]" * 50] * 100) + "]",
    }  # fmt: skip
    found = {f"{name}, as a {what}": form % text for name, text in values.items() for what, form in FORMS.items()}
    return {**found, "tags": "".join(f"%TAG !t{i}! x\n" for i in range(9000)) + "--- a", **long_names()}


FORMS = {"document": "%s", "parameter": "name: p\nsteps: {a: {task: fuzz.make, params: {anything: %s}}}"}


def long_names() -> dict[str, str]:
    """Names that are long, near to one another, or many."""
    odd = "".join(chr(0x100 + i % 3000) for i in range(40_000))
    near = "".join(chr(0x61 + i % 26) for i in range(2000))
    steps = ", ".join(f"s{i}: {{task: fuzz.learn, inputs: {{images: s{(i + 1) % 900}}}}}" for i in range(900))
    one = "name: p\nsteps: {a: %s}"
    return {
        "a cycle": f"name: p\nsteps: {{{steps}}}",
        "a long name": f"name: {'p' * 100_000}\nsteps: {{a: {{task: fuzz.make}}}}",
        "a long task": one % f"{{task: {'fuzz.make' * 9000}}}",
        "a long port": one % f"{{task: fuzz.learn, inputs: {{{'p' * 90_000}: b}}}}",
        "a long source": one % f"{{task: fuzz.learn, inputs: {{images: {odd}}}}}",
        "near names": one % f"{{task: fuzz.learn, inputs: {{images: {near[1:]}}}}}, {near}: {{task: fuzz.make}}",
        "many steps": "name: p\nsteps: {" + ", ".join(f"s{i}: {{task: fuzz.make, seed: {i}}}" for i in range(300)) + "}",
        "many sources": one % f"{{task: fuzz.make}}, b: {{task: fuzz.learn, inputs: {{images: a, others: [{'a, ' * 3000}a]}}}}",
    }


def planned(name: str, content: str | bytes, codes: frozenset[int] = ANY, *more: str | bytes, **other: Any) -> Case:
    """`fabloom plan` of a file."""
    data = content if isinstance(content, bytes) else raw(content)
    return Case("yaml", name, ("plan", "p.yaml", "--store", "s", *more), lambda here: made_at(here, "p.yaml", data), codes, **other)


def yaml_special() -> Iterator[Case]:
    for name, text in bombs().items():
        yield planned(f"bomb: {name}", text)
    for text in BAD:
        yield planned(f"refused: {text[:20]!a}", document("anything", text), REFUSED)
    for name, encode in ENCODINGS.items():
        yield planned(f"encoding: {name}", encode(document("title", "é")))
    deep = "steps.images.params." + "a." * 20_000 + "b=1"
    yield Case("yaml", "a deep place", ("plan", "fuzz", "--store", "s", "--set", deep), codes=REFUSED)
    for text in (b"steps.images.params.title=\xff", b"\xff=1", b"steps.images.params.\xe9=1"):
        yield Case("yaml", "a setting that is not UTF-8", ("plan", "fuzz", "--store", "s", "--set", text), codes=REFUSED)


def yaml_drawn(chance: random.Random) -> Iterator[Case]:
    scalars = [*BAD, *ODD]
    files = [("file", place, text) for place in PLACES for text in scalars]
    settings = [("set", place, text) for place in SETTINGS for text in scalars if "\0" not in text]
    coded = [("coded", chance.choice(list(PLACES)), text) for text in scalars for _ in range(4)]
    for how, place, text in shuffled([*files, *settings, *coded], chance):
        name = f"{how} {place}: {text[:24]!a}"
        if how == "set":
            yield Case("yaml", name, ("plan", "fuzz", "--store", "s", "--set", raw(place.format(text))))
        elif how == "file":
            codes = REFUSED if text in BAD[:24] and place not in NAMES else ANY
            yield planned(name, document(place, text), codes)
        else:
            yield planned(name, chance.choice(list(ENCODINGS.values()))(document(place, text)))


# -------------------------------------------------------------------------------------------------------------------------- command lines

TEXTS: list[str | bytes] = [
    "", " ", "-", "--", "---", "-x", "--nope", "--=", "\n", "a\nb", "\x1b[31mred", "\x07", "\t", "\r", "é", "e\u0301", "漢字", "\u202e",
    "\u2028", b"\xff", b"caf\xe9",
    "a" * 255, "a" * 256, "a" * 5000, "a" * 100_000, "a/" * 3000, "../x", "/", ".", "..", "./", "../here", "~", "~no-such-user/x", "$HOME",
    "%s", "{0}", "*", "[a", "[!", "?",
    "nan", "NaN", "inf", "-inf", "1e309", "-1", "0", "-0.0", "1.5", "1e-320", "9" * 23, "9" * 5000, "0x10", "1_000", "١", "True", "null",
    "deadbeef", "a" * 40,
    "F" * 40, "abc", "ref:", "ref:x", "ref:fuzz/champion", "key:", "key:zz", "fuzz/champion", "fuzz", "s3://bucket/x", "file:///proc/x",
    "http://user:secret@host/x",
    "a=b", "steps.images.params.count=3", "file", "file/x", "folder", "folder/", "empty", "link", "link/x", "loop", "loop/x", "dangling",
    "missing/x", "zero.yaml",
    "binary.yaml", "good.yaml", "s", "s/store.json", "s/objects", "/dev/null", "/dev/null/x", "/dev/zero", "/dev/full", "/proc/self/mem",
    "/proc/x/y", "/sys/x", "auto",
    "cuda", "cuda:x", "cuda:99999999999999999999", "mps", "cpu", "dask", "json", "png", "zarr", "Model", "images", "images.load", "con",
    "a:b", "a\\b", "x.yaml", "a.b",
]  # fmt: skip
STREAMS = ("closed", "full", "pipe", "terminal")
BASE: dict[str, tuple[str, ...]] = {"run": ("--engine", "inline"), "gc": (), "doctor": ()}
NEVER = {("doctor", "server")}
"""Starts Prefect's server."""


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words, from typer's tree."""
    import typer.main

    from fabloom.flows.cli import main, new, store

    assert new and store

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            yield words, command
        else:
            for name, one in inside.items():
                yield from walk(one, (*words, name))

    return dict(walk(typer.main.get_command(main.app), ()))


def usual(words: tuple[str, ...], command: Any, world: World) -> dict[str, list[str]]:
    """The words of each parameter that must be given, as they usually are, by its name."""
    known = {"pipeline": "fuzz", "what": world.keys["images"], "key": world.keys["model"][:12], "folder": "out", "name": "fuzz/champion"}
    if words[0] == "tasks":
        known["name"] = "fuzz.make"
    if words[0] == "new":
        known["name"] = "my-thing"
    found = {p.name: [known.get(p.name, "x")] for p in command.params if p.param_type_name == "argument"}
    if any(p.name == "store" for p in command.params):
        found["store"] = ["--store", "s"]
    if BASE.get(words[0]):
        found["engine"] = list(BASE[words[0]])
    return found


def lined(world: World, words: tuple[str, ...], command: Any, changed: dict[str, list[str | bytes]], name: str, **more: Any) -> Case:
    """A command with some parameters changed; a name that it does not have adds words at the end."""
    given: dict[str, list[str | bytes]] = {**usual(words, command, world), **changed}  # type: ignore[dict-item]
    heavy = words[0] in ("run", "new", "doctor")
    return Case("line", f"{' '.join(words)}: {name}", (*words, *(word for part in given.values() for word in part)), heavy=heavy, **more)


def line_special(world: World) -> Iterator[Case]:
    for words, command in commands().items():
        for stream in STREAMS:
            right = ANY if stream != "pipe" else frozenset({0, 1, 2, 3})
            yield lined(world, words, command, {}, f"stdout {stream}", stdout=stream, codes=right, one_line=stream == "full")
            yield lined(world, words, command, {}, f"both {stream}", stdout=stream, stderr=stream, codes=frozenset({0, 1, 2, 3}))
            yield lined(world, words, command, {"more": ["--nope"]}, f"refused, stderr {stream}", stderr=stream, codes=REFUSED)
        yield Case("line", f"{' '.join(words)}: nothing given", words, codes=DAMAGED, one_line=False, heavy=words[0] in ("doctor", "new"))
        yield lined(world, words, command, {"more": ["--help"]}, "help")
    for stream in STREAMS:
        yield Case(
            "line", f"a run, stderr {stream}", ("run", "fuzz", "--engine", "inline", "--store", "s"), codes=frozenset({0}), stderr=stream
        )
    yield Case("line", "nothing", (), codes=REFUSED, one_line=False)


def line_drawn(world: World, chance: random.Random) -> Iterator[Case]:
    tree = commands()
    spots = [(words, p) for words, command in tree.items() for p in command.params if (words[0], p.name) not in NEVER]
    for (words, param), text in shuffled(list(itertools.product(spots, TEXTS)), chance):
        option = param.param_type_name == "option"
        glued = option and chance.random() < 0.3
        changed: list[str | bytes] = (
            [text] if not option else [os.fsencode(param.opts[0]) + b"=" + os.fsencode(text)] if glued else [param.opts[0], text]
        )
        if option and chance.random() < 0.1:
            changed = [param.opts[0]] if chance.random() < 0.5 else [*changed, *changed]
        name = f"{param.name} {text[:24]!a}"
        if (words[0], param.name) == ("run", "engine"):
            changed = [*changed, "--device", "nothing"]  # should it be taken for one
        yield lined(
            world,
            words,
            tree[words],
            {param.name: changed},
            name,
            one_line=words[0] not in ("run", "doctor"),
            codes=DAMAGED if words[0] == "verify" else ANY,
        )


# ------------------------------------------------------------------------------------------------------------------------------ manifests

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


def manifest_special(world: World) -> Iterator[Case]:
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


def manifest_drawn(world: World, chance: random.Random) -> Iterator[Case]:
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


# ---------------------------------------------------------------------------------------------------------------------------------- names

FILES: list[str | bytes] = [
    "é.png", "e\u0301.png", "é.tif", "a\nb.png", "a\x1b[31m.png", "a" * 251 + ".png", b"caf\xe9.png", b"\xff\xfe.png", "-rf.png",
    "--.png", ".png", "..png", ".hidden.png", "a.PNG",
    "A.png", "a.png", "a.png.png", " .png", "a b.png", "*.png", "[a].png", "?.png", "a'\".png", "con.png", "a:b.png", "a\\b.png", "漢.png",
    "\u202e.png", "a.npy", "a.txt", "Thumbs.db",
    "\u212b.png", "\u00c5.png", "ﬁ.png", "fi.png", "ß.png", "ss.png" + ".jpg", "clean.png", "masks.png", "1.png", "01.png",
]  # fmt: skip


def targets() -> list[str | bytes]:
    """Where an export may be asked to go."""
    return [
        "out", "é", "e\u0301", b"caf\xe9", b"\xff", b"sub\xff/caf\xe9", "a" * 240, "a" * 255, "a" * 256, "a" * 5000, "a/" * 2100 + "b",
        "new/deep/er", "new/" + "a" * 256, "a\nb", "\x1b[31m",
        "..", ".", "../out", "../here/out", "new/../out", "out/", "out/.", "/", "//", "", "file", "file/x", "folder", "folder/new",
        "empty", "link", "link/new", "loop", "loop/x", "dangling",
        "dangling/x", "con", "a:b", "a\\b", "trailing. ", "-rf", "--", "~", "~/x", "/dev/null", "/dev/null/x", "/proc/x",
        "/proc/self/fd/x", "/sys/x", "s", "s/objects", "out.partial", ".out", "...",
    ]  # fmt: skip


def name_special(world: World) -> Iterator[Case]:
    for target, step in itertools.product(targets(), ("images", "report")):
        words = ("export", world.keys[step], "--store", "s", "--", target)
        yield Case("name", f"export to {target[:24]!a}", words)
        if step == "images":
            yield Case(
                "name",
                f"export to {target[:24]!a}",
                ("export", world.keys[step], "--json", "--format", "zarr", "--store", "s", "--", target),
            )
    for name in [*ODD_NAMES, *TEXTS]:
        if "\0" not in os.fsdecode(name):
            yield Case("name", f"ref {name[:24]!a}", ("ref", "set", "--store", "s", "--why", name, "--", name, world.keys["images"]))
            yield Case(
                "name",
                f"why {name[:24]!a}",
                ("ref", "hold", "fuzz/champion", world.keys["images"], "--store", "s", "--why=" + os.fsdecode(name)),
            )
            yield Case("name", f"new plugin {name[:24]!a}", ("new", "plugin", "--", name), heavy=True)
    for name in ODD_NAMES:
        yield Case("name", f"array {name[:24]!a}", (), call=functools.partial(array_named, name), heavy=False)
    pairs = [
        (["é.png"], ["e\u0301.png"]),
        (["e\u0301.png", "b.png"], ["é.png", "b.png"]),
        (["é.png", "e\u0301.png"], ["é.png"]),
        (["é.png"], ["é.png", "e\u0301.png"]),
    ]
    for images, masks in pairs:
        yield loading(f"images {images} masks {masks}", images, masks)


def name_drawn(chance: random.Random) -> Iterator[Case]:
    while True:
        files = chance.sample(FILES, chance.randint(1, 4))
        masks = chance.choice([[], files, chance.sample(FILES, chance.randint(1, 3))])
        pattern = chance.choice(["*", "[a", "é*", "e\u0301*", "?.png"])
        patterns = chance.choice([[], [f"--set=steps.images.params.clean=['{pattern}']"]])
        yield loading(f"images {files[:2]!a} masks {masks[:2]!a}", files, masks, *patterns)


def loading(name: str, files: Iterable[str | bytes], masks: Iterable[str | bytes], *more: str) -> Case:
    """`fabloom plan` of a folder of images with odd names."""
    files, masks = list(files), list(masks)

    def prepare(here: Path) -> None:
        pictures = emptied(here / "pictures")
        for file in files:
            made_at(pictures, file, b"x")
        for mask in masks:
            (pictures / "masks").mkdir(exist_ok=True)
            made_at(pictures / "masks", mask, b"x")
        (here / "load.yaml").write_text("name: load\nsteps:\n  images: {task: images.load, params: {path: pictures}}\n")

    return Case("name", name, ("plan", "load.yaml", "--store", "s", *more), prepare)


def array_named(name: str) -> int:
    """An array of an odd name in an artifact that is being written: written where it belongs, or refused."""
    import numpy as np

    from fabloom.storage.backends.local import LocalStore

    store = LocalStore("s")
    with store.lock("b" * 40, print, lambda: False):
        try:
            store.stage("b" * 40).put(name, np.ones(3, np.float32))
        except ValueError as error:
            print(f"fabloom: {error!a}", file=sys.stderr)
            return 2
    return 0


# ------------------------------------------------------------------------------------------------------------------------------- controls


def controls() -> list[Case]:
    """Cases that break every rule: what does not see them sees nothing."""

    def raises() -> int:
        raise KeyError("x")

    def talks() -> int:
        print("fabloom: one\nfabloom: two", file=sys.stderr)
        return 2

    def idles() -> int:
        while time.process_time() < MOST_SECONDS + 0.1:
            pass
        return 0

    def grows() -> int:
        return len(bytearray(os.urandom(1)) * (210 << 20)) * 0

    def leaves() -> int:
        Path("out").mkdir()
        return 2

    def wanders() -> int:
        (Path("..") / ".." / "wandered").touch()
        return 0

    def changes() -> int:
        (Path("s") / "store.json").write_text("{}")
        return 0

    calls = (raises, talks, idles, grows, leaves, wanders, changes)
    return [Case("name", f"control: {call.__name__}", ("show",), call=call) for call in calls]


# ------------------------------------------------------------------------------------------------------------------------------------ all


def shuffled(items: list[Any], chance: random.Random) -> list[Any]:
    """In another order."""
    return chance.sample(items, len(items))


def drawn(world: World, count: int, chance: random.Random, kind: str | None = None) -> list[Case]:
    """So many cases: of each kind the special ones, as far as they go into its share, then drawn ones."""
    special: dict[str, Callable[[], Iterator[Case]]] = {
        "yaml": yaml_special,
        "line": lambda: line_special(world),
        "manifest": lambda: manifest_special(world),
        "name": lambda: name_special(world),
    }
    others: dict[str, Callable[[], Iterator[Case]]] = {
        "yaml": lambda: yaml_drawn(chance),
        "line": lambda: line_drawn(world, chance),
        "manifest": lambda: manifest_drawn(world, chance),
        "name": lambda: name_drawn(chance),
    }
    found: list[Case] = []
    for one in (kind,) if kind else KINDS:
        share = count if kind else round(count * SHARES[one])
        first = [case for case in special[one]() if world.heavy or not case.heavy]
        rest = (case for case in others[one]() if world.heavy or not case.heavy)
        chosen = first if len(first) <= share * 2 // 3 else chance.sample(first, share * 2 // 3)
        found += [*chosen, *itertools.islice(rest, share - len(chosen))]
    return found
