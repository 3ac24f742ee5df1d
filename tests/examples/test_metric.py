"""The example `edge-metric`, installed as its own distribution: a metric that joins `quality.evaluate` in a pipeline."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fabloom.kinds import Artifact
from fabloom.kinds.metric import plain
from fabloom.plugins.judge.leaderboard.scores import read_quality
from fabloom.plugins.judge.quality.scores import Summary
from fabloom.storage.backends.local import LocalStore

Cli = Callable[..., subprocess.CompletedProcess[str]]
SET = {"size": 64, "pixel_nm": 30.0, "noise_std": 1.0, "defects": ["bridge"]}
STEPS: dict[str, dict[str, Any]] = {
    "pair": {"task": "line-pair.simulate", "params": {**SET, "count": 2}},
    "good": {"task": "line-pair.simulate", "params": {**SET, "count": 12}, "seed": 1},
    "straight": {"task": "line-pair.simulate", "params": {**SET, "count": 12, "ler_nm": 0.0}, "seed": 1},
    "jagged": {"task": "line-pair.simulate", "params": {**SET, "count": 12, "ler_nm": 10.0}, "seed": 1},
}


def score(images: str, reference: str = "pair", **params: Any) -> dict[str, Any]:
    return {"task": "edge-roughness.score", "inputs": {"images": images, "reference": reference}, "params": params}


def quality(images: str, *metrics: str) -> dict[str, Any]:
    joining = {"metrics": list(metrics)} if metrics else {}
    return {
        "task": "quality.evaluate",
        "inputs": {"images": images, "reference": "pair", **joining},
        "params": {"nets": [], "resamples": 500},
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edge-metric-runs")


@pytest.fixture(scope="module")
def cli(install_example: Callable[[str], Path], place: Path, warm: Cli) -> Cli:
    """`cli("run", ..., plugin=True)` with the distribution installed, without weights and without a way to fetch them."""
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FABLOOM_WEIGHTS_DIR", "FABLOOM_STORE")}
    plain |= {**nowhere, "TORCH_HOME": str(place / "hub"), "FABLOOM_THREADS": "1", "COLUMNS": "200"}

    def call(*arguments: object, plugin: bool = True) -> subprocess.CompletedProcess[str]:
        environment = plain | ({"PYTHONPATH": str(install_example("edge-metric"))} if plugin else {})
        words = ["-m", "fabloom.flows", *map(str, arguments), "--store", str(place / "store")]
        return warm(words, cwd=place, env=environment)

    return call


@pytest.fixture(scope="module")
def run(cli: Cli, place: Path) -> Callable[..., Any]:
    """`run(**steps)` is the JSON document of a pipeline of these steps and the sets that they need."""

    def go(code: int = 0, **steps: dict[str, Any]) -> Any:
        needed = {source for step in steps.values() for source in step["inputs"].values() if isinstance(source, str)}
        path = place / "pipeline.yaml"
        path.write_text(
            yaml.safe_dump(
                {"name": "edges", "seed": 4, "steps": {**{n: s for n, s in STEPS.items() if n in needed}, **steps}}, sort_keys=False
            )
        )
        done = cli("run", path, "--engine", "inline", "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    return go


@pytest.fixture(scope="module")
def document(run: Callable[..., Any]) -> Any:
    """Good and worse images with the metric, good ones without it; the report of the run is that of the step `quality`."""
    worse = {f"{n}_edges": score(n) for n in ("straight", "jagged")} | {
        f"{n}_quality": quality(n, f"{n}_edges") for n in ("straight", "jagged")
    }
    return run(alone=quality("good"), **worse, edges=score("good"), quality=quality("good", "edges"))


@pytest.fixture
def metrics(document: Any, artifact: Callable[[str], Artifact]) -> Callable[[str], dict[str, Any]]:
    return lambda step: dict(artifact(step).attrs["metrics"])


@pytest.fixture
def artifact(document: Any, place: Path) -> Callable[[str], Artifact]:
    return lambda step: LocalStore(place / "store").get(document["steps"][step]["key"])


def test_the_distribution_is_found(cli: Cli) -> None:
    plugins = json.loads(cli("plugins", "--json").stdout)
    (found,) = (p for p in plugins["plugins"] if p["entry_point"] == "edge-metric")
    assert (found["distribution"], found["methods"]) == ("fabloom-edge-metric", ["edge-roughness"])
    assert plugins["problems"] == []
    told = json.loads(cli("tasks", "quality.evaluate", "--json").stdout)["quality.evaluate"]
    assert told["inputs"]["metrics"] == "list[Report] | None"


def test_it_joins_with_the_intervals_of_quality(document: Any, artifact: Callable[[str], Artifact], place: Path) -> None:
    values = artifact("edges").array("values")[...]
    head = artifact("edges").attrs["metric"]
    assert values.shape == (12,) and head["pair"] > 0
    seed = LocalStore(place / "store").manifest(document["steps"]["quality"]["key"])["preimage"]["seed"]
    group = document["report"]["edge_roughness"]
    assert group == plain({**Summary(seed, 500, 0.95).score(values, head["pair"]), "anchors": head["anchors"]})
    assert group["raw"] == pytest.approx(np.mean(values)) and group["raw_ci"][0] < group["raw"] < group["raw_ci"][1]
    assert group["ratio_ci"] == pytest.approx([bound / head["pair"] for bound in group["raw_ci"]])


def test_the_page_shows_it_beside_the_other_scores(document: Any) -> None:
    page = html.unescape(Path(document["report_path"]).read_text())
    assert "Metrics of other plugins" in page and "log-spectral distance" in page and "Roughness spectrum of the edges" in page
    heads = re.findall(r"<tr>(?:<th[^>]*>[^<]*</th>)+", page)
    assert any("edge roughness" in head and "sliced wasserstein" in head for head in heads), "one table, a column each"


def test_a_metric_alters_no_other_score(document: Any, metrics: Any, artifact: Callable[[str], Artifact]) -> None:
    assert document["steps"]["alone"]["key"] != document["steps"]["quality"]["key"]
    assert {**metrics("alone"), "edge_roughness": metrics("quality")["edge_roughness"]} == metrics("quality")
    scores: list[Any] = [read_quality(artifact(step)) for step in ("alone", "quality")]  # type: ignore[arg-type]
    assert scores[0] == scores[1]


def test_worse_images_score_worse(metrics: Any) -> None:
    good = metrics("quality")["edge_roughness"]
    assert good["anchors"]["noise"] > 3 * good["pair"], "noise is worse than the clean pair"
    for images in ("straight", "jagged"):
        found = metrics(f"{images}_quality")["edge_roughness"]
        assert found["pair"] == good["pair"] and found["raw_ci"][0] > good["raw_ci"][1], images


def test_a_metric_of_other_images_is_refused_while_planning(cli: Cli, place: Path) -> None:
    for images, code in (("good", 0), ("straight", 2)):
        path = place / "others.yaml"
        path.write_text(yaml.safe_dump({"name": "p", "steps": {**STEPS, "edges": score(images), "quality": quality("good", "edges")}}))
        done = cli("plan", path)
        assert done.returncode == code, done.stderr
    assert "steps.quality.inputs.metrics[0]: 'edges' has another `images` than 'quality'" in done.stderr


def test_lists_that_make_no_sense_are_refused_while_planning(cli: Cli, place: Path) -> None:
    for metrics, told in (([], "lists no step"), (["edges", "edges"], "twice"), (["good"], "expects Report, but 'good' gives ImageSet")):
        step = {**quality("good"), "inputs": {"images": "good", "reference": "pair", "metrics": metrics}}
        path = place / "senseless.yaml"
        path.write_text(yaml.safe_dump({"name": "p", "steps": {**STEPS, "edges": score("good"), "quality": step}}))
        done = cli("plan", path)
        assert done.returncode == 2 and "steps.quality.inputs.metrics: " in done.stderr and told in done.stderr


def test_without_the_distribution_its_results_are_still_read(document: Any, cli: Cli, place: Path) -> None:
    for step in ("edges", "quality"):
        shown = json.loads(cli("show", document["steps"][step]["key"], "--json", plugin=False).stdout)
        assert shown["kind"] == "Report" and "edge_roughness" in shown["attrs"]["metrics"]
    path = place / "needs.yaml"
    path.write_text(yaml.safe_dump({"name": "p", "steps": {**STEPS, "edges": score("good")}}))
    done = cli("plan", path, plugin=False)
    assert done.returncode == 2 and "steps.edges.task: there is no task 'edge-roughness.score'" in done.stderr


def test_the_real_line_pair_scores_as_the_readme_says(cli: Cli, place: Path, data_dir: Path) -> None:
    load = {"path": str(data_dir / "line_pair"), "clean": ["no_defect*"], "defect": ["bridge_defect*"]}
    steps = {"pair": {"task": "images.load", "params": load}, "edges": score("pair"), "quality": quality("pair", "edges")}
    path = place / "real.yaml"
    path.write_text(yaml.safe_dump({"name": "real", "steps": steps}))
    done = cli("run", path, "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    found = document["report"]["edge_roughness"]
    assert found["pair"] == pytest.approx(2.58, abs=0.01) and found["anchors"]["noise"] == pytest.approx(26, abs=2)
    values = LocalStore(place / "store").get(document["steps"]["edges"]["key"]).array("values")[...]
    assert sorted(values) == pytest.approx([0, found["pair"]]), "the reference itself, and the clean image"
