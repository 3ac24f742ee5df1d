"""The example `line-edges`, installed as its own distribution: an artifact kind that every command knows."""

from __future__ import annotations

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
import zarr

from fabloom.errors import PluginError
from fabloom.storage.backends.local import LocalStore

Cli = Callable[..., subprocess.CompletedProcess[str]]
SIMULATED = {"count": 3, "defect_share": 0.0, "noise_std": 0.0}


def lines(ler_nm: float) -> dict[str, Any]:
    return {"task": "line-pair.simulate", "params": {**SIMULATED, "ler_nm": ler_nm}}


def measure(images: str, **params: Any) -> dict[str, Any]:
    return {"task": "line-edges.measure", "inputs": {"images": images}, "params": params}


def report(edges: str, **params: Any) -> dict[str, Any]:
    return {"task": "line-edges.report", "inputs": {"edges": edges}, "params": params}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("line-edges-runs")


@pytest.fixture(scope="module")
def cli(install_example: Callable[[str], Path], place: Path, warm: Cli) -> Cli:
    """`cli("run", ...)` with the distribution installed, or without it."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FABLOOM_STORE")}
    plain |= {"FABLOOM_THREADS": "1", "COLUMNS": "200"}

    def call(*arguments: object, plugin: bool = True) -> subprocess.CompletedProcess[str]:
        environment = plain | ({"PYTHONPATH": str(install_example("line-edges"))} if plugin else {})
        words = ["-m", "fabloom.flows", *map(str, arguments), "--store", str(place / "store")]
        return warm(words, cwd=place, env=environment)

    return call


def written(place: Path, **steps: dict[str, Any]) -> Path:
    path = place / "pipeline.yaml"
    path.write_text(yaml.safe_dump({"name": "metrology", "seed": 2, "steps": steps}))
    return path


@pytest.fixture(scope="module")
def document(cli: Cli, place: Path) -> Any:
    """A run over straight lines and lines of two roughnesses that differ by a factor of two, same seed."""
    steps: dict[str, Any] = {}
    for name, ler_nm in (("straight", 0.0), ("rough", 1.5), ("rougher", 3.0)):
        steps |= {name: lines(ler_nm), f"{name}_edges": measure(name), f"{name}_report": report(f"{name}_edges", pixel_nm=30.0)}
    done = cli("run", written(place, **steps), "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def metrics(document: Any, place: Path) -> Callable[[str], dict[str, Any]]:
    return lambda name: LocalStore(place / "store").manifest(document["steps"][f"{name}_report"]["key"])["metrics"]


def edges_key(document: Any, name: str = "straight") -> str:
    return str(document["steps"][f"{name}_edges"]["key"])


def edges_of(place: Path, key: str) -> np.ndarray:
    """By plain zarr: this process has not installed the distribution."""
    group = zarr.open_group(LocalStore(place / "store").folder(key) / "data.zarr", mode="r")
    found = group["edges"][...]  # type: ignore[index]
    return np.asarray(found)


def test_the_distribution_is_found(cli: Cli) -> None:
    plugins = json.loads(cli("plugins", "--json").stdout)
    (found,) = (p for p in plugins["plugins"] if p["entry_point"] == "line-edges")
    assert (found["distribution"], found["methods"]) == ("fabloom-line-edges", ["line-edges"])
    assert plugins["problems"] == []
    tasks = json.loads(cli("tasks", "line-edges", "--json").stdout)
    assert tasks["line-edges.measure"]["output"] == "LineEdges" and tasks["line-edges.report"]["inputs"] == {"edges": "LineEdges"}


def test_simulated_lines_lie_where_they_were_drawn(document: Any, metrics: Any, place: Path) -> None:
    assert document["steps"]["straight_edges"]["kind"] == "LineEdges"
    edges = edges_of(place, edges_key(document))
    assert edges.dtype == np.float32 and edges.shape == (3, 16, 64)
    # 8 lines of pitch 240 nm at 30 nm a pixel, the first centre half a pitch from the border, which is half a pixel left of pixel 0
    centres = (edges[:, ::2] + edges[:, 1::2]) / 2
    np.testing.assert_allclose(centres, np.broadcast_to((8 * np.arange(8) + 3.5)[:, None], (3, 8, 64)), atol=0.02)
    found = metrics("straight")
    assert found["pitch_nm"] == pytest.approx(240, abs=0.1) and found["cd_nm"] == pytest.approx(120, rel=0.1)
    assert found["ler_3sigma_nm"] < 0.5, "rounding to grey levels alone"


def test_roughness_is_proportional_to_what_was_drawn(metrics: Any) -> None:
    straight, rough, rougher = (metrics(name)["ler_3sigma_nm"] for name in ("straight", "rough", "rougher"))
    assert rough > 5 * straight and rougher == pytest.approx(2 * rough, rel=0.05)
    assert rougher < 3 * 3.0, "optics smooth an edge"


def test_the_planner_knows_the_kind(cli: Cli, place: Path) -> None:
    done = cli("plan", written(place, images=lines(0.0), report=report("images")))
    assert done.returncode == 2
    assert "steps.report.inputs.edges: expects LineEdges, but 'images' gives ImageSet (line-pair.simulate)" in done.stderr


def test_commands_know_the_kind(document: Any, cli: Cli, place: Path) -> None:
    key = edges_key(document)
    listed = json.loads(cli("artifacts", "--kind", "LineEdges", "--json").stdout)
    assert {a["key"] for a in listed} == {edges_key(document, name) for name in ("straight", "rough", "rougher")}
    shown = json.loads(cli("show", key, "--json").stdout)
    assert shown["kind"] == "LineEdges" and shown["attrs"] == {"width": 64, "tone": "dark"}
    assert shown["plugin"] == {"distribution": "fabloom-line-edges", "version": "0.1.0"}
    assert shown["arrays"]["edges"] == {"shape": [3, 16, 64], "dtype": "float32"}
    walked = json.loads(cli("lineage", document["steps"]["straight_report"]["key"], "--json").stdout)
    assert [m["kind"] for m in walked.values()] == ["Report", "LineEdges", "ImageSet"]
    done = cli("export", key, place / "exported", "--format", "zarr", "--json")
    assert "data.zarr/zarr.json" in json.loads(done.stdout)["files"]
    exported = zarr.open_group(place / "exported" / "data.zarr", mode="r")
    np.testing.assert_array_equal(exported["edges"][...], edges_of(place, key))  # type: ignore[index]
    assert dict(exported.attrs) == shown["attrs"]
    page = Path(document["report_path"]).read_text()
    assert "LineEdges" in page and "Lines of image 0 from their edges" in page


def test_the_kind_says_itself_what_it_holds_shows_and_exports(document: Any, cli: Cli, place: Path) -> None:
    """No file of fabloom's knows of it: `artifacts`, `show`, the page and `export` ask the kind."""
    key, said = edges_key(document), "3 images of 8 lines over 64 rows"
    shown = cli("show", key).stdout
    assert f"holds    {said}" in shown
    assert cli("artifacts", "--kind", "LineEdges").stdout.count(said) == 3
    page = Path(document["report_path"]).read_text()
    assert f"LineEdges: {said}" in page and "Lines from their edges – Image 0, 4 times enlarged; dark lines." in page
    assert page.count('alt="Lines from their edges"') == 3 and "This part cannot be shown" not in page
    assert re.search(r"ler 3sigma nm \(lower is better\) is [\d.]+\.", page), "the last report declares its headline"
    files = json.loads(cli("export", key, place / "as-csv", "--json").stdout)["files"]
    assert files == ["artifact.json", "edges.csv"], "its own format is the default"
    rows = (place / "as-csv" / "edges.csv").read_text().splitlines()
    assert rows[0] == "image,edge,row,position_px,interpolated" and len(rows) == 1 + 3 * 16 * 64
    image, edge, row, position, filled = rows[1 + 64 + 2].split(",")
    assert (image, edge, row, filled) == ("0", "1", "2", "0")
    assert float(position) == pytest.approx(edges_of(place, key)[0, 1, 2], abs=1e-4)
    wrong = cli("export", key, place / "wrong", "--format", "onnx")
    assert wrong.returncode == 2 and "can be written as csv, zarr" in wrong.stderr and not (place / "wrong").exists()


def test_verify_covers_the_kind(document: Any, cli: Cli, place: Path, tmp_path: Path) -> None:
    key = edges_key(document)
    sound = cli("verify", key, "--json")
    assert sound.returncode == 0 and json.loads(sound.stdout)["problems"] == {}
    victim = LocalStore(place / "store").folder(key) / "data.zarr" / "edges" / "zarr.json"
    kept = victim.read_bytes()
    victim.write_bytes(kept[:-1])
    try:
        bad = cli("verify", key, "--json")
        assert bad.returncode == 1 and list(json.loads(bad.stdout)["problems"]) == [key]
    finally:
        victim.write_bytes(kept)


def test_without_the_distribution_only_its_artifacts_cannot_be_opened(document: Any, cli: Cli, place: Path) -> None:
    key = edges_key(document)
    done = cli("show", key, plugin=False)
    assert done.returncode == 3 and not done.stdout and done.stderr.count("\n") == 1
    assert done.stderr.startswith("fabloom: ") and "'LineEdges'" in done.stderr and key[:12] in done.stderr
    with pytest.raises(PluginError, match="LineEdges"):
        LocalStore(place / "store").get(key)
    for step in ("straight", "straight_report"):
        assert cli("show", document["steps"][step]["key"], plugin=False).returncode == 0
    assert key in {a["key"] for a in json.loads(cli("artifacts", "--json", plugin=False).stdout)}
    assert cli("verify", plugin=False).returncode == 0


def test_the_real_line_pair(cli: Cli, place: Path, data_dir: Path) -> None:
    folder = str(data_dir / "line_pair")
    steps = {
        "clean": {"task": "images.load", "params": {"path": f"{folder}/no_defect.png"}},
        "edges": measure("clean"),
        "clean_report": report("edges"),
        "both": {"task": "images.load", "params": {"path": folder, "defect": ["bridge_defect*"], "clean": ["no_defect*"]}},
        "over": measure("both", gap=10),
        "both_report": report("over"),
    }
    done = cli("run", written(place, **steps), "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    store = LocalStore(place / "store")
    clean = store.manifest(document["steps"]["clean_report"]["key"])["metrics"]
    assert clean["lines"] == 4 and clean["pitch_px"] == pytest.approx(19.0, abs=0.1) and clean["cd_px"] == pytest.approx(9.2, abs=0.1)
    assert clean["ler_3sigma_px"] == pytest.approx(0.54, abs=0.03) and clean["lwr_3sigma_px"] == pytest.approx(0.78, abs=0.03)
    # the bridge: 10 rows of the two edges between which it lies
    both = store.manifest(document["steps"]["both_report"]["key"])["metrics"]
    assert both["filled_share"] == pytest.approx(2 * 10 / (2 * 8 * 96))
    table = store.get(document["steps"]["both_report"]["key"]).attrs["tables"]["Images, lengths in px"]
    column = table["columns"].index("ler_3sigma")
    ler = sorted(row[column] for row in table["rows"])
    assert ler[0] == pytest.approx(clean["ler_3sigma_px"]) and ler[1] > 3 * ler[0]
    refused = cli("run", written(place, both=steps["both"], edges=measure("both")), "--engine", "inline")
    assert refused.returncode == 2 and re.search(
        r"edge [34] is missing in rows 43 to 52, more than gap=0\. A bridge or a break\?", refused.stderr
    )
