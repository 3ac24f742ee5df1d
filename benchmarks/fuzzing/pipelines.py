"""YAML of pipelines and of `--set`: special texts, then every scalar at every place."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from fuzzing.world import ANY, REFUSED, Case, made_at

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


def special() -> Iterator[Case]:
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


def drawn(chance: random.Random) -> Iterator[Case]:
    scalars = [*BAD, *ODD]
    files = [("file", place, text) for place in PLACES for text in scalars]
    settings = [("set", place, text) for place in SETTINGS for text in scalars if "\0" not in text]
    coded = [("coded", chance.choice(list(PLACES)), text) for text in scalars for _ in range(4)]
    for how, place, text in chance.sample(whole := [*files, *settings, *coded], len(whole)):
        name = f"{how} {place}: {text[:24]!a}"
        if how == "set":
            yield Case("yaml", name, ("plan", "fuzz", "--store", "s", "--set", raw(place.format(text))))
        elif how == "file":
            codes = REFUSED if text in BAD[:24] and place not in NAMES else ANY
            yield planned(name, document(place, text), codes)
        else:
            yield planned(name, chance.choice(list(ENCODINGS.values()))(document(place, text)))
