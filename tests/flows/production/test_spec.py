"""Specifications as they are written, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabloom import plain_yaml
from fabloom.errors import UserError
from fabloom.flows.production.example import example, write_example
from fabloom.flows.production.spec import Spec

GOOD: dict[str, Any] = {
    "line": "line-pair",
    "pipeline": "one-step",
    "challenger": "segmenter",
    "evaluate": {"test": "ref:line-pair/heldout"},
    "gate": [{"metric": "iou_defect", "by": 0.01}],
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gates": []}, "gates: is not known here. Did you mean 'gate'?"),
        ({"evaluate": {"test": "ref:x/y", "parms": {}}}, "evaluate.parms: is not known here. Did you mean 'params'?"),
        ({"gate": [{"metric": "iou", "buy": 1}]}, "gate.0.buy: is not known here. Did you mean 'by'?"),
        ({"check": {"step": "images", "count": {"atleast": 1}}}, "check.count.atleast: is not known here. Did you mean 'at_least'?"),
        ({"gate": []}, "gate: "),
        ({"gate": [{"metric": "iou"}]}, "one of both"),
        ({"gate": [{"metric": "iou", "by": 0.1, "no_worse_than": 0.1}]}, "one of both"),
        ({"gate": [{"metric": "iou", "by": -0.1}]}, "gate.0.by"),
        ({"gate": [{"metric": "iou", "by": float("nan")}]}, "gate.0.by"),
        ({"gate": [{"metric": "pixels", "by": 0, "events": "alarms"}]}, "'alarms', the events of pixels, has no condition of its own"),
        ({"gate": [{"metric": "pixels", "by": 0, "events": "pixels"}]}, "'pixels', the events of pixels, has no condition of its own"),
        ({"line": "a/b"}, "line: "),
        ({"first": "maybe"}, "first"),
        ({"first": {}}, "first"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(changes: dict[str, Any], told: str) -> None:
    assert Spec.parse(GOOD).gate[0].bound("up") == 0.01, "the control"
    with pytest.raises(UserError) as caught:
        Spec.parse({**GOOD, **changes}, origin="retrain.yaml")
    assert told in str(caught.value) and str(caught.value).startswith("retrain.yaml: ") and caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "told"), [("line: [", "YAML"), ("- a\n", "a specification is a mapping"), ("a: !!python/name:os.x 1", "tag")]
)
def test_a_file_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "retrain.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=told):
        Spec.load(path)
    with pytest.raises(UserError, match="cannot read the specification"):
        Spec.load(tmp_path / "none.yaml")


def test_the_example_is_a_specification_with_every_comment_taken_away_too(tmp_path: Path) -> None:
    write_example(tmp_path / "retrain.yaml", "etch-7")
    spec = Spec.load(tmp_path / "retrain.yaml")
    assert (spec.champion, spec.decision, spec.evaluate.test) == ("etch-7/champion", "etch-7/decision", "ref:etch-7/heldout")
    whole = example("etch-7").replace("# check:", "check:").replace("#   ", "  ")
    check = Spec.parse(plain_yaml.load(whole)).check
    assert check is not None and check.count.at_least == 100 and check.grey.change == 10
    with pytest.raises(UserError, match="is there already"):
        write_example(tmp_path / "retrain.yaml", "etch-7")
    for name in ("a: b", "7", "a/b", "", "a\nline: b"):
        with pytest.raises(UserError, match="no name of a line"):
            write_example(tmp_path / "other.yaml", name)
    assert not (tmp_path / "other.yaml").exists()
