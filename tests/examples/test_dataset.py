"""The example `deeppcb`, installed as its own distribution: a public data set with pairs and boxes becomes an `ImageSet`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fabloom.kinds import ImageSet
from fabloom.storage.backends.local import LocalStore

Cli = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ["none", "open", "short", "mousebite", "spur", "copper", "pin-hole"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deeppcb-runs")


@pytest.fixture(scope="module")
def cli(install_example: Callable[[str], Path], place: Path, warm: Cli) -> Cli:
    """The command line with the distribution installed."""
    environment = {**os.environ, "PYTHONPATH": str(install_example("deeppcb")), "FABLOOM_THREADS": "1", "COLUMNS": "200"}
    environment.pop("FABLOOM_STORE", None)

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = ["-m", "fabloom.flows", *map(str, arguments), "--store", str(place / "store")]
        return warm(words, cwd=place, env=environment)

    return call


Run = Callable[..., Any]


@pytest.fixture
def run(cli: Cli, place: Path) -> Run:
    """`run({"crops": {"folder": ...}})` is the document of a pipeline with a `deeppcb.load` step for each entry, and `more` steps."""

    def go(sets: dict[str, dict[str, Any]], code: int = 0, **more: Any) -> Any:
        steps = {name: {"task": "deeppcb.load", "params": params} for name, params in sets.items()} | more
        (place / "boards.yaml").write_text(yaml.safe_dump({"name": "cut", "seed": 3, "steps": steps}, sort_keys=False))
        done = cli("run", "boards.yaml", "--engine", "inline", "--json")
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    return go


@pytest.fixture
def got(place: Path) -> Callable[[Any, str], ImageSet]:
    def get(document: Any, step: str) -> ImageSet:
        found = LocalStore(place / "store").get(document["steps"][step]["key"])
        assert isinstance(found, ImageSet)
        return found

    return get


@pytest.fixture(scope="module")
def boards(place: Path) -> Path:
    """Four pairs without a licence on them: plates of copper, a hole in each tested image, and a box around it."""
    folder = place / "boards"
    folder.mkdir()
    for index in range(4):
        template = np.full((64, 96), 255, np.uint8)
        template[10 : 50 + index, 20:80] = 0
        tested = template.copy()
        tested[24:30, 40 + index : 47 + index] = 255
        for ending, pixels in (("temp", template), ("test", tested)):
            Image.fromarray(pixels).save(folder / f"{index:08d}_{ending}.jpg", quality=98)
        (folder / f"{index:08d}.txt").write_text("36 20 54 34 6\n")
    return folder


def test_the_distribution_is_found(cli: Cli) -> None:
    plugins = json.loads(cli("plugins", "--json").stdout)
    (found,) = (p for p in plugins["plugins"] if p["entry_point"] == "deeppcb")
    assert (found["distribution"], found["methods"]) == ("fabloom-deeppcb", ["deeppcb"]) and plugins["problems"] == []
    shown = cli("tasks", "deeppcb.load").stdout
    assert "no pixel masks" in shown and "NAME_temp.jpg" in shown


def test_the_sample_of_the_public_set(run: Run, got: Callable[[Any, str], ImageSet], data_dir: Path) -> None:
    folder = data_dir / "deeppcb"
    texts = [path for path in sorted(folder.glob("*.txt")) if path.stem.isdecimal()]
    lines = [list(map(int, line.split())) for path in texts for line in path.read_text().splitlines()]
    sets = {"boxes": {"folder": str(folder), "crop": 640}, "defects": {"folder": str(folder), "crop": 640, "mask": "difference"}}
    document = run(sets)
    boxes, defects = (got(document, name) for name in sets)
    assert boxes.images.shape == (len(texts), 1, 640, 640) and boxes.class_names == NAMES and boxes.attrs["boxes"] == len(lines)
    marked, changed = np.asarray(boxes.masks), np.asarray(defects.masks)
    first = np.zeros((640, 640), np.uint8)
    for x1, y1, x2, y2, _ in (map(int, line.split()) for line in texts[0].read_text().splitlines()):
        first[y1:y2, x1:x2] = 1
    assert (marked[0] == first).all() and not (changed & ~marked).any()
    assert 0.05 < changed.sum() / marked.sum() < 0.15, "most of a box shows no defect"
    # a defect differs from the template where the board beside it does not: the rule, applied outside the boxes, finds little
    from PIL import ImageFilter

    outside = inside = 0
    for index, path in enumerate(texts):
        template = Image.open(path.with_name(f"{path.stem}_temp.jpg")).convert("L")
        tested = boxes.images[index, 0].astype(int)
        high, low = (np.asarray(template.filter(kind(5)), int) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
        differs = (tested - high > 128) | (low - tested > 128)
        inside += int((differs & (marked[index] == 1)).sum())
        outside += int((differs & (marked[index] == 0)).sum())
    assert inside == changed.sum(), "an independent filter marks the same pixels"
    share = (inside / marked.sum()) / (outside / (marked == 0).sum())
    assert share > 20, "as in the table of the README"


def test_colours_of_the_classes_are_those_of_the_public_order(run: Run, got: Callable[[Any, str], ImageSet], data_dir: Path) -> None:
    """Pin-holes and opens miss copper (white), spurious copper, spurs and shorts add it (black)."""
    crops = got(run({"crops": {"folder": str(data_dir / "deeppcb"), "mask": "difference"}}), "crops")
    images, masks, labels = np.asarray(crops.images)[:, 0], np.asarray(crops.masks), np.asarray(crops.labels)
    grey = {name: images[labels == index][masks[labels == index] == 1].mean() for index, name in enumerate(NAMES) if index}
    assert all(grey[name] > 150 for name in ("open", "mousebite", "pin-hole")), grey
    assert all(grey[name] < 100 for name in ("short", "spur", "copper")), grey
    assert (labels > 0).sum() == np.asarray(crops.domain).sum() and masks[labels == 0].max() == 0
    assert len({one.tobytes() for one in images}) == len(images) < 1000


def test_parts_are_held_out_and_a_model_of_all_is_refused(
    run: Run, got: Callable[[Any, str], ImageSet], data_dir: Path, tmp_path: Path
) -> None:
    for path in sorted((data_dir / "deeppcb").glob("0004100[0-3]*")):
        shutil.copy(path, tmp_path)
    common = {"folder": str(tmp_path), "mask": "difference"}

    def train_on(images: str) -> dict[str, Any]:
        return {"task": "unet.train", "inputs": {"images": images}, "params": {"steps": 1, "batch": 2}}

    def score(model: str) -> dict[str, Any]:
        params = {"shifts": [], "resamples": 100}
        return {"task": "unet.evaluate", "inputs": {"images": "test", "model": model}, "params": params}

    sets = {"train": {**common, "part": "train", "templates": True}, "test": {**common, "part": "test"}, "all": common}
    document = run(sets, code=2, model=train_on("train"), memory=train_on("all"), honest=score("model"), boast=score("memory"))
    train, test, everything = (got(document, part) for part in sets)
    assert not {one.tobytes() for one in train.images[:]} & {one.tobytes() for one in test.images[:]}
    assert {one.tobytes() for one in everything.images[:]} > {one.tobytes() for one in test.images[:]}, "negative control"
    assert not set(train.array("origin")[:, 0]) & set(test.array("origin")[:, 0])
    steps = document["steps"]
    assert steps["honest"]["status"] == "ran" and steps["boast"]["status"] == "failed"
    assert "test images were used to train" in steps["boast"]["error"]


def test_files_are_in_the_key_and_their_place_is_not(run: Run, cli: Cli, boards: Path, place: Path) -> None:
    first = run({"crops": {"folder": "boards", "crop": 32}})["steps"]["crops"]
    moved = shutil.copytree(boards, place / "elsewhere" / "boards")
    again = run({"crops": {"folder": str(moved), "crop": 32}})["steps"]["crops"]
    assert (again["status"], again["key"]) == ("reused", first["key"])
    manifest = (place / "store" / "objects" / first["key"][:2] / first["key"] / "manifest.json").read_text()
    assert "boards" not in manifest and str(place) not in manifest
    (moved / "00000002.txt").write_text("36 20 54 35 6\n")
    changed = run({"crops": {"folder": str(moved), "crop": 32}})["steps"]["crops"]
    assert changed["status"] == "ran" and changed["digest"] != first["digest"]
    assert cli("verify", first["key"]).returncode == 0


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("00000001_temp.jpg", None, "template 00000001_temp.jpg is missing"),
        ("00000001.txt", None, "boxes 00000001.txt are missing"),
        ("00000001.txt", b"36 20 54 34 6\n36 20 54\n", "00000001.txt:2: '36 20 54' is not"),
        ("00000001.txt", b"36 20 97 34 6\n", "00000001.txt:1: the box 36 20 97 34 leaves the image of 96 x 64 pixels"),
        ("00000001_test.jpg", b"GIF89a", "00000001_test.jpg: cannot be read as a JPEG"),
    ],
)
def test_a_broken_folder_is_one_error_and_nothing_is_written(
    run: Run, boards: Path, place: Path, file: str, content: bytes | None, words: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(boards, tmp_path / "broken")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    step = run({"crops": {"folder": str(folder), "crop": 32}}, code=2)["steps"]["crops"]
    assert step["status"] == "failed" and words in step["error"] and step["error"].count("\n") == 0
    assert not (place / "store" / "objects" / step["key"][:2] / step["key"]).exists()


def test_a_folder_that_is_not_there_and_a_link_out_are_told_while_planning(cli: Cli, boards: Path, place: Path, tmp_path: Path) -> None:
    linked = shutil.copytree(boards, tmp_path / "linked")
    (tmp_path / "secret.txt").write_text("36 20 54 34 6\n")
    (linked / "00000001.txt").unlink()
    (linked / "00000001.txt").symlink_to(tmp_path / "secret.txt")
    for folder, words in (("nowhere", "'nowhere' does not exist"), (str(linked), "leads out of")):
        path = place / "planned.yaml"
        path.write_text(yaml.safe_dump({"name": "p", "steps": {"crops": {"task": "deeppcb.load", "params": {"folder": folder}}}}))
        done = cli("plan", path)
        assert done.returncode == 2 and "steps.crops.params: " in done.stderr and words in done.stderr
