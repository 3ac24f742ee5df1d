"""Command lines: every command and option with odd values, and with streams that are closed, full or gone."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from typing import Any

from fuzzing.world import ANY, DAMAGED, REFUSED, Case, World

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

    from fabloom.flows.cli.main import app

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            yield words, command
        else:
            for name, one in inside.items():
                yield from walk(one, (*words, name))

    return dict(walk(typer.main.get_command(app), ()))


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


def special(world: World) -> Iterator[Case]:
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


def drawn(world: World, chance: random.Random) -> Iterator[Case]:
    tree = commands()
    spots = [(words, p) for words, command in tree.items() for p in command.params if (words[0], p.name) not in NEVER]
    for (words, param), text in chance.sample(whole := list(itertools.product(spots, TEXTS)), len(whole)):
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
