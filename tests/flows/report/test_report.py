"""The report page: everything of a real run is on it, nothing is fetched, nothing is trusted, damage stays in its place."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from fabloom.errors import DataError
from fabloom.flows.report.draw import graph
from fabloom.flows.report.draw.charts import curve, intervals
from fabloom.flows.report.draw.pictures import HEAT, heat_map, outlines, png_data_uri, sample_sheet
from fabloom.flows.report.markdown import markdown_summary
from fabloom.flows.report.numbers import comparisons, headline, number, told
from fabloom.flows.report.page import write_page
from fabloom.kinds import Artifact, Exhibit, ImageSet, Metric, Model, OfflineData, Report, Table, offline_specs
from fabloom.kinds.portrait import places
from fabloom.method import Context, Method, Options, StepResult, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Origin, Registry
from fabloom.running.engine import Engine, run_inline
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

EVIL = "<script>alert('x')</script>"


def predictor(iou: tuple[float, float, float], alarms: tuple[float, float, float], role: Any, held: Any) -> dict[str, Metric]:
    return {
        "iou_defect": Metric(iou[0], iou[1:], better="up", role=role),
        "false_alarm_rate": Metric(alarms[0], alarms[1:], better="down", role=held),
    }


METRICS: dict[str, Any] = {
    "synthetic": predictor((0.712, 0.661, 0.748), (0.012, 0.002, 0.031), "headline", "detail"),
    "baseline": predictor((0.551, 0.49, 0.6), (0.055, 0.03, 0.08), "control", "control"),
    "nothing": predictor((0.0, 0.0, 0.0), (0.0, 0.0, 0.01), "control", "control"),
    "images": 400,
    "undefined": None,
}


class Count(Params):
    count: int = 40
    size: int = 32


class Train(Params):
    """Settings of a training."""

    steps: int = 120
    remark: str = EVIL


class Weave(Method):
    """What a run makes, without the work."""

    name = "weave"

    @task(version=1)
    def simulate(self, ctx: Context, params: Count) -> ImageSet:
        """Vertical lines with a bridge in every second image."""
        rng = np.random.default_rng(ctx.seed)
        x = np.arange(params.size)
        lines = 90 + 60 * np.sin(2 * np.pi * x / 8)
        images = rng.normal(0, 6, (params.count, 1, params.size, params.size)) + lines
        masks = np.zeros((params.count, params.size, params.size), np.uint8)
        for row in range(1, params.count, 2):
            y, place = rng.integers(4, params.size - 8, 2)
            masks[row, y : y + 4, place : place + 5] = 1
        images[:, 0][masks > 0] = 170
        domain = (masks.reshape(params.count, -1).max(1)).astype(np.int8)
        return ImageSet.write(
            ctx,
            images.clip(0, 255).astype(np.uint8),
            masks=masks,
            labels=domain.astype(np.int16),
            class_names=["clean", f"bridge {EVIL}"],
            attrs={"pixel_nm": 30.0},
        )

    @task(version=1)
    def train(self, ctx: Context, params: Train, *, images: ImageSet) -> Model:
        for step in ctx.loop(params.steps):
            step.log(loss=0.5 * 0.97**step.index + 0.004 * (1 + np.sin(step.index * 7.0)), balance=np.cos(step.index / 9))
        return Model.write(
            ctx, {"body.weight": torch.ones(24, 10), "body.bias": torch.zeros(24)}, {"role": "teacher", "channels": [64, 128]}
        )

    @task(version=1)
    def record(self, ctx: Context, params: Count, *, teacher: Model) -> OfflineData:
        specs = offline_specs((1, 4, 4), (8, 2, 2), 3, r_sum=False)
        writer = OfflineData.writer(ctx, count=6, block=4, arrays=specs)
        writer.append({name: np.zeros((6, *spec.shape), spec.dtype) for name, spec in specs.items()})
        return OfflineData.finish(ctx, writer, {"T": 8, "boundaries": [2, 5, 7], "snr_db": {"rin0": 47.3, "sum": 51.02}})

    @task(version=1)
    def distill(self, ctx: Context, params: Train, *, teacher: Model, offline: OfflineData) -> Model:
        return self.train(ctx, params, images=teacher)  # type: ignore[arg-type]

    @task(version=1)
    def sample(self, ctx: Context, params: Count, *, model: Model) -> ImageSet:
        rng = np.random.default_rng(ctx.seed)
        return ImageSet.write(ctx, rng.integers(60, 90, (params.count, 3, params.size, params.size), dtype=np.uint8))

    @task(version=1)
    def evaluate(self, ctx: Context, params: Params, *, images: ImageSet, model: Model, baseline: Model | None = None) -> Report:
        ramp = np.tile(np.arange(256, dtype=np.uint8), (24, 1))
        return Report.write(
            ctx,
            METRICS,
            tables={"by size": Table(["class", "area", "found"], [["bridge", 20, 0.9], [EVIL, 5, None]])},
            pictures={"ramp": ramp, "two images": np.dstack([ramp, ramp[:, ::-1], ramp])},
            notes=["Scores of thresholds chosen on the clean images.", f"A note with {EVIL}."],
        )


PIPELINE: dict[str, Any] = {
    "name": "weaving",
    "description": f"The main job in miniature {EVIL}",
    "seed": 7,
    "steps": {
        "images": {"task": "weave.simulate"},
        "teacher": {"task": "weave.train", "inputs": {"images": "images"}, "params": {"steps": 300}},
        "offline": {"task": "weave.record", "inputs": {"teacher": "teacher"}},
        "student": {"task": "weave.distill", "inputs": {"teacher": "teacher", "offline": "offline"}},
        "synthetic": {"task": "weave.sample", "inputs": {"model": "student"}},
        "segmenter": {"task": "weave.train", "inputs": {"images": "synthetic"}},
        "baseline": {"task": "weave.train", "inputs": {"images": "images"}, "params": {"steps": 20}},
        "test": {"task": "weave.simulate", "params": {"count": 20}, "seed": 1},
        "report": {"task": "weave.evaluate", "inputs": {"images": "test", "model": "segmenter", "baseline": "baseline"}},
    },
}


def make_run(root: Path, pipeline: dict[str, Any] = PIPELINE) -> tuple[Plan, list[StepResult], LocalStore]:
    registry = Registry()
    registry._add_method(Weave, Origin("weave", "weave", "1"))
    assert not registry.problems
    store = LocalStore(root)
    plan = make_plan(Pipeline.parse(pipeline), registry, store)
    return plan, run_inline(plan, Engine(registry, store, Options(device="cpu"))), store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, list[StepResult], LocalStore]:
    return make_run(tmp_path_factory.mktemp("run") / "store")


def render(finished: tuple[Plan, list[StepResult], LocalStore], path: Path) -> str:
    plan, results, store = finished
    write_page(path, plan, results, store)
    return path.read_text()


@pytest.fixture(scope="module")
def page(finished: tuple[Plan, list[StepResult], LocalStore], tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(finished, tmp_path_factory.mktemp("page") / "reports" / "page.html")


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_page_is_well_formed_and_fetches_nothing(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(reader.tags)
    sources = [(tag, name, value) for tag, name, value in reader.attributes if name in ("src", "href", "srcset", "action", "poster")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for _, _, value in sources)
    assert any(tag == "img" for tag, _, _ in sources) and any(tag == "image" for tag, _, _ in sources)
    assert not any(name.startswith("on") for _, name, _ in reader.attributes)
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert all("url(" not in value or value == "url(#head)" for _, _, value in reader.attributes)
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert all(value[1:] in ids for _, name, value in reader.attributes if name == "href" and value.startswith("#"))


def test_names_and_notes_of_others_are_text(page: str) -> None:
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6  # description, parameter, class name, table, note, and the pipeline


def test_page_shows_all_that_a_reader_needs(page: str, finished: tuple[Plan, list[StepResult], LocalStore]) -> None:
    plan, results, store = finished
    shown = Reader(page).text
    for step, result in zip(plan.steps, results, strict=True):
        assert step.name in shown and step.task in shown and step.key[:12] in shown and result.digest[:12] in shown
        assert f"seed {step.seed}" in shown
        assert all(field in shown for field in step.spec.params.model_fields)
    for wanted in ("0.71 [0.66, 0.75]", "0.012 [0.002, 0.031]", "IoU defect", "synthetic", "baseline", "nothing", "by size", "ramp"):
        assert wanted in shown
    assert "images: test · model: segmenter · baseline: baseline" in shown, "whose scores they are"
    assert "Scores of thresholds chosen on the clean images." in shown
    assert "snr_db / sum 51" in shown and "Model: 2 tensors, 264 values" in shown and "role teacher" in shown
    assert "20 (50.0%)" in shown and "main.loss" in shown and "Contrast is stretched" in shown
    assert "fabloom run weaving.yaml" in shown and "FABLOOM_THREADS=" in shown and "torch" in shown
    assert str(store.root) not in page


def test_headline_comes_first(page: str) -> None:
    shown = Reader(page).text
    lead = "IoU defect is 0.71 [0.66, 0.75] for synthetic, against 0.55 [0.49, 0.60] for baseline."
    assert f"{lead} synthetic is better than baseline: their intervals do not overlap." in shown
    assert shown.index(lead) < shown.index("What ran")


def test_pipeline_on_the_page_is_the_pipeline(page: str, finished: tuple[Plan, list[StepResult], LocalStore], tmp_path: Path) -> None:
    listed = next(m for m in re.findall(r"<pre>(.*?)</pre>", page, re.S) if "steps:" in m)
    file = tmp_path / "weaving.yaml"
    file.write_text("".join(Reader(listed).words))
    assert Pipeline.load(file) == finished[0].pipeline


def test_page_needs_none_of_the_heavy_libraries(finished: tuple[Plan, list[StepResult], LocalStore], tmp_path: Path) -> None:
    """From the store's own data, in a fresh process: the plan's method is only named there, so it is built by hand."""
    code = f"""
import sys
from pathlib import Path
from fabloom.artifacts import ImageSet, Model, OfflineData, Report
from fabloom.execute import StepResult
from fabloom.flows.report import write_page
from fabloom.method import Method, TaskSpec
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.plan import Plan, PlannedStep
from fabloom.storage.backends.local import LocalStore
store = LocalStore({str(finished[2].root)!r})
keys = { ({r.name: r.key for r in finished[1]})!r}
pipeline = Pipeline.parse({{**{PIPELINE!r}, "steps": {{n: {{**s, "params": {{}}}} for n, s in {PIPELINE!r}["steps"].items()}}}})
steps, results = [], []
for name, key in keys.items():
    manifest = store.manifest(key)
    spec = TaskSpec(Method, "t", 1, Params, {{}}, store.kinds[manifest["kind"]], print, "")
    Method.name = "weave"
    steps.append(PlannedStep(name, spec, Params(), manifest["preimage"]["inputs"], (), 1, key, manifest["preimage"]))
    results.append(StepResult.committed(steps[-1], "reused", manifest))
write_page(Path({str(tmp_path / "p.html")!r}), Plan(pipeline, tuple(steps)), results, store)
heavy = [m for m in ("torch", "zarr", "matplotlib", "prefect", "diffusers", "scipy", "skimage") if m in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "p.html").read_text()
    assert 'class="problem"' not in page
    assert page.count("data:image/png;base64,") == len(re.findall("data:image/png", page)) >= 7


def test_damage_stays_in_its_place(tmp_path: Path) -> None:
    plan, results, store = make_run(tmp_path / "store")
    folders = {r.name: store.folder(r.key) for r in results}
    for shard in (folders["images"] / "data.zarr" / "images").rglob("c/0/0/0/0"):
        shard.write_bytes(shard.read_bytes()[:-9])
    (folders["teacher"] / "manifest.json").write_text("{")
    (folders["offline"] / "data.zarr" / "zarr.json").unlink()
    page = render((plan, results, store), tmp_path / "page.html")
    reader = Reader(page)
    assert reader.open == []
    problems = re.findall(r'<p class="problem">(.*?)</p>', page, re.S)
    for name in ("images", "teacher", "offline"):
        key = store.folder(folders[name].name).name
        assert any(key[:12] in found for found in problems), name
    assert "0.71 [0.66, 0.75]" in reader.text  # the rest is as it was
    assert page.count('<image id="sheet-') == 2  # synthetic and test, no longer images


def test_failed_steps_are_told(finished: tuple[Plan, list[StepResult], LocalStore], tmp_path: Path) -> None:
    plan, results, store = finished
    broken = StepResult.of(plan.step("student"), "failed", error=f"step 'student' failed: {EVIL}", exit_code=1)
    waiting = StepResult.of(plan.step("synthetic"), "skipped", error="step 'student' failed")
    changed = [broken if r.name == "student" else waiting if r.name == "synthetic" else r for r in results]
    page = render((plan, changed, store), tmp_path / "page.html")
    assert Reader(page).text.count(f"step 'student' failed: {EVIL}") == 2  # at the top and where it happened
    assert 'class="node failed"' in page and 'class="node skipped"' in page


def test_inputs_of_another_run_are_part_of_the_story(finished: tuple[Plan, list[StepResult], LocalStore], tmp_path: Path) -> None:
    teacher = finished[0].step("teacher").key
    steps = {"more": {"task": "weave.sample", "inputs": {"model": f"key:{teacher}"}, "params": {"count": 3}}}
    page = render(make_run(finished[2].root, {"name": "more", "steps": steps}), tmp_path / "page.html")
    shown = Reader(page).text
    assert 'class="node stored"' in page and "from the store" in shown
    assert shown.count("another run") == 2  # the teacher, and the images it was trained on
    assert teacher[:12] in shown and finished[0].step("images").key[:12] in shown


def test_page_is_replaced_as_a_whole(finished: tuple[Plan, list[StepResult], LocalStore], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    with path.open() as reader:
        render(finished, path)
        assert reader.read() == "old"  # a browser that is reading keeps the page it opened
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_comparison_of_siblings() -> None:
    first, facts = comparisons(METRICS)
    assert first.columns == ("synthetic", "baseline", "nothing")
    assert list(first.rows) == ["iou_defect", "false_alarm_rate"]
    assert first.rows["iou_defect"][1] == Metric(0.551, (0.49, 0.6), better="up", role="control")
    assert {name: e.value for name, (e,) in facts.rows.items() if e} == {"images": 400, "undefined": None}


def test_comparison_with_gaps_and_depth() -> None:
    blocks = comparisons(
        {"deep": {"a": {"x": 1.0, "classes": {"bridge": 0.5}}, "baseline": {"x": 2.0, "y": 3}}, "lone": {"z": 1}, "pair_ci": [0, 1]}
    )
    table = blocks[0]
    assert (table.title, table.columns) == ("deep", ("a", "baseline"))
    assert table.rows["classes / bridge"] == (Metric(0.5), None)
    assert table.rows["y"] == (None, Metric(3))
    assert [(b.title, list(b.rows)) for b in blocks[1:]] == [("lone", ["z"]), ("", ["pair_ci"])]  # an interval of nothing is a fact


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        (Metric(0.7124, (0.661, 0.748)), "0.71 [0.66, 0.75]"),
        (Metric(0.0123, (0.0021, 0.0312)), "0.012 [0.002, 0.031]"),
        (Metric(0.5, (0.5, 0.5)), "0.50 [0.50, 0.50]"),
        (Metric(1234.5, (1200.0, 1300.0)), "1,234 [1,200, 1,300]"),
        (Metric(None, (0.1, 0.2)), "–"),
        (Metric(7), "7"),
        (None, "–"),
    ],
)
def test_metric_as_text(metric: Metric | None, shown: str) -> None:
    assert told(metric) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (True, "yes"),
        (3, "3"),
        (0.0, "0"),
        (float("nan"), "nan"),
        (2.5e-7, "2.5e-07"),
        (51.02, "51"),
        ("a", "a"),
        ([1, "b"], '[1, "b"]'),
    ],
)
def test_number_as_text(value: Any, shown: str) -> None:
    assert number(value) == shown


def test_headline_says_what_the_intervals_say() -> None:
    found = headline(METRICS)
    assert found is not None and found.verdict() == "synthetic is better than baseline: their intervals do not overlap."
    overlapping = headline({**METRICS, "baseline": predictor((0.551, 0.49, 0.67), (0.055, 0.03, 0.08), "control", "control")})
    assert overlapping is not None and "overlap: on this many images the difference may be chance" in overlapping.verdict()
    worse = headline({**METRICS, "baseline": predictor((0.9, 0.8, 0.95), (0.055, 0.03, 0.08), "control", "control")})
    assert worse is not None and worse.verdict() == "synthetic is worse than baseline: their intervals do not overlap."
    single = headline({"weight": Metric(3.0, unit="kg", role="headline")})
    assert str(single) == "weight is 3 kg." and single is not None and single.verdict() == ""
    assert headline({"nothing": Metric(None, role="headline"), "list": []}) is None


def test_to_be_better_than_nothing_is_no_headline() -> None:
    found = headline({name: METRICS[name] for name in ("synthetic", "nothing")})
    assert found is not None and str(found) == "IoU defect is 0.71 [0.66, 0.75] for synthetic."
    assert found.verdict() == found.leaning() == "" and found.lead("Finds all.") == [("Finds all.", True), (str(found), False)]
    assert found.lead("IoU 0.71 [0.66, 0.75].") == [("IoU 0.71 [0.66, 0.75].", True)], "no number twice"
    held = headline(METRICS)
    assert held is not None and held.lead("Finds all.") == [("Finds all.", True), (str(held), False)] and held.leaning() == "good"


def test_of_plain_numbers_nothing_is_claimed() -> None:
    """Names that sound like scores and controls are names: no headline, no order, no colour."""
    plain = {"baseline": {"iou": 0.5, "iou_ci": [0.4, 0.6]}, "model": {"iou": 0.9, "iou_ci": [0.8, 1.0]}}
    assert headline(plain) is None and headline({"iou_defect": 0.7}) is None
    (block,) = comparisons(plain)
    assert block.columns == ("baseline", "model") and block.label("iou") == "IoU"
    assert 'class="bar first"' not in intervals([(name, block.rows["iou"][i]) for i, name in enumerate(block.columns)])  # type: ignore[misc]
    assert markdown_summary(plain).startswith("| metric")


def test_a_result_is_held_against_controls_of_its_own_metric_alone() -> None:
    """Two distances that have numbers of equal names: the controls of one are none of the other's."""
    pair, noise = Metric(0.8, role="control", of="raw"), Metric(9.0, role="control", of="raw")
    lpips = {"raw": Metric(1.2, unit="x", better="down", role="headline"), "ratio": Metric(1.5), "pair": pair}
    sifid = {"raw": Metric(2.4), "pair": Metric(2.1, role="control", of="raw"), "anchors": {"noise": noise}}
    found = headline({"lpips": lpips, "sifid": sifid, "copies": Metric(0.1, role="control")})
    assert str(found) == "LPIPS raw (lower is better) is 1.2 x, against 0.800 for pair."
    above = headline({"mse": Metric(0.1, better="down", role="headline"), "controls": {"mean": {"mse": Metric(1.0, role="control")}}})
    assert str(above) == "MSE (lower is better) is 0.100, against 1 for mean."
    (block, _) = comparisons({"mse": Metric(0.1, role="headline"), "controls": {"mean": {"mse": Metric(1.0, role="control")}}})
    assert block.columns == ("result", "mean") and [told(metric) for metric in block.rows["mse"]] == ["0.100", "1"]


class Gauge(Method):
    """A third party's metric: less is better, and no word of it is known here."""

    name = "gauge"

    @task(version=1)
    def measure(self, ctx: Context, params: Params) -> Report:
        def wobble(value: float, role: Any) -> dict[str, Any]:
            return {"wobble": Metric(value, (value - 0.1, value + 0.1), unit="nm", better="down", role=role), "aaa": value}

        made = {"still": wobble(9.0, "control"), "zeta": wobble(1.5, "headline"), "alpha": wobble(2.5, "headline")}
        return Report.write(ctx, {**made, "images": 3})


def test_a_third_partys_metric_gets_its_headline_and_order(tmp_path: Path) -> None:
    registry, store = Registry(), LocalStore(tmp_path / "store")
    registry._add_method(Gauge, Origin("gauge", "gauge-dist", "1"))
    plan = make_plan(Pipeline.parse({"name": "gauging", "steps": {"report": {"task": "gauge.measure"}}}), registry, store)
    results = run_inline(plan, Engine(registry, store, Options(device="cpu")))
    assert results[0].metrics["zeta"] == {"wobble": 1.5, "wobble_ci": [1.4, 1.6], "aaa": 1.5}, "numbers keep their shape"
    page = Reader(render((plan, results, store), tmp_path / "page.html")).text
    lead = "wobble (lower is better) is 1.50 [1.40, 1.60] nm for zeta, against 2.50 [2.40, 2.60] for alpha and 9.00 [8.90, 9.10] for still."
    assert f"{lead} zeta is better than alpha: their intervals do not overlap." in page
    report = store.get(results[0].key)
    assert isinstance(report, Report) and report.described["still"]["wobble"] == Metric(9.0, (8.9, 9.1), "nm", "down", "control")
    (block, _) = comparisons(report.described)
    assert block.columns[-1] == "still" and list(block.rows) == ["wobble", "aaa"] and block.label("wobble") == "wobble, nm ↓"


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (lambda: {"a": Metric(1.0, role="headline"), "b": {"c": Metric(1.0, role="headline")}}, "one headline metric, not 2: a, c"),
        (lambda: {"a": Metric(1.0, (0.0, 2.0)), "a_ci": [0, 1]}, "'a_ci' is given beside it"),
        (lambda: {"a": Metric(1.0, (2.0, 0.0))}, "low, high"),
        (lambda: {"a": Metric(1.0, better="more")}, "'up', 'down' or None, not 'more'"),  # type: ignore[arg-type]
        (lambda: {"a": Metric(1.0, role="main")}, "not 'main'"),  # type: ignore[arg-type]
    ],
)
def test_what_says_two_things_is_no_report(metrics: Any, told: str, store: LocalStore) -> None:
    with pytest.raises(DataError, match=told):
        write_artifact(store, lambda ctx: Report.write(ctx, metrics()))


def test_a_report_of_before_metrics_described_themselves_is_read(store: LocalStore) -> None:
    report = write_artifact(store, lambda ctx: Report.write(ctx, {"a": {"x": 1.0, "x_ci": [0, 2], "y_ci": [3, 4]}, "n": 3, "v": "text"}))
    assert isinstance(report, Report) and "described" not in report.attrs
    assert report.described == {"a": {"x": Metric(1.0, (0, 2)), "y_ci": Metric([3, 4])}, "n": Metric(3), "v": Metric("text")}


class Ring(Artifact):
    """A kind that is broken in every way that a page can meet."""

    @classmethod
    def summarise(cls, manifest: Any) -> str:
        raise ZeroDivisionError("no summary")

    def exhibits(self) -> Any:
        yield Exhibit("Fine", facts={"ring": 1})
        yield Exhibit("Torn", heat=np.zeros((0, 4)))
        raise LookupError("lost")


def test_a_kind_that_fails_keeps_what_it_had_shown(tmp_path: Path) -> None:
    class Rings(Method):
        name = "rings"

        @task(version=1)
        def make(self, ctx: Context, params: Params) -> Ring:
            ctx.staging.put("ring", np.zeros(3))
            return Ring(ctx.staging.as_reader())

    registry, store = Registry(), LocalStore(tmp_path / "store", {"Ring": Ring})
    registry.kinds["Ring"] = Ring
    registry._add_method(Rings, Origin("rings", "rings-dist", "1"))
    assert not registry.problems
    plan = make_plan(Pipeline.parse({"name": "rings", "steps": {"ring": {"task": "rings.make"}}}), registry, store)
    results = run_inline(plan, Engine(registry, store, Options(device="cpu")))
    shown = Reader(render((plan, results, store), tmp_path / "page.html"))
    assert shown.open == [] and "Fine ring 1" in shown.text
    for error in ("ZeroDivisionError: no summary", "This part cannot be shown. ValueError", "LookupError: lost"):
        assert error in shown.text
    assert repr(store.get(results[0].key)) == f"Ring({results[0].key[:12]})"


def test_a_graph_wider_than_the_page_scrolls_before_it_becomes_too_small() -> None:
    def drawn(count: int) -> str:
        names = [f"s{i}" for i in range(count)]
        return graph.draw({n: ((n,), "") for n in ["a", *names]}, [("a", n, "x") for n in names])

    assert "min-width" not in drawn(4)
    wide = re.search(r"max-width:(\d+)px;min-width:(\d+)px", drawn(12))
    assert wide is not None and int(wide[2]) == pytest.approx(0.6 * int(wide[1]), abs=1)


def test_headline_of_several_results_takes_the_best_first() -> None:
    results = {name: {"iou_defect": Metric(v, better="up", role="headline")} for name, v in {"a": 0.5, "b": 0.7, "c": 0.6}.items()}
    board = {n: {"iou_defect": Metric(v, better="up", role="control")} for n, v in {"baseline": 0.8, "nothing": 0.0}.items()} | results
    assert str(headline(board)) == "IoU defect is 0.700 for b, against 0.600 for c and 0.800 for baseline."
    errors = {name: {"mse_ratio": Metric(v, better="down", role="headline")} for name, v in {"b": 0.7, "a": 0.5}.items()}
    assert str(headline(errors)) == "MSE ratio (lower is better) is 0.500 for a, against 0.700 for b."


def test_of_many_reports_the_last_is_open_and_the_others_fold(tmp_path: Path) -> None:
    one = {"task": "weave.evaluate", "inputs": {"images": "images", "model": "model"}}
    steps = {"images": {"task": "weave.simulate"}, "model": {"task": "weave.train", "inputs": {"images": "images"}, "params": {"steps": 2}}}
    for count, folded in ((2, 0), (6, 5)):
        given = steps | {f"report{i}": {**one, "seed": i} for i in range(count)}
        page = render(make_run(tmp_path / "store", {"name": "many", "steps": given}), tmp_path / "page.html")
        assert page.count('<details id="report-') == folded and page.count('<h3 id="report-') == count - folded
        assert page.index(f'<h3 id="report-report{count - 1}"') < page.index('id="report-report0"')
        assert Reader(page).open == []


def test_of_many_intervals_the_first_are_charts_and_the_others_fold(tmp_path: Path) -> None:
    from fabloom.flows.report.exhibits import comparison

    named = {f"m{i}": i + 1.0 for i in range(5)} | {f"m{i}_ci": [i + 0.5, i + 1.5] for i in range(5)}
    (block,) = comparisons({"a": named, "b": named})
    shown = comparison(block)
    assert shown.count("<figure>") == 5 and shown.index("<details>") > shown.index(">m2</figcaption>")
    assert "<details>" not in comparison(comparisons({"a": {"m0": 1.0, "m0_ci": [0, 2]}, "b": {"m0": 1.0, "m0_ci": [0, 2]}})[0])


def test_of_many_metrics_the_first_are_open_and_none_is_lost() -> None:
    from fabloom.flows.report.exhibits import comparison

    def column(role: Any) -> dict[str, Any]:
        return {f"m{i:02}": i + 1.0 for i in range(14)} | {"iou": Metric(0.5, role=role)}

    (block,) = comparisons({"a clean reference": column("control"), "b": column("headline")})
    assert block.columns == ("b", "a clean reference"), "what it is held against comes second"
    opened, _, folded = comparison(block).partition("<details>")
    assert ">IoU<" in opened and opened.count("<tr>") == 1 + 8 and folded.count("<tr>") == 1 + 7 and ">m13<" in folded


def test_markdown_summary() -> None:
    text = markdown_summary({**METRICS, "a|b": "x\n`y` <b>"}, {"by | size": Table(["class"], [["*"], [None]])})
    assert "| IoU defect ↑ | 0.71 \\[0.66, 0.75\\] | 0.55 \\[0.49, 0.60\\] |" in text
    assert "| a\\|b | x \\`y\\` &lt;b&gt; |" in text
    assert "### by \\| size" in text and "| \\* |" in text
    widths = {
        line.replace("\\|", "").count("|")
        for line in text.splitlines()
        if line.startswith("| IoU") or line.startswith("| metric | synthetic")
    }
    assert widths == {5}
    assert markdown_summary({}) == "\n"


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 2), (3, 5, 3), (3, 5, 4)])
def test_png_round_trip(shape: tuple[int, ...]) -> None:
    given = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    seen = pixels(png_data_uri(given))
    np.testing.assert_array_equal(seen, given[..., 0] if given.shape[2:] == (1,) else given)


@pytest.mark.parametrize("bad", [np.zeros((3, 5, 7), np.uint8), np.zeros((3, 5)), np.zeros((0, 5), np.uint8), np.zeros(4, np.uint8)])
def test_png_refuses_what_is_no_picture(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8"):
        png_data_uri(bad)


def test_outlines_enclose_the_mask() -> None:
    rng = np.random.default_rng(1)
    mask = (rng.random((9, 13)) < 0.4).astype(np.uint8)
    path = outlines(mask)
    total = sum(int(length) for length in re.findall(r"[hv](\d+)", path))
    padded = np.pad(mask, 1).astype(int)
    assert total == np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    assert outlines(np.array([[1]], np.uint8)) == "M0 0h1M0 1h1M0 0v1M1 0v1"
    assert outlines(np.zeros((4, 4), np.uint8)) == ""


def test_sheet_keeps_places_and_stretches_together() -> None:
    images = np.full((5, 1, 24, 24), 100, np.uint8)
    images[1], images[2] = 50, 150
    masks = np.zeros((5, 24, 24), np.uint8)
    masks[4, 3, 2] = 1
    sheet = sample_sheet(images, masks, columns=3)
    drawn = pixels(sheet.uri)
    assert (sheet.shown, sheet.grey, sheet.shrunk, drawn.shape) == (5, (50, 150), 1, (50, 76, 2))
    assert [int(drawn[0, x, 0]) for x in (0, 26, 52)] == pytest.approx([127.5, 0, 255], abs=0.6)
    assert drawn[0, 24, 1] == 0 and drawn[30, 60, 1] == 0 and drawn[30, 0, 1] == 255  # gaps and the missing sixth are clear
    assert sheet.outlines.startswith("M28 29h1")  # the second of the second row begins at (26, 26)


def test_large_images_are_averaged_down() -> None:
    images = np.zeros((1, 1, 300, 200), np.uint8)
    images[..., ::2] = 200
    sheet = sample_sheet(images, None, columns=4)
    assert (sheet.shrunk, sheet.width, sheet.height) == (3, 66, 100)


def test_heat_map_peaks_where_the_masks_are() -> None:
    masks = np.zeros((4, 8, 8), np.uint8)
    masks[:, 2, 5], masks[0, 6, 1] = 1, 1
    share, count = places(masks)
    heat = heat_map(share)
    drawn = pixels(heat.uri).astype(int)
    assert heat.peak == 1.0 and count == 4
    assert tuple(drawn[2, 5]) == HEAT[-1] and tuple(drawn[0, 0]) == HEAT[0] and tuple(drawn[6, 1]) == HEAT[1]


def test_pictures_take_classes_as_defects_and_nothing_unsure() -> None:
    plain = np.zeros((4, 8, 8), np.uint8)
    plain[:, 2, 5], plain[0, 6, 1] = 1, 1
    several = np.where(plain > 0, np.array([1, 2, 3, 254], np.uint8)[:, None, None], plain)
    several[:, 0] = 255
    (share, _), (wanted, _) = places(several), places(plain)
    assert heat_map(share) == heat_map(wanted)
    images = np.random.default_rng(0).integers(0, 255, (4, 1, 8, 8), dtype=np.uint8)
    assert sample_sheet(images, several, 2).outlines == sample_sheet(images, plain, 2).outlines != ""


def heights(svg: str, style: str = "line") -> list[float]:
    found = re.search(rf'class="{style}" points="([^"]*)"', svg)
    assert found is not None
    return [float(point.split(",")[1]) for point in found.group(1).split()]


def test_positive_curves_are_logarithmic() -> None:
    ElementTree.fromstring(curve("loss", [[0, 1.0], [1, 0.1], [2, 0.01]]))
    log = heights(curve("loss", [[0, 1.0], [1, 0.1], [2, 0.01]]))
    assert log[1] - log[0] == pytest.approx(log[2] - log[1])
    linear = heights(curve("gain", [[0, -1.0], [1, 0.1], [2, 0.01]]))
    assert linear[2] - linear[1] != pytest.approx(linear[1] - linear[0], rel=0.1)


def test_curves_pass_over_what_is_not_finite() -> None:
    assert curve("loss", []) == curve("loss", [[3, 1.0]]) == curve("loss", [[0, float("nan")], [1, 1.0], [2, None]]) == ""  # type: ignore[list-item]
    assert len(heights(curve("loss", [[0, 1.0], [1, float("inf")], [2, 1.0]]))) == 2
    many = curve("loss", [[i, 1.0 + i % 2] for i in range(200)])
    assert len(heights(many, "raw")) == 200 and np.ptp(heights(many)) < 0.05 * np.ptp(heights(many, "raw"))


def test_interval_chart_is_to_scale() -> None:
    svg = intervals([("a", Metric(0.5, (0.25, 0.75), role="headline")), ("b<", Metric(1.0)), ("none", Metric(None))])
    ElementTree.fromstring(svg)
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    start, end = (float(x) for x in re.findall(r'class="bar first" d="M([\d.]+) [\d.]+H([\d.]+)', svg)[0])
    assert len(dots) == 2 and end - dots[0] == pytest.approx(dots[0] - start, abs=0.2)
    assert dots[1] - dots[0] == pytest.approx(end - start, abs=0.2)
    assert intervals([("a", Metric(0.5))]) == ""


def test_graph_draws_every_step_and_no_arrow_through_a_box() -> None:
    edges = [(a, b, "x") for a, b in [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("a", "c"), ("b", "d"), ("e", "d")]]
    svg = graph.draw({n: ((n, f"t.{n}", "ran"), "ran") for n in "abecd"}, edges)
    root = ElementTree.fromstring(svg)
    rects = {g[0].text.split(" ")[0]: g[1].attrib for g in root.iter("g")}  # type: ignore[union-attr]
    boxes = {n: [float(r[k]) for k in ("x", "y", "width", "height")] for n, r in rects.items()}
    assert set(boxes) == set("abcde")
    arrows = [p for p in root.iter("path") if p.get("class") == "edge"]
    assert len(arrows) == len(edges)
    assert boxes["a"][1] < boxes["b"][1] < boxes["c"][1] < boxes["d"][1]
    assert boxes["e"][1] == boxes["c"][1]  # an input is beside what it is used with
    for arrow in arrows:
        numbers = [float(v) for v in re.findall(r"-?\d+\.?\d*", arrow.attrib["d"].replace("V", " "))]
        assert all(np.isfinite(numbers))
        for x, start, end in re.findall(r" (-?[\d.]+) ([\d.]+)V([\d.]+)", arrow.attrib["d"]):  # where it passes a layer
            for left, top, width, height in boxes.values():
                assert not (left < float(x) < left + width and float(start) < top + height and float(end) > top)
