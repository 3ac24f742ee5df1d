"""The example `pcb-screening`, installed as its own distribution: pipelines shipped by a plugin, in YAML and in Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fabloom.storage.backends.local import LocalStore

Cli = Callable[..., subprocess.CompletedProcess[str]]
LOOM = Path(__file__).parents[1] / "installed_one_shot"
SIZE = 64
LEARNING = ("sinsemi", "sinddm", "singan", "consingan", "sindiffusion", "sinfusion", "copy-paste", "noise-paste", "inpaint")
QUICK = [
    "steps.t*.params.tile=32", "steps.varied.params.count=96", "steps.model.params.steps=2", "steps.model.params.batch=8",
    "steps.baseline.params.steps=1", "steps.baseline.params.batch=8", "steps.report.params.shifts=[]", "steps.report.params.resamples=100",
]  # fmt: skip


def write_boards(folder: Path, seed: int) -> Path:
    """Four clean and four defect boards with masks: diagonal traces under camera noise, and spots of copper between them."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    for index in range(8):
        kind = ("clean", "defect")[index % 2]
        trace = (x + y + draw.integers(32)) % 32 < 12
        image = np.where(trace, 60.0, 190.0)
        if kind == "defect":
            row, column = draw.integers(8, SIZE - 8, 2)
            spot = ((y - row) ** 2 + (x - column) ** 2 < 25) & ~trace
            while not spot.any():
                column = (column + 8) % SIZE
                spot = ((y - row) ** 2 + (x - column) ** 2 < 25) & ~trace
            image[spot] = 60
            save(folder / "masks" / f"b{index}.png", spot * 255)
        save(folder / kind / f"b{index}.png", image + draw.normal(0, 4, image.shape))
    return folder


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pcb-screening-runs")
    for seed, name in enumerate(("lot-a", "lot-b")):
        write_boards(place / name, seed)
    return place


def caller(warm: Cli, place: Path, *sites: Path) -> Cli:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sites)), "FABLOOM_THREADS": "1", "COLUMNS": "200"}
    environment.pop("FABLOOM_STORE", None)

    def call(*arguments: object, cwd: Path = place) -> subprocess.CompletedProcess[str]:
        words = ["-m", "fabloom.flows", *map(str, arguments), "--store", str(place / "store")]
        return warm(words, cwd=cwd, env=environment)

    return call


@pytest.fixture(scope="module")
def site(install_example: Callable[[str], Path]) -> Path:
    return install_example("pcb-screening")


@pytest.fixture(scope="module")
def cli(site: Path, place: Path, warm: Cli) -> Cli:
    """The command line with the distribution installed."""
    return caller(warm, place, site)


def told(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


LOTS = ["steps.train.params.path=lot-a", "steps.test.params.path=lot-b"]


def test_they_are_listed_with_what_they_need(cli: Cli) -> None:
    known = json.loads(cli("pipelines", "--json").stdout)
    assert {"pcb-screening", "pcb-screening-one-shot", "one-step"} <= set(known)
    assert "--set steps.train.params.path=FOLDER" in known["pcb-screening"]["description"]
    tasks = {step["task"].partition(".")[0] for step in known["pcb-screening"]["steps"].values()}
    assert tasks == {"images", "unet"}, "it stands on what fabloom brings"
    plugins = json.loads(cli("plugins", "--json").stdout)
    (found,) = (p for p in plugins["plugins"] if p["entry_point"] == "pcb-screening")
    assert (found["distribution"], found["methods"]) == ("fabloom-pcb-screening", []) and plugins["problems"] == []


def test_a_missing_folder_is_told_with_the_option_and_not_sought_beside_the_file(
    cli: Cli, place: Path, site: Path, tmp_path: Path, warm: Cli
) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "site"))
    for decoy in (copy, copy / "fabloom_pcb_screening", copy / "fabloom_pcb_screening" / "pipelines"):
        write_boards(decoy / "boards" / "train", 0)
        write_boards(decoy / "boards" / "test", 1)
    for run in (cli, caller(warm, place, copy)):
        done = run("plan", "pcb-screening")
        assert done.returncode == 2 and not done.stdout
        assert "steps.train.params: 'boards/train' does not exist" in done.stderr and "--set" in done.stderr
    done = cli("run", "pcb-screening", *told(LOTS[0]), "--engine", "inline", "--json")
    assert done.returncode == 2 and "steps.test.params: 'boards/test' does not exist" in done.stderr
    # a relative folder is one of whoever gives the command
    write_boards(tmp_path / "boards" / "train", 0)
    write_boards(tmp_path / "boards" / "test", 1)
    assert cli("plan", "pcb-screening", cwd=tmp_path).returncode == 0


def test_plan_run_and_what_is_reused(cli: Cli, place: Path) -> None:
    plan = json.loads(cli("plan", "pcb-screening", *told(*LOTS, *QUICK), "--json").stdout)
    assert list(plan["steps"]) == ["train", "test", "varied", "model", "baseline", "report"]
    assert {step["state"] for step in plan["steps"].values()} == {"run"}
    done = cli("run", "pcb-screening", *told(*LOTS, *QUICK), "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {name: step["key"] for name, step in document["steps"].items()} == {name: step["key"] for name, step in plan["steps"].items()}
    assert {"model", "baseline"} <= set(document["report"])  # whether it learns is a test of the distribution itself, run below
    store = LocalStore(place / "store")
    seen = {name: {one.tobytes() for one in image_set(store, document, name)} for name in ("train", "varied", "test")}
    assert len(seen["train"]) == len(seen["test"]) == 32 and not seen["test"] & (seen["train"] | seen["varied"])
    assert seen["train"] & seen["varied"], "negative control: what is shared would be seen"
    page = Path(document["report_path"]).read_text()
    assert "pcb-screening" in page and str(place / "lot-a") not in page
    # another score reuses what was trained
    again = cli("run", "pcb-screening", *told(*LOTS, *QUICK, "steps.report.params.threshold=0.6"), "--engine", "inline", "--json")
    states = {name: step["status"] for name, step in json.loads(again.stdout)["steps"].items()}
    assert states.pop("report") == "ran" and set(states.values()) == {"reused"}


def image_set(store: LocalStore, document: Any, name: str) -> np.ndarray:
    images: np.ndarray = store.get(document["steps"][name]["key"]).array("images")[...]
    return images


def test_one_shared_image_is_refused(cli: Cli, place: Path) -> None:
    mixed = shutil.copytree(place / "lot-b", place / "mixed")
    shutil.copy(place / "lot-a" / "clean" / "b0.png", mixed / "clean" / "copied.png")
    done = cli("run", "pcb-screening", *told(LOTS[0], "steps.test.params.path=mixed", *QUICK), "--engine", "inline", "--json")
    report = json.loads(done.stdout)["steps"]["report"]
    assert (
        done.returncode == 2 and report["status"] == "failed" and re.match(r"[1-4] of 36 test images were used to train", report["error"])
    )


def test_overrides_that_do_not_fit_are_told(cli: Cli) -> None:
    for setting, words in (
        ("steps.modle.params.steps=3", "Did you mean 'model'?"),
        ("steps.model.params.stesp=3", "steps.model.params.stesp: is not known here. Did you mean 'steps'?"),
        ("steps.varied.params.count=0", "steps.varied.params.count"),
    ):
        done = cli("plan", "pcb-screening", *told(*LOTS, setting))
        assert done.returncode == 2 and words in done.stderr, done.stderr


def one_shot(cli: Cli) -> Any:
    pair = ["steps.pair.params.path=lot-a", LOTS[1]]
    done = cli("plan", "pcb-screening-one-shot", *told(*pair), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["steps"]


def test_the_pipeline_built_in_python_follows_what_is_installed(cli: Cli, place: Path, site: Path, warm: Cli) -> None:
    alone, joined = one_shot(cli), one_shot(caller(warm, place, site, LOOM))
    assert {"sinsemi_report", "sinddm_report"} <= set(alone) and not any("loom" in name for name in alone)
    more = {name for name in joined if name.startswith("loom")}
    assert set(joined) - set(alone) == more == {f"loom_{part}" for part in ("model", "images", "labelled", "segmenter", "report")}
    assert all(joined[name]["key"] == alone[name]["key"] for name in alone), "a method that joins changes no other"


def test_the_pipeline_built_in_python_runs(place: Path, tmp_path: Path, site: Path, warm: Cli) -> None:
    """With a method that takes no time in the place of those that learn: their steps are set to it by `--set`."""
    run = caller(warm, place, site, LOOM)
    for kind in ("clean", "defect"):
        index = int(kind == "defect")
        (tmp_path / kind).mkdir()
        y, x = np.mgrid[:SIZE, :SIZE]
        spot = (y - 30) ** 2 + (x - 25) ** 2 < 25
        image = np.where(x % 32 < 12, 60.0, 190.0)
        save(tmp_path / kind / "board.png", np.where(spot, 60.0, image) if index else image)
    settings = [f"steps.pair.params.path={tmp_path}", LOTS[1], "steps.*_segmenter.params.steps=5", "steps.baseline.params.steps=5"]
    settings += [f"steps.{name}_{part}={{task: loom.{task}, inputs: {{{port}: {source}}}, params: {{}}}}" for name in LEARNING
                 for part, task, port, source in (("model", "train", "images", "pair"), ("images", "sample", "model", f"{name}_model"))]  # fmt: skip
    settings += ["steps.*_images.params.count=16", "steps.*_report.params.shifts=[]", "steps.*_report.params.resamples=100"]
    done = run("run", "pcb-screening-one-shot", *told(*settings), "--engine", "inline", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {step["status"] for step in document["steps"].values()} <= {"ran", "reused"} and document["report"]["model"]


BROKEN = {
    "no yaml": ("name: x\nsteps: {a: [\n", "cannot be read as YAML"),
    "no steps": ("name: x\n", "steps: Field required"),
    "unknown word": ("name: x\nstep: {a: {task: images.load}}\nsteps: {a: {task: images.load}}\n", "Did you mean 'steps'?"),
    "unknown task": ("name: x\nsteps: {a: {task: images.laod}}\n", "steps.a.task: there is no task 'images.laod'"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_in_the_package_harms_nothing_else(site: Path, place: Path, tmp_path: Path, how: str, warm: Cli) -> None:
    text, words = BROKEN[how]
    copy = Path(shutil.copytree(site, tmp_path / "site"))
    (copy / "fabloom_pcb_screening" / "pipelines" / "pcb-broken.yaml").write_text(text)
    run = caller(warm, place, copy)
    done = run("plan", "pcb-broken")
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    listed = run("pipelines", "--json")
    known = json.loads(listed.stdout)
    assert listed.returncode == 0 and {"pcb-broken", "one-step"} <= set(known)
    if how != "unknown task":
        assert words in known["pcb-broken"]["description"]
    assert run("plan", "pcb-screening", *told(*LOTS)).returncode == 0


def test_a_hook_that_raises_or_a_name_that_is_taken_is_a_problem_of_this_plugin(site: Path, place: Path, tmp_path: Path, warm: Cli) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "site"))
    door = copy / "fabloom_pcb_screening" / "__init__.py"
    sound = door.read_text()
    cases = (
        (
            f"{sound}\n\n@hookimpl\ndef fabloom_pipelines():\n    raise OSError('the folder is gone')\n",
            "the folder is gone",
            "pcb-screening",
        ),
        (sound.replace("pcb_screening_one_shot]", "pcb_screening_one_shot, 7]"), "pipeline 7 is no Pipeline", ""),
    )
    for text, words, lost in cases:
        door.write_text(text)
        run = caller(warm, place, copy)
        (problem,) = json.loads(run("plugins", "--json").stdout)["problems"]
        assert words in problem["cause"] and problem["fix"] and "fabloom-pcb-screening" in json.dumps(problem)
        known = json.loads(run("pipelines", "--json").stdout)
        assert "one-step" in known and (lost not in known if lost else "pcb-screening" in known)
    door.write_text(sound)
    shutil.copy(
        copy / "fabloom_pcb_screening" / "pipelines" / "pcb-screening.yaml", copy / "fabloom_pcb_screening" / "pipelines" / "one-step.yaml"
    )
    run = caller(warm, place, copy)
    (problem,) = json.loads(run("plugins", "--json").stdout)["problems"]
    assert "pipeline 'one-step' is registered twice" in problem["cause"]
    assert json.loads(run("pipelines", "--json").stdout)["one-step"]["steps"]["teacher"], "the one that was there first stays"
