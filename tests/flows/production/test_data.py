"""The look at the training set: what it counts, and what speaks against a set."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fabloom.flows.cli.production import sentence
from fabloom.flows.production.data import accepted, look, objections
from fabloom.flows.production.decision import Decision, Record
from fabloom.flows.production.spec import Check
from fabloom.kinds import ImageSet
from fabloom.kinds.memory import Held
from fabloom.storage.backends.local import LocalStore

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any

USUAL = {
    "key": "k", "count": 100, "height": 32, "width": 32, "channels": 1, "grey": 100.0, "contrast": 30.0, "defects": 0.5,
    "duplicates": 0.0, "known": 0.1, "leaked": 0,
}  # fmt: skip
ASKED = {
    "step": "images", "count": {"at_least": 50, "change": 0.5}, "size": "same", "grey": {"change": 10}, "contrast": {"change": 10},
    "defects": {"at_least": 0.1, "change": 0.2}, "duplicates": 0.1, "known": 0.9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"count": 151}, ["image count"]),
        ({"count": 49}, ["at least 50", "image count is 49, that of the last"]),
        ({"height": 64}, ["64 × 32"]),
        ({"channels": 3}, ["3 channels"]),
        ({"grey": 110.5}, ["mean grey level"]),
        ({"contrast": 10.0}, ["contrast"]),
        ({"defects": 0.05}, ["at least 0.1", "apart"]),
        ({"defects": None}, ["nothing says the share"]),
        ({"duplicates": 0.11}, ["repeat another"]),
        ({"known": 0.95}, ["last accepted set too"]),
        ({"known": None}, []),
        ({"leaked": 1}, ["held-out set too"]),
    ],
)  # fmt: skip
def test_what_speaks_against_a_set(changes: dict[str, Any], told: list[str]) -> None:
    found = objections(Check.model_validate(ASKED), {**USUAL, **changes}, USUAL)
    assert len(found) == len(told) and all(part in one for part, one in zip(told, found, strict=True)), found


def test_the_first_set_of_a_line_is_held_against_bounds_alone() -> None:
    asked = Check.model_validate(ASKED)
    assert objections(asked, {**USUAL, "grey": 3.0, "height": 999, "known": None}, {}) == []
    assert len(objections(asked, {**USUAL, "count": 3, "known": None}, {})) == 1


def test_the_last_accepted_set_is_read_from_the_newest_night_back() -> None:
    def nights() -> Iterator[Any]:
        for number, accepted_ in ((3, False), (2, True)):
            yield None, SimpleNamespace(data={"accepted": accepted_, "count": number})
        raise AssertionError("an older night was read")

    assert accepted(nights())["count"] == 2 and accepted([]) == {}


def test_a_look_counts_what_is_there(store: LocalStore) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (20, 3, 8, 6), dtype=np.uint8)
    pixels[3:5] = pixels[0]
    masks = np.zeros((20, 8, 6), np.uint8)
    masks[:5, 1, 1] = 1
    key = store.put(ImageSet.from_arrays(pixels, masks=masks)).key
    test, last = (store.put(ImageSet.from_arrays(other)).key for other in (pixels[18:], pixels[10:]))
    found = look(store, key, test=test, last=last)
    assert found["grey"] == pytest.approx(pixels.mean()) and found["contrast"] == pytest.approx(pixels.std())
    assert (found["count"], found["height"], found["width"], found["channels"], found["defects"]) == (20, 8, 6, 3, 0.25)
    assert (found["duplicates"], found["known"], found["leaked"]) == (0.1, 0.5, 2)
    assert look(store, key, test=test, last="0" * 40)["known"] is None


def test_a_set_that_fails_ends_the_night_before_anything_is_trained(line: Line) -> None:
    line.write(check={"step": "images", "count": {"at_least": 10, "change": 0.5}, "grey": {"change": 30}}, line="checked")
    assert line.night()["outcome"] == "Promoted"
    line.grey(120, count=40)
    odd = line.night()
    assert odd["outcome"] == "Rejected" and "image count is 40" in odd["reason"] and [*odd["run"]["steps"]] == ["images"]
    assert odd["data"]["accepted"] is False and odd["evaluation"] == ""
    line.grey(125, count=25)
    fine = line.night()
    assert fine["outcome"] == "Promoted" and fine["data"]["against"] != odd["data"]["key"], (
        "held against the last accepted set, not the odd one"
    )
    line.grey(90, count=25)
    assert "mean grey level" in line.night()["reason"]
    line.grey(100, count=25)
    first, again = line.night(), line.night()
    assert first["outcome"] == again["outcome"] == "Rejected" and first["gate"] and again["decision"] == first["decision"]


def test_a_decision_says_what_was_seen_in_words_and_leaves_out_what_nobody_knows() -> None:
    data = {"accepted": True, "key": "k", "against": "", "count": 24, "known": None, "leaked": 0, "defects": 0.5}
    made = Decision.write(Held(), Record("etch", "Promoted", "first", data=data))
    seen = next(one.facts for one in made.exhibits() if one.title == "Training set")
    assert seen == {"accepted": True, "set": "k", "images": 24, "share with a defect": 0.5, "images that the held-out set has too": 0}


@pytest.mark.parametrize(
    ("reason", "said"), [("the line had no champion", "The line had no champion."), ("iou_defect 0.1 is low", "iou_defect 0.1 is low.")]
)
def test_the_name_of_a_metric_stays_as_it_is_at_the_head_of_a_sentence(reason: str, said: str) -> None:
    assert sentence(reason) == said
