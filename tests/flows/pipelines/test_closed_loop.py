"""`closed-loop`: the loop and its control in one pipeline, whole in miniature."""

from __future__ import annotations

from typing import Any

import pytest

import fabloom
from fabloom.errors import PipelineError
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

TINY: dict[str, Any] = {
    "rounds": 1, "draws": 1, "real": 3, "clean": 3, "pool": 16, "keep": 6, "count": 12, "size": 32, "validation": 12, "test": 20, "steps": 2
}  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def ancestors(steps: Any, name: str) -> set[str]:
    """The steps that a step needs, itself among them."""
    found, waiting = set[str](), [name]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            for source in steps[one].inputs.values():
                waiting += [source] if isinstance(source, str) else source
    return found


def test_arms_differ_in_the_choice_alone(registry: Registry) -> None:
    steps = registry.pipeline("closed-loop", TINY | {"rounds": 2, "draws": 2}).steps
    loop, control = (steps[f"{arm}-2-chosen_1"] for arm in ("closed-loop", "control"))
    assert loop.inputs["images"] == control.inputs["images"] == "pool-2_1" and loop.inputs["reference"] == control.inputs["reference"]
    assert loop.inputs["model"] == "closed-loop-1_1_segmenter" and loop.inputs["misses"] == "closed-loop-2-misses_1"
    assert "misses" not in control.inputs and (control.params["hardness"], control.params["diversity"]) == (0, 0)
    assert loop.params["count"] == control.params["count"]
    budgets = {(s.params["steps"], s.params["batch"]) for s in steps.values() if s.task == "unet.train"}
    assert budgets == {(2, 16)}
    cells = steps["report"].params["cells"]
    assert len(cells) == 2 * (2 + 2 * 2 + 1) == len(steps["report"].inputs["misses"])


def test_nothing_that_is_chosen_or_trained_has_seen_the_test_images(registry: Registry) -> None:
    steps = registry.pipeline("closed-loop", TINY | {"rounds": 2}).steps
    for name, step in steps.items():
        if step.task in ("unet.train", "curate.select", "images.join"):
            assert "test" not in ancestors(steps, name)
        if step.task == "curate.misses" and step.inputs["images"] == "test":
            assert step.params["rate"] == 0.01
    trained = {name: ancestors(steps, f"{name}_0_segmenter") for name in ("control-2", "closed-loop-2", "validation-learned")}
    assert "validation" not in trained["control-2"] and "validation" in trained["closed-loop-2"], "by its misses"
    assert "validation" in steps["validation-learned-images_0"].inputs["images"]
    assert len({steps[name].seed for name in ("images", "validation", "test")}) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"generator": "copy-past"}, r"params\.generator: 'copy-past' is no one-shot method\. Did you mean 'copy-paste'"),
        ({"keep": 50, "pool": 20}, "raise pool"),
        ({"round": 3}, r"params\.round: is not known here\. Did you mean 'rounds'"),
    ],
)
def test_parameters_are_checked_before_anything_is_built(registry: Registry, given: dict[str, object], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        registry.pipeline("closed-loop", given)


def test_the_loop_end_to_end(registry: Registry, store: LocalStore) -> None:
    done = fabloom.run("closed-loop", params=TINY, store=store, device="cpu", registry=registry, engine="inline")
    assert done.exit_code == 0
    report = done["report"]
    assert {"closed loop", "control", "validation learned", "difference"} <= report.metrics.keys()
    assert "After 1 round " in report.verdict and "against 'control'" in report.verdict
    rows = report.tables["By round"].rows
    assert [(row[0], row[1]) for row in rows] == [
        (0, "closed loop"), (0, "control"), (1, "closed loop"), (1, "control"), (1, "validation learned")
    ]  # fmt: skip
    assert rows[0][3] == rows[1][3], "both arms begin with one segmenter"
    more = make_plan(registry.pipeline("closed-loop", TINY | {"rounds": 2}), registry, store)
    there = {step.name for step in more.steps if store.has(step.key)}
    assert {"closed-loop-1_0_segmenter", "control-1_0_segmenter", "samples-1_0"} <= there, "a further round adds to those that are there"
