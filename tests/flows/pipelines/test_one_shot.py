"""`one-shot` and `one-shot-leaderboard`: what they hold, who joins, and both end to end in miniature."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import fabloom
from fabloom.errors import EnvironmentProblem, PipelineError, PluginError
from fabloom.flows.pipelines.one_shot_leaderboard import one_shot_leaderboard, spelled
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.planning.plan import Plan, make_plan
from fabloom.plugins.judge.leaderboard import tables, verdicts
from fabloom.plugins.judge.leaderboard.scores import read_quality, read_segmentation
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore

INSTALLED = Path(__file__).parents[2] / "installed_one_shot"
SIZE = 64


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real pair: vertical lines of period 16 with and without a dark bridge, and independent noise."""
    folder = tmp_path_factory.mktemp("pair")
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE]
    lines = 70 + 8 * np.sin(2 * np.pi * x / 16)
    bridge = -14 * np.exp(-((y - 30) ** 2 + (x - 28) ** 2) / 2 / 5**2)
    for name, clean in (("no_defect", lines), ("bridge_defect", lines + bridge)):
        pixels = clean + rng.normal(0, 0.6, clean.shape)
        Image.fromarray(pixels.round().astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """Everything that comes with fabloom, and a third party's method."""
    monkeypatch.syspath_prepend(str(INSTALLED))
    yield Registry.load()
    sys.modules.pop("loom_plugin", None)


def planned(registry: Registry, store: LocalStore, name: str, pair: Path, *settings: str) -> Plan:
    return make_plan(
        registry.pipeline(name).override([f"steps.images.params.path={pair}", *settings], None, registry.fields), registry, store
    )


def test_one_shot_takes_one_image_in_and_gives_a_report(registry: Registry, store: LocalStore, pair: Path) -> None:
    plan = planned(registry, store, "one-shot", pair)
    assert list(plan.pipeline.steps) == [
        "images", "real", "model", "synthetic", "labelled", "quality", "segmenter", "varied", "baseline", "test", "report",
    ]  # fmt: skip
    assert plan.steps[-1].spec.output is Report
    assert plan.step("segmenter").upstream == ("labelled",), "the segmenter sees generated images alone"
    assert plan.step("varied").seed != plan.step("test").seed
    assert plan.step("segmenter").params.model_dump() == plan.step("baseline").params.model_dump(), "the same U-Net on other images"


def test_one_word_swaps_the_method(registry: Registry, store: LocalStore, pair: Path) -> None:
    plan = planned(registry, store, "one-shot", pair, "steps.model.task=loom.train", "steps.synthetic.task=loom.sample")
    assert plan.step("synthetic").task == "loom.sample"
    assert plan.step("test").key == planned(registry, store, "one-shot", pair).step("test").key


def test_a_method_joins_by_being_installed(registry: Registry, store: LocalStore, pair: Path) -> None:
    plan = planned(registry, store, "one-shot-leaderboard", pair)
    for suffix, name in (("model", "loom.train"), ("samples", "loom.sample"), ("quality", "quality.evaluate"), ("segmenter", "unet.train")):
        assert plan.step(f"loom_{suffix}").task == name
    assert plan.step("loom_far_samples").params.model_dump()["reach"] == 1.0
    assert plan.step("loom_far_samples").upstream == ("loom_model",), "a variant samples the same model"
    assert {"loom_steps_1_quality", "loom_steps_4_quality"} <= set(plan.pipeline.steps)
    board = plan.steps[-1]
    assert board.task == "leaderboard.compare"
    params = board.params.model_dump()
    rows = [(entry["method"], entry["variant"]) for entry in params["entries"]]
    assert {("copy-paste", ""), ("noise-paste", "")} <= set(rows), "what costs nothing is held against them"
    assert ("loom", "") in rows and ("loom", "far") in rows and ("sinsemi", "") in rows
    assert board.inputs["samples"] == [plan.step("_".join(filter(None, row)) + "_labelled").key for row in rows]
    assert {"method": "loom", "ablation": "steps", "value": "4", "beside": "reach 0.1"} in params["settings"]
    alone = Registry.load()
    assert "loom" in alone.methods, "the control: it is on the path"
    without = Registry()
    without.methods.update({name: m for name, m in registry.methods.items() if name != "loom"})
    without.tasks.update(registry.tasks)
    assert not [name for name in one_shot_leaderboard(without).steps if name.startswith("loom")]


def test_all_methods_are_scored_alike(registry: Registry, store: LocalStore, pair: Path) -> None:
    plan = planned(registry, store, "one-shot-leaderboard", pair)
    entries = [step.name.removesuffix("_segmentation") for step in plan.steps if step.name.endswith("_segmentation")]
    assert len(entries) >= 3
    baseline = plan.pipeline.steps["baseline"].params
    assert baseline["repeats"] == 3
    for suffix, same in (("segmenter", {**baseline, "accept_clean": True}), ("labelled", {"preset": "published"})):
        assert all(plan.pipeline.steps[f"{e}_{suffix}"].params == same for e in entries)
    assert len({plan.pipeline.steps[f"{e}_samples"].params["count"] for e in entries}) == 1
    for e in entries:
        inputs = plan.pipeline.steps[f"{e}_segmentation"].inputs
        assert inputs == {"images": "test", "model": f"{e}_segmenter", "baseline": "baseline"}


def test_one_setting_scales_all_methods(registry: Registry, store: LocalStore, pair: Path) -> None:
    plan = planned(registry, store, "one-shot-leaderboard", pair, "steps.*_samples.params.count=5", "steps.*_model.params.preset=published")
    sampled = [step for step in plan.steps if step.name.endswith("_samples")]
    assert {step.params.model_dump()["count"] for step in sampled} == {5}
    presets = {step.name: step.params.model_dump().get("preset") for step in plan.steps if step.name.endswith("_model")}
    assert {presets[f"{name}_model"] for name in ("sinsemi", "sinddm", "loom")} == {"published"}


class Bare(Method):
    """Tagged, but with nothing to sample from."""

    name = "bare"
    tags = frozenset({"one-shot"})

    @task(version=1)
    def train(self, ctx: Context, params: Params, *, images: ImageSet) -> Model:
        raise NotImplementedError


class Odd(Bare):
    """Declares its ablations in another shape."""

    name = "odd"
    ablations: ClassVar[dict[str, Any]] = {"steps": [1, 2]}

    @task(version=1)
    def sample(self, ctx: Context, params: Params, *, model: Model) -> ImageSet:
        raise NotImplementedError


def holding(*methods: type[Method]) -> Registry:
    registry = Registry()
    for method in methods:
        registry._add_method(method, Origin("test", "test", "1"))
    return registry


def test_who_cannot_join_is_left_out_or_told() -> None:
    with pytest.raises(PipelineError, match="no method tagged 'one-shot'"):
        one_shot_leaderboard(holding(Bare))
    with pytest.raises(PluginError, match="method 'odd' declares ablations wrongly"):
        one_shot_leaderboard(holding(Odd))


@pytest.mark.parametrize(
    ("ablation", "overrides", "wanted"),
    [
        ("steps", {"steps": 10}, ("10", "")),
        ("guidance", {"guidance": {"strength": 0.1}}, ("0.1", "")),
        ("guidance", {"guidance": {"strength": 0.0}}, ("0", "")),
        ("steps", {"steps": 10, "guidance": {"strength": 1.0}}, ("10", "guidance.strength 1")),
        ("start", {"noise": 0.3}, ("0.3", "")),
        ("guidance", {"guidance": {"strength": 1.0, "net": "vgg"}}, ("guidance.strength 1, guidance.net vgg", "")),
    ],
)
def test_settings_are_spelled_as_they_are_published(ablation: str, overrides: dict[str, Any], wanted: tuple[str, str]) -> None:
    assert spelled(ablation, overrides) == wanted


TINY = [
    "steps.*quality.params={nets: [squeeze], resamples: 100}",
    "steps.varied.params.count=8",
    "steps.test.params.count=8",
    "steps.baseline.params={steps: 3, batch: 4, repeats: 2}",
    "steps.*labelled.params={preset: published, threshold: 1, min_area: 1, min_circularity: 0}",  # after so few steps nothing looks like a defect
    "steps.*segmenter.params={steps: 3, batch: 4, repeats: 2}",
]


TINY_MODEL = ["steps.model.params={steps: 5, width: 8, batch: 2}", "steps.synthetic.params={count: 8, steps: 2}"]


def test_one_shot_end_to_end(pair: Path, kept: LocalStore) -> None:
    done = fabloom.run("one-shot", store=kept, set=[f"steps.images.params.path={pair}", *TINY, *TINY_MODEL], device="cpu")
    assert done.exit_code == 0, [step.error for step in done.steps if step.error]
    assert {"model", "baseline", "nothing"} <= done.report.keys()
    assert done.report_path is not None
    page = done.report_path.read_text()
    assert page.index('id="report-report"') < page.index('id="report-quality"')


def test_a_guided_pipeline_without_weights_is_refused_before_anything_runs(
    pair: Path, store: LocalStore, kept: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FABLOOM_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("FABLOOM_OFFLINE", "1")
    told: list[str] = []

    def run(name: str, *settings: str, into: LocalStore = store) -> Any:
        given = [f"steps.images.params.path={pair}", *settings]
        return fabloom.run(name, store=into, set=given, device="cpu", emit=lambda event: told.append(str(event.get("message"))))

    with pytest.raises(EnvironmentProblem, match=r"squeezenet1_1.*FABLOOM_OFFLINE is set.*set FABLOOM_WEIGHTS_DIR"):
        run("one-shot-leaderboard")
    with pytest.raises(EnvironmentProblem, match="alexnet"):
        run("one-shot", "steps.synthetic.params.guidance={strength: 0.5, net: alex}")
    assert not list(store.keys()), "nothing ran"
    another = [*TINY, *TINY_MODEL, "steps.quality.params.resamples=101"]  # one that no run with weights has made
    told.clear()
    first_run = run("one-shot", *another, into=kept)
    assert first_run.exit_code == 0 and {s.name for s in first_run.steps if s.status == "ran"} >= {"quality"}
    missing = [line for line in told if "will be left out" in line]
    assert [line.partition(" will")[0] for line in missing] == ["LPIPS squeeze", "SIFID"]
    first = next(line for line in told if line != "None")
    assert first == missing[0], "it is told before anything else"
    told.clear()
    assert {s.status for s in run("one-shot", *another, into=kept).steps} == {"reused"} and set(told) == {"None"}


def test_leaderboard_end_to_end(registry: Registry, pair: Path, kept: LocalStore) -> None:
    """The third party's method alone, so that it is quick: what is built in then counts as not installed."""
    for name in [n for n, method in registry.methods.items() if "one-shot" in method.tags and n != "loom"]:
        del registry.methods[name]
    settings = [f"steps.images.params.path={pair}", *TINY, "steps.*_samples.params.count=6"]
    done = fabloom.run("one-shot-leaderboard", store=kept, set=settings, device="cpu", registry=registry)
    assert done.exit_code == 0, [step.error for step in done.steps if step.error]
    board = kept.get(next(step.key for step in done.steps if step.name == "leaderboard"))
    assert isinstance(board, Report)
    rows = {title: [row[0] for row in table.rows] for title, table in board.tables.items()}
    assert rows[tables.COUNTS][:3] == ["loom", "loom + far", "SinSEMI"]
    assert rows[tables.TITLES["steps"]] == ["loom", "loom"]
    assert {"loom", "loom + far", "baseline", "nothing"} <= done.report.keys()
    assert all(done.report["loom"][name] is not None for name in ("iou", "iou_defect", "defects_per_image", "copy_share"))
    assert done.report["nothing"]["iou"] == 0.5
    keys = {step.name: step.key for step in done.steps}
    scored, segmented = (kept.get(keys[f"loom_{what}"]) for what in ("quality", "segmentation"))
    assert isinstance(scored, Report) and isinstance(segmented, Report)
    model, baseline = (read_segmentation(segmented, name) for name in ("model", "baseline"))
    assert model.lead.value is not None and model.paper.value is not None and baseline.paper.value is not None
    assert model.lead.value == pytest.approx(model.paper.value - baseline.paper.value) and model.few and read_quality(scored).images == 6
    assert {row[5] for row in board.tables[verdicts.TITLE].rows} == {"not installed"} and "not comparable: 29." in board.notes[0]
    apart = board.tables[tables.DISTANCES]
    assert "copies" in apart.columns and all(len(row) == len(apart.columns) for row in apart.rows)
    if "FABLOOM_WEIGHTS_DIR" in os.environ:  # without weights LPIPS is left out
        assert "LPIPS squeeze, ours" in apart.columns and done.report["loom"]["lpips_squeeze_ratio"] > 0
