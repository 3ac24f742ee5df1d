"""`fabloom init` of images that no rule labels: what it chooses, what it refuses, and that the file runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import fabloom

pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]
SIDE = 24
SHORT = {
    "model": {"steps": 2, "batch": 4, "network": "{channels: [8, 8, 8], norm_groups: 4}"}, "found": {"steps": 1},
    "pairs": {"steps": 1, "false_alarms": 0.9, "min_area": 1, "reach": 1.0, "outline": 0.9}, "bank": {"entries": 64, "folds": 2},
    "report": {"resamples": 100},
}  # fmt: skip
"""Settings that make a run short, whatever it then finds."""


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def places(folder: Path, size: tuple[int, int] = (SIDE, SIDE), **counts: int) -> Path:
    """Images of places that have nothing in common, some of each folder; all but clean ones have a spot."""
    for name, count in counts.items():
        for number in range(count):
            draw = np.random.default_rng([len(name), number, len(folder.name)])
            pixels = 90 + 60 * (draw.random((size[0] // 4 + 1, size[1] // 4 + 1)) < 0.4).repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
            pixels = pixels + draw.normal(0, 3, size)
            if name != "clean":
                top, left = draw.integers(2, min(size) - 8, 2)
                pixels[top : top + 6, left : left + 6] = 240
            put(folder / name / f"{number:03}.png", pixels)
    return folder


def shortened(steps: dict[str, Any]) -> list[str]:
    found = [f"steps.{name}.params.{field}={value}" for name, given in SHORT.items() if name in steps for field, value in given.items()]
    return [word for one in found for word in ("--set", one)]


def test_images_of_other_places_are_learned_from_by_which_have_a_defect_and_the_file_runs(cli: Cli, tmp_path: Path) -> None:
    folder = places(tmp_path / "places", clean=143, defect=144)
    done = cli("init", folder)
    assert done.code == 0, done.err
    told = (
        "registered: no",
        "truth: no masks",
        "as in the pipeline weak-labels",
        "--masks FOLDER",
        "limits: where defects lie nobody checks",
    )
    for words in (*told, "100 clean and 101 defect images are learned from", "figures are of 2,000 of each"):
        assert words in done.out
    assert "truth: no masks" in Path("pipeline.yaml").read_text()
    steps = yaml.safe_load(Path("pipeline.yaml").read_text())["steps"]
    ready = yaml.safe_load((Path(fabloom.flows.__path__[0]) / "pipelines" / "weak-labels.yaml").read_text())["steps"]
    assert {name: (step["task"], step.get("inputs")) for name, step in steps.items()} == {
        name: (step["task"], step.get("inputs")) for name, step in ready.items()
    }
    ran = cli("run", "pipeline.yaml", "--store", tmp_path / "store", "--engine", "inline", "--json", *shortened(steps))
    assert ran.code == 0, ran.err
    store = fabloom.open_store(tmp_path / "store")
    made = {name: store.get(step["key"]) for name, step in ran.json["steps"].items()}
    assert len(made["found"]) == 86 and not made["found"].attrs["seen"] and (np.asarray(made["pairs"].masks) > 0).any((1, 2)).all()
    assert {"icddm", "memory-bank", "mean brightness"} <= made["report"].metrics.keys()


def test_registered_images_masks_and_a_word_of_the_user_keep_their_better_way(cli: Cli, tmp_path: Path) -> None:
    folder = places(tmp_path / "places", clean=143, defect=143)
    done = cli("init", folder, "--structure", "registered", "--json")
    assert done.code == 0 and done.json["pipeline"]["steps"]["labelled"]["task"] == "reference-difference.label", done.err
    for path in (folder / "defect").iterdir():
        put(folder / "masks" / "defect" / path.name, 255 * (np.asarray(Image.open(path)) > 200))
    done = cli("init", folder, "-o", "masked.yaml", "--json")
    assert done.code == 0 and "unet.train" in {step["task"] for step in done.json["pipeline"]["steps"].values()}, done.err


def test_class_folders_are_one_defect_and_another_folder_is_scored_on(cli: Cli, tmp_path: Path) -> None:
    folder, other = places(tmp_path / "kinds", clean=100, open=50, bridge=50), places(tmp_path / "later", clean=3, bridge=3)
    done = cli("init", folder, "--test", other, "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["others"]["params"]["path"] == str(other) and steps["model"]["inputs"] == {"images": "images"}
    assert steps["report"]["inputs"]["images"] == "others" and "train" not in steps
    assert any(text == "classes: bridge, open are learned as one, a defect or none" for text in done.json["chosen"])
    assert cli("plan", "pipeline.yaml").code == 0


@pytest.mark.parametrize(
    ("size", "options", "tile"),
    [((40, 56), [], None), ((50, 100), [], 48), ((200, 200), [], 96), ((256, 256), [], 128), ((64, 64), ["--tile", "32"], 32)],
)
def test_squares_have_sides_that_the_network_halves_and_cover_most(
    cli: Cli, tmp_path: Path, size: tuple[int, int], options: list[str], tile: int | None
) -> None:
    done = cli("init", places(tmp_path / "places", size, clean=143, defect=143), *options, "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["images"]["params"].get("tile") == tile
    assert steps["model"].get("params", {}).get("batch", 32) * (tile or 48) ** 2 <= 1 << 17
    said = next(text for text in done.json["chosen"] if text.startswith("crops"))
    assert ("Each counts as its image does" in said) == (tile is not None) and ("rows" in said) == (size in ((50, 100), (200, 200)))


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((12, 40), ["--structure", "free"], "takes 16 px a side, where one has 12: give larger images"),
        ((640, 640), [], "of 25 squares of 128 px few would show the defect of their image (up to 16 were tried). Cut parts"),
        ((SIDE, SIDE), ["--tile", "20"], "--tile 20: give a multiple of 8 from 16 to 24"),
        ((50, 50), ["--tile", "0"], "--tile 0: whole images"),
        ((SIDE, SIDE), ["--test", "same"], "--test same: the images do not show the same place"),
        ((SIDE, SIDE), ["--generator", "sinsemi"], "--generator sinsemi: the images do not show the same place"),
    ],
)
def test_what_cannot_be_learned_so_is_refused(cli: Cli, tmp_path: Path, size: tuple[int, int], options: list[str], words: str) -> None:
    done = cli("init", places(tmp_path / "places", size, clean=9, defect=9), *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert not Path("pipeline.yaml").exists()


def test_too_few_are_refused_by_what_is_left_to_learn_from(cli: Cli, tmp_path: Path) -> None:
    folder = places(tmp_path / "places", clean=141, defect=160)
    done = cli("init", folder)
    assert done.code == 2 and "there are 99 clean and 112 with a defect, three of ten held out" in done.err and "--masks FOLDER" in done.err
    assert cli("init", folder, "--test", places(tmp_path / "others", clean=3, defect=3)).code == 0, "nothing of it is held out"


def test_a_test_folder_of_one_kind_is_refused(cli: Cli, tmp_path: Path) -> None:
    folder = places(tmp_path / "places", clean=143, defect=143)
    done = cli("init", folder, "--test", places(tmp_path / "calm", clean=3))
    assert done.code == 2 and "--test " in done.err and "both clean images and ones with a defect" in done.err
    done = cli("init", folder, "--test", places(tmp_path / "large", (48, 48), clean=3, defect=3))
    assert done.code == 2 and "the size of those to learn from" in done.err
