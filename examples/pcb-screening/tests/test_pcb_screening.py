"""The pipelines type-check with what is installed, hold out, and say what they need."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fabloom_pcb_screening import fabloom_pipelines
from fabloom_pcb_screening.building import pcb_screening_one_shot
from PIL import Image

from fabloom import Pipeline, PipelineError, UserError, open_store, run
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.testing import MemoryStore

SIZE = 64


def write_boards(folder: Path, seed: int, boards: int = 4) -> Path:
    """As many clean and defect images: uint8 [64,64], horizontal traces with camera noise, and an open in one trace of a defect image."""
    draw = np.random.default_rng(seed)
    for name in ("clean", "defect", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(boards):
        for kind in ("clean", "defect"):
            image = np.where((np.arange(SIZE) + draw.integers(16)) % 16 < 7, 60.0, 190.0)[:, None].repeat(SIZE, 1)
            mask = np.zeros((SIZE, SIZE), np.uint8)
            if kind == "defect":
                y, x = (int(draw.integers(8, SIZE - 16)) for _ in range(2))
                mask[y : y + 9, x : x + 6] = 255 * (image[y : y + 9, x : x + 6] < 100)
                image[mask > 0] = 190
                Image.fromarray(mask).save(folder / "masks" / f"{kind}{index}.png")
            pixels = np.clip(np.rint(image + draw.normal(0, 4, image.shape)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{kind}{index}.png")
    return folder


@pytest.fixture
def registry() -> Registry:
    return Registry.load()


def planned(pipeline: Pipeline, registry: Registry, *settings: str) -> Plan:
    return make_plan(pipeline.override(settings), registry, MemoryStore())


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Settings that name a training and a test folder."""
    return [f"steps.{name}.params.path={write_boards(tmp_path / name, seed)}" for seed, name in enumerate(("train", "test"))]


def test_both_are_registered(registry: Registry) -> None:
    assert {"pcb-screening", "pcb-screening-one-shot"} <= set(registry.pipeline_names()) and not registry.problems
    assert len(list(fabloom_pipelines())) == 2


def test_the_file_type_checks_and_names_the_missing_folder(registry: Registry, folders: list[str], tmp_path: Path) -> None:
    pipeline = registry.pipeline("pcb-screening")
    plan = planned(pipeline, registry, *folders)
    assert plan.step("model").upstream == ("varied",) and plan.step("report").upstream == ("test", "model", "baseline")
    with pytest.raises(UserError, match=r"steps.train.params: 'boards/train' does not exist.*--set"):
        planned(pipeline, registry, folders[1])


QUICK = ["steps.report.params.shifts=[]", "steps.report.params.resamples=100"]


def test_a_small_run_learns_and_holds_out(folders: list[str], tmp_path: Path) -> None:
    small = ["steps.t*.params.tile=32", "steps.varied.params.count=96", "steps.model.params.steps=60", "steps.baseline.params.steps=0"]
    done = run("pcb-screening", set=[*folders, *small, *QUICK], store=tmp_path / "store")
    assert done.exit_code == 0, done.steps
    store = open_store(tmp_path / "store")
    pixels = [{one.tobytes() for one in store.get(done.plan.step(name).key).images[:]} for name in ("train", "test", "varied")]
    assert not pixels[1] & (pixels[0] | pixels[2]), "train and test share an image"
    assert len(pixels[0]) == len(pixels[1]) == 32, "four tiles of eight images"
    assert done.report["model"]["iou_defect"] > 2 * done.report["baseline"]["iou_defect"]


def test_a_shared_image_is_refused(folders: list[str], tmp_path: Path) -> None:
    train, test = (Path(setting.partition("=")[2]) for setting in folders)
    shutil.copy(train / "clean" / "clean0.png", test / "clean" / "again.png")
    small = ["steps.varied.params.count=16", "steps.model.params.steps=1", "steps.baseline.params.steps=1"]
    done = run("pcb-screening", set=[*folders, *small, *QUICK], store=tmp_path / "store", check=False)
    assert done.exit_code == 2 and "of 9 test images were used to train" in done.steps[-1].error


def test_every_one_shot_method_has_its_steps(registry: Registry, tmp_path: Path) -> None:
    paths = [f"steps.{name}.params.path={write_boards(tmp_path / name, seed)}" for seed, name in enumerate(("pair", "test"))]
    plan = planned(pcb_screening_one_shot(registry), registry, *paths)
    names = [name for name, method in registry.methods.items() if "one-shot" in method.tags]
    assert len(names) >= 2 and {f"{name}_report" for name in names} <= {step.name for step in plan.steps}
    for name in names:
        assert plan.step(f"{name}_segmenter").upstream == (f"{name}_labelled",)
        assert "test" not in plan.step(f"{name}_model").upstream


def test_without_a_method_it_says_so() -> None:
    with pytest.raises(PipelineError, match="no method tagged 'one-shot'"):
        pcb_screening_one_shot(Registry())
