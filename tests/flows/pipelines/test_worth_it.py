"""`worth-it`: a pipeline that is built by its parameters, whole in miniature."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import fabloom
from fabloom.errors import PipelineError, PluginError, UserError
from fabloom.flows.cli.shared import read_params
from fabloom.hooks import hookimpl
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore

INSTALLED = Path(__file__).parents[2] / "installed_one_shot"
TINY = {
    "generators": ["loom"],
    "sizes": [1, 2],
    "draws": 2,
    "clean": 2,
    "count": 8,
    "size": 32,
    "pool": 8,
    "test": 20,
    "steps": 2,
    "rate": 0.1,
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Everything that comes with fabloom, and a third party's one-shot method."""
    monkeypatch.syspath_prepend(str(INSTALLED))
    yield Registry.load()
    sys.modules.pop("loom_plugin", None)


def test_every_recipe_has_every_number_of_images_and_draw_with_the_same_budget(registry: Registry) -> None:
    steps = registry.pipeline("worth-it", TINY).steps
    cells = steps["report"].params["cells"]
    recipes = ["augmented", "loom", "augmented + loom"]
    assert {(c["recipe"], c["size"], c["draw"]) for c in cells} == {
        *((recipe, size, draw) for recipe in recipes for size in (1, 2) for draw in (0, 1)),
        *(("shuffled masks", 2, draw) for draw in (0, 1)),
        *(("all real", 4, draw) for draw in (0, 1)),
        ("untrained", 1, 0),
    }
    budgets = {name: (step.params["steps"], step.params["batch"]) for name, step in steps.items() if step.task == "unet.train"}
    assert {b for name, b in budgets.items() if "untrained" not in name} == {(2, 16)} and len(budgets) == len(cells)
    assert steps["loom_2_1_model"].inputs == {"images": "real_2_1"}, "a generator sees the draw and no more"
    assert steps["report"].inputs["images"] == "test" and steps["test"].seed != steps["pool"].seed


def test_generated_images_alone_may_be_left_out_for_more_draws(registry: Registry) -> None:
    whole, joined = (registry.pipeline("worth-it", TINY | {"generators": ["copy-paste"], "alone": alone}).steps for alone in (True, False))
    recipes = {cell["recipe"] for cell in joined["report"].params["cells"]}
    assert recipes == {"augmented", "augmented + copy-paste", "shuffled masks", "all real", "untrained"}
    assert joined["report"].params["rivals"] == ["augmented + copy-paste"]
    assert joined.keys() < whole.keys() and all(joined[name] == whole[name] for name in joined if name != "report"), "nothing is made anew"


@pytest.mark.parametrize("structure", ["line-pair", "contact-hole", "sram-cell"])
def test_defects_of_the_test_images_go_beyond_those_that_are_learned_from(registry: Registry, structure: str) -> None:
    steps = registry.pipeline("worth-it", TINY | {"structure": structure}).steps
    real, held_out = steps["pool"].params, steps["test"].params
    assert held_out["defect_low"] < real["defect_low"] < real["defect_high"] < held_out["defect_high"]
    assert steps["pool"].task == f"{structure}.simulate"


def test_a_method_of_one_image_learns_from_the_first_of_the_draw(registry: Registry) -> None:
    steps = registry.pipeline("worth-it", TINY | {"generators": ["sinsemi", "loom"]}).steps
    assert steps["sinsemi_1_0_model"].params == {"image": 0, "steps": 700} and steps["loom_2_0_model"].params == {}
    assert "sinsemi_2_0_model" not in steps, "a draw of two begins with that of one"
    assert steps["sinsemi_2_0_both"].inputs == {"images": ["augmented_2_0", "sinsemi_1_0_labelled"]}
    own = registry.pipeline("worth-it", TINY | {"generators": ["sinsemi"], "generator_steps": None}).steps
    assert own["sinsemi_1_0_model"].params == {"image": 0}
    assert any("the first of each draw, the same at every size: sinsemi." in text for text in own["report"].params["remarks"])


def test_a_method_of_one_image_may_learn_from_several_a_model_each(registry: Registry) -> None:
    steps = registry.pipeline("worth-it", TINY | {"generators": ["sinsemi", "loom"], "generator_images": 3, "count": 7}).steps
    assert [steps[f"sinsemi_2_0_{part}_model"].params["image"] for part in (1, 2)] == [0, 1]
    assert [steps[f"sinsemi_2_0_{part}_samples"].params["count"] for part in (1, 2)] == [3, 4], "as many images as every recipe"
    assert steps["sinsemi_2_0_labelled"].inputs["images"] == "sinsemi_2_0_samples" and "sinsemi_1_0_1_model" not in steps
    assert "loom_2_0_1_model" not in steps and "up to 3 of each draw" in " ".join(steps["report"].params["remarks"])


def test_boards_follow_their_references_and_share_no_group_with_the_test(registry: Registry) -> None:
    steps = registry.pipeline("worth-it", TINY | {"structure": "deeppcb", "generators": ["sinsemi", "copy-paste"]}).steps
    assert steps["pool_files"].params["test"].startswith("12000") and steps["test_files"].params["test"].startswith("00041")
    assert steps["pool"].params == {"defects": 4, "clean": 4, "unit": "image"} == steps["test"].params | {"defects": 4, "clean": 4}
    assert steps["sinsemi_1_0_model"].params["anchor"] == "reference" and "anchor" not in steps["copy-paste_1_0_model"].params
    assert steps["sinsemi_1_0_labelled"].inputs == {"images": "sinsemi_1_0_samples"}
    usual = registry.pipeline("worth-it", {name: value for name, value in TINY.items() if name != "generators"} | {"structure": "deeppcb"})
    assert "inpaint_1_0_model" in usual.steps and "sinsemi_1_0_model" not in usual.steps, "its templates are off by more than it takes"
    assert steps["pool_labelled"].inputs == {"images": "pool_files"} and steps["pool_labelled"].params == {"given": "within"}


def test_the_published_pair_is_tested_on_its_own_defect_moved(registry: Registry) -> None:
    steps = registry.pipeline("worth-it", TINY | {"structure": "published-pair", "sizes": [1]}).steps
    assert steps["test"].task == "copy-paste.sample" and steps["relocated"].inputs == {"images": "pool"}
    assert steps["real_1_0"].params == {"defects": 1, "clean": 1} and "all-real_1_0_segmenter" not in steps
    assert "oracle" in " ".join(steps["report"].params["remarks"])


def test_a_folder_of_ones_own_with_another_to_test_on(registry: Registry) -> None:
    given = {"structure": "own", "real": {"path": "mine"}, "tested": {"path": "others"}, "label": "clean", "tile": 32}
    steps = registry.pipeline("worth-it", TINY | given).steps
    assert steps["pool_labelled"].inputs == {"images": "pool_files", "reference": "pool_files"}
    assert steps["test"].task == "images.tile" and steps["test"].params == {"size": 32}, "all of them"
    assert steps["loom_1_0_labelled"].inputs["reference"] == "real_1_0" and steps["real_1_0"].params["unit"] == "image"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"generators": ["sinsemy"]}, r"params\.generators: 'sinsemy' is no one-shot method\. Did you mean 'sinsemi'"),
        ({"sizes": [5, 1]}, "must rise"),
        ({"sizes": [1, 500]}, "smaller sizes, or a larger pool"),
        ({"clean": 500}, "smaller clean, or a larger pool"),
        ({"draw": 3}, r"params\.draw: is not known here\. Did you mean 'draws'"),
        ({"sizes": "many"}, r"params\.sizes"),
        ({"structure": "own"}, "wants `real` and `tested`, .* and `pool`"),
        ({"structure": "own", "real": {"path": "mine"}, "tested": {"path": "mine"}, "pool": 40}, "are the same images"),
        ({"test": 60, "rate": 0.01}, "has 30 clean images, of which rate=0.01 is less than one; give test=200 or more"),
        ({"tile": 64}, "tile without structure=own"),
        ({"structure": "published-pair"}, r"give sizes=\[1\]"),
    ],
)
def test_parameters_are_checked_before_anything_is_built(registry: Registry, given: dict[str, object], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        registry.pipeline("worth-it", given)


def test_pipelines_without_parameters_say_so(registry: Registry, store: LocalStore) -> None:
    with pytest.raises(PipelineError, match=r"pipeline 'one-step' takes no parameters; --set"):
        fabloom.run("one-step", params={"sizes": [1]}, store=store)
    with pytest.raises(PipelineError, match=r"'./mine.yaml' is a file, or no pipeline, and takes no parameters"):
        registry.pipeline("./mine.yaml", {"sizes": [1]})
    with pytest.raises(UserError, match="given whole"):
        fabloom.run(registry.pipeline("one-step"), params={"sizes": [1]}, store=store)
    for text in ("sizes", "sizes=[1"):
        with pytest.raises(UserError, match="--param 'sizes"):
            read_params([text])
    assert read_params(["sizes=[1, 5]", "structure=sram-cell"]) == {"sizes": [1, 5], "structure": "sram-cell"}
    assert registry.pipeline_params("one-step") is None and registry.pipeline_params("worth-it") is not None


def test_worth_it_end_to_end(registry: Registry, store: LocalStore) -> None:
    done = fabloom.run("worth-it", params=TINY, store=store, device="cpu", registry=registry)
    assert done.exit_code == 0 and done.report_path is not None
    report = done["report"]
    assert {"augmented", "loom", "augmented + loom", "untrained"} <= report.metrics["1 real"].keys()
    assert "shuffled masks" in report.metrics["2 real"] and "all real" in report.metrics["4 real"]
    assert re.search(r"with 1 (real image|and 2 real images)|No answer: where 10% of the clean images", report.verdict), report.verdict
    assert "real images with a defect" in done.report_path.read_text()
    again = fabloom.run("worth-it", params=TINY, store=store, device="cpu", registry=registry)
    assert {step.status for step in again.steps} == {"reused"}
    more = fabloom.run("worth-it", params=TINY | {"draws": 1}, store=store, device="cpu", registry=registry)
    assert {step.name for step in more.steps if step.status == "ran"} == {"report"}, "what is there is reused"


BUILDERS = {
    "def broken(registry, sizes): return None": r"takes \(registry, sizes\), not \(registry\) or \(registry, params\)",
    "def broken(registry, params): return None": "annotated with no subclass",
    "def broken(registry, params: 'Missing'): return None": "Missing",
}


@pytest.mark.parametrize(("source", "words"), BUILDERS.items())
def test_a_function_of_another_signature_is_a_problem_of_its_plugin(source: str, words: str) -> None:
    scope: dict[str, object] = {}
    exec(source, scope)
    plugin = SimpleNamespace(fabloom_pipelines=hookimpl(lambda: [scope["broken"]]))
    registry = Registry()
    registry.register(plugin, Origin("broken", "1.0", "broken"))
    (problem,) = registry.problems
    assert re.search(words, problem.cause)
    with pytest.raises(PluginError, match="broken"):
        registry.pipeline("broken")
