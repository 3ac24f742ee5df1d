"""YAML as plain data: what it reads, what it refuses, and that no text costs more than its length."""

from __future__ import annotations

import json
import math
import random
import resource
import string
import time
from typing import Any

import pytest

from fabloom.plain_yaml import DEEPEST, MOST, NotPlain, load

READ: dict[str, Any] = {
    "a: 2024-01-01": {"a": "2024-01-01"},
    "a: 12:30:45": {"a": "12:30:45"},
    "a: yes": {"a": "yes"},
    "a: [on, No, TRUE, False, ~, null, '']": {"a": ["on", "No", True, False, None, None, ""]},
    "a: [1e-4, 1., .5, -3, +4, 0x1F, 0o17, 010, 1_000]": {"a": [1e-4, 1.0, 0.5, -3, 4, 31, 15, 10, "1_000"]},
    "a: ['1', \"true\", !!str 5, ! 6]": {"a": ["1", "true", "5", "6"]},
    "1: a\ntrue: b\n~: c\non: d": {"1": "a", "true": "b", "~": "c", "on": "d"},
    "a: &x {k: 1}\nb: *x\nc: {<<: *x, k: 2, l: 3}\nd: {<<: [*x, {k: 9, m: 4}]}": {
        "a": {"k": 1}, "b": {"k": 1}, "c": {"k": 2, "l": 3}, "d": {"k": 1, "m": 4},
    },
    "": None,
    "# nothing": None,
    "--- |\n  text\n  more\n": "text\nmore\n",
    str(2**64 - 1): 2**64 - 1,
    "[" * DEEPEST + "]" * DEEPEST: None,
}  # fmt: skip
REFUSED = {
    "!!int x": "tag",
    "!!python/object/apply:os.system [id]": "tag",
    "a: !!binary aGk=": "tag",
    "!mine {a: 1}": "tag",
    "a: 1\nb: 2\na: 3": "line 3, column 1: 'a' is given twice",
    "? [1]\n: 2": "cannot be a name",
    "&a [*a]": "inside of",
    "a: *b": "stands for nothing",
    "--- 1\n--- 2": "second document",
    "a: .inf": "no number that can be stored",
    "a: -.nan": None,
    "a: 1e999": "too large",
    "9" * 5000: "64 bits",
    str(2**64): "64 bits",
    "[" * (DEEPEST + 1): "deep",
    "- " * 5000 + "1": "deep",
    "a: &x 1\n<<: *x": "takes a mapping",
    "&x a: 1\n? *x\n: 2": "alias cannot be a name",
    "[*_ok*]": "line 1",
    "a: b: c": "not allowed",
    "\0": "control",
}


@pytest.mark.parametrize("text", READ)
def test_plain_values_are_what_they_look_like(text: str) -> None:
    wanted = READ[text]
    found = load(text)
    assert found == wanted or text.startswith("[[")
    assert json.dumps(found) == json.dumps(wanted) or text.startswith("[["), "1 and True are equal, but not the same"


@pytest.mark.parametrize("text", [text for text, words in REFUSED.items() if words])
def test_what_is_not_plain_is_refused_in_one_line_that_says_where(text: str) -> None:
    words = REFUSED[text]
    with pytest.raises(NotPlain, match=words) as refused:
        load(text)
    assert len(str(refused.value)) < 200 and "\n" not in str(refused.value)


def test_names_of_text_may_look_like_anything() -> None:
    assert load("a: -.nan") == {"a": "-.nan"}, "YAML 1.2 knows no such number"


def test_every_json_document_is_read_as_json_reads_it() -> None:
    chance = random.Random(1)

    def value(depth: int) -> Any:
        kind = chance.randrange(7 if depth < 5 else 5)
        if kind == 5:
            return [value(depth + 1) for _ in range(chance.randrange(4))]
        if kind == 6:
            return {text(): value(depth + 1) for _ in range(chance.randrange(4))}
        return [None, True, chance.randrange(-(2**63), 2**64), chance.gauss(0, 1) * 10 ** chance.randrange(-300, 300), text()][kind]

    def text() -> str:
        return "".join(chance.choice(string.printable[:95] + "äß漢") for _ in range(chance.randrange(8)))

    for _ in range(300):
        made = value(0)
        assert load(json.dumps(made, ensure_ascii=False)) == made


def bomb(width: int, levels: int) -> str:
    rows = [f"a0: &a0 [{', '.join('x' * width)}]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(rows)


def test_aliases_unfold_as_far_as_the_bound_and_cost_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(load(bomb(10, 4))["a3"]) == 10
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for text in (bomb(10, 12), bomb(40, 30), "<<: " * 3 + bomb(10, 12)):
        with pytest.raises(NotPlain):
            load(text)
    assert time.process_time() - began < 30 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600 * 1024
    monkeypatch.setattr("fabloom.plain_yaml.MOST", 100)
    with pytest.raises(NotPlain, match="more than 100 values"):
        load(str(list(range(101))))
    assert MOST >= 100 * 10_000, "ten thousand steps of a hundred values each"


def test_what_aliases_unfold_to_is_as_deep_as_what_is_written_and_no_deeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alias may stand a level deeper than the one before: 1300 lines of a few characters were a RecursionError."""

    def chain(length: int, form: str) -> str:
        return "\n".join(["a0: &a0 {k: v}", *(f"a{n}: &a{n} {form.format(n - 1)}" for n in range(1, length))])

    for form in ("[*a{}]", "{{k: *a{}}}"):
        assert load(chain(DEEPEST - 2, form))
        with pytest.raises(NotPlain, match=f"more than {DEEPEST} deep in one another, aliases unfolded"):
            load(chain(1300, form))
    assert load(chain(200, "{{<<: *a{}, n: 1}}"))["a199"] == {"n": 1, "k": "v"}, "what is merged in lies no deeper"
    assert load(chain(200, "{{<<: [*a{}]}}"))["a199"] == {"k": "v"}
    monkeypatch.setattr("fabloom.plain_yaml.UNFOLDED", 110)
    assert load(bomb(10, 2))["a1"]
    with pytest.raises(NotPlain, match="aliases stand for more than 110 values"):
        load(bomb(11, 2))


def test_merges_and_directives_cost_their_length() -> None:
    """9,000 merges into 6,000 names copied the names each time; libyaml compares each tag's handle with all before it."""
    names = ", ".join(f"n{i}: {i}" for i in range(6000))
    began = time.process_time()
    assert len(load(f"x: &x {{a: 1}}\ny: {{{names}, <<: [{', '.join(['*x'] * 9000)}]}}")["y"]) == 6001
    with pytest.raises(NotPlain, match="lines begin with %"):
        load("".join(f"%TAG !t{i}! x\n" for i in range(100_000)) + "--- a")
    assert time.process_time() - began < 3
    assert load("%YAML 1.2\n---\na: 1") == {"a": 1}


@pytest.mark.parametrize("text", ["a: \ud800", "\udcff: b", "\udce9"])
def test_bytes_that_are_no_text_are_refused(text: str) -> None:
    with pytest.raises(NotPlain, match="is no text"):
        load(text)


def test_whatever_is_written_is_a_value_or_one_line() -> None:
    """Fuzzing: pieces of YAML in any order. Nothing else comes out, and what comes out is JSON."""
    chance = random.Random(7)
    pieces = ["a", "b: ", ": ", "- ", "\n", "\n  ", "[", "]", "{", "}", ", ", "&x ", "*x", "!!int ", "!!set ", "! ", "<<: ", "'", '"', "|\n ", ">-\n ",
              "? ", "~", "yes", "1e5", "0x", "-", ".inf", "2024-01-01", "---\n", "...\n", "%YAML 1.1\n", "#", "@", "`", "\t", "\0", "\ufeff", "é", "9" * 30]  # fmt: skip
    values = 0
    for _ in range(3000):
        text = "".join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))
        try:
            json.dumps(load(text), allow_nan=False)
            values += 1
        except NotPlain as error:
            assert "\n" not in str(error)
    assert 300 < values < 2700, "both ends are met"
    assert math.isfinite(load("1.5"))
