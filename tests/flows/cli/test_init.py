"""`fabloom init`: what it finds in folders drawn here, what it chooses, what it refuses, and that the file runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]
Y, X = np.mgrid[:48, :48]


def picture(seed: int, defect: bool, shift: int = 0, seen: str = "holes") -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """An image [48,48] with noise and the mask of its defect: an array of holes, or spots at places of its own."""
    draw = np.random.default_rng(seed)
    if seen == "holes":
        image = 150.0 - 80 * (np.hypot(Y % 12 - 6, X % 12 - 6) < 3.5)
    else:
        image = 150.0 - 80 * (draw.random((12, 12)) < 0.3).repeat(4, 0).repeat(4, 1)
    mask = np.zeros((48, 48), bool)
    if defect:
        top, left = draw.integers(4, 36, 2)
        mask[top : top + 6, left : left + 6] = True
        image = np.where(mask, 230.0, image)
    image, mask = (np.roll(one, draw.integers(-shift, shift + 1, 2), (0, 1)) for one in (image, mask))
    return (image + draw.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8), mask


def put(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def clean_and_defect(folder: Path, clean: int = 6, defect: int = 6, **how: Any) -> Path:
    for number in range(clean + defect):
        pixels, _ = picture(number, number >= clean, **how)
        put(folder / ("defect" if number >= clean else "clean") / f"{number:02}.png", pixels)
    return folder


def masked(folder: Path, count: int = 8, **how: Any) -> Path:
    for number in range(count):
        pixels, mask = picture(number, number % 2 == 1, **how)
        put(folder / f"{number:02}.png", pixels)
        put(folder / "masks" / f"{number:02}.png", mask.astype(np.uint8) * 255)
    return folder


def test_registered_images_are_labelled_by_difference_and_the_file_runs(cli: Cli, tmp_path: Path) -> None:
    folder = clean_and_defect(tmp_path / "my holes")
    done = cli("init", folder)
    assert done.code == 0, done.err
    for words in ("6 clean (50%), 6 with a defect (50%)", "an array with a period of 12.0 px", "registered: yes", "Next:    fabloom run"):
        assert words in done.out
    written = yaml.safe_load(Path("pipeline.yaml").read_text())
    steps = written["steps"]
    assert written["name"] == "my-holes" and steps["labelled"]["task"] == "reference-difference.label"
    assert steps["train"]["params"] == {"part": "train"} and steps["test"]["params"] == {"part": "test"}
    assert {name: steps["varied"]["params"][f"{name}_step"] for name in ("shift_x", "shift_y")} == {"shift_x": 12, "shift_y": 12}
    assert steps["segmenter"]["params"]["augment"]["flip_x"] is True and "generator" not in steps
    quick = [
        "steps.segmenter.params.steps=6",
        "steps.segmenter.params.batch=4",
        "steps.varied.params.count=48",
        "steps.report.params.resamples=100",
    ]
    ran = cli("run", "pipeline.yaml", "--engine", "inline", "--json", *(word for one in quick for word in ("--set", one)))
    assert ran.code == 0, ran.err
    assert Path(ran.json["report_path"]).is_file()
    again = cli("run", "pipeline.yaml", "--engine", "inline", *(word for one in quick for word in ("--set", one)))
    trained = ran.json["steps"]["segmenter"]["key"]
    assert f"Next: fabloom predict {trained[:12]} FOLDER" in again.err and "IoU" in again.err.partition("Report: ")[2]


def test_a_folder_that_is_not_there_is_told_before_the_file_that_is(cli: Cli) -> None:
    Path("pipeline.yaml").touch()
    done = cli("init", "nowhere")
    assert done.code == 2 and "'nowhere' does not exist" in done.err


def test_own_masks_win_and_json_tells_what_was_found(cli: Cli, tmp_path: Path) -> None:
    done = cli("init", masked(tmp_path / "spots", seen="spots"), "-o", "spots.yaml", "--json")
    assert done.code == 0, done.err
    found = done.json["found"]
    assert (found["images"], found["masks"], found["clean"], found["defect"], found["extent"]) == (8, 8, 4, 4, 6)
    assert found["structure"]["likeness"] < 0.5
    tasks = [step["task"] for step in done.json["pipeline"]["steps"].values()]
    assert tasks == ["images.load", "images.split", "images.split", "unet.train", "unet.evaluate"]
    assert yaml.safe_load(Path("spots.yaml").read_text())["steps"] == done.json["pipeline"]["steps"]


def in_colour(folder: Path) -> None:
    """Green maps with red defects of the same mean."""
    for number in range(6):
        pixels = np.full((48, 48, 3), (0, 150, 30), np.uint8)
        pixels[:4] = 0
        if number > 2:
            pixels[number * 5 : number * 5 + 6, 8:20] = (150, 0, 30)
        put(folder / ("defect" if number > 2 else "clean") / f"{number}.png", pixels)


@pytest.mark.parametrize(
    ("draw", "options", "words"),
    [
        (lambda f: clean_and_defect(f, shift=5, seen="spots"), [], "do not show the same"),
        (lambda f: clean_and_defect(f, defect=0), [], "no defect to learn from"),
        (lambda f: clean_and_defect(f, clean=0), [], "--masks FOLDER, or clean images"),
        (lambda f: clean_and_defect(f, defect=1), [], "--test FOLDER"),
        (in_colour, [], "in colour alone"),
        (clean_and_defect, ["--structure", "free"], "--structure registered"),
        (clean_and_defect, ["--generator", "singan-x"], "--generator singan-x: is no one-shot method"),
        (clean_and_defect, ["--tile", "64"], "--tile 64 does not fit"),
        (lambda f: masked(f, seen="spots"), ["--generator", "sinsemi"], "not registered"),
        (lambda f: [put(f / f"{n}.png", picture(n, False)[0]) for n in range(3)], [], "nothing says which of the 3 images are clean"),
        (lambda f: f.mkdir(), [], "no images"),
        (lambda f: None, [], "does not exist"),
    ],
    ids=[
        "unregistered",
        "all clean",
        "all defect",
        "one defect",
        "colour",
        "free",
        "method",
        "tile",
        "generator",
        "unsorted",
        "empty",
        "missing",
    ],
)
def test_what_is_unsure_is_refused_with_the_option_that_decides(
    cli: Cli, tmp_path: Path, draw: Callable[[Path], Any], options: list[str], words: str
) -> None:
    folder = tmp_path / "folder"
    draw(folder)
    done = cli("init", folder, *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert not Path("pipeline.yaml").exists()


def test_nothing_is_overwritten_and_json_says_what_was_refused(cli: Cli, tmp_path: Path) -> None:
    Path("pipeline.yaml").write_text("mine")
    done = cli("init", clean_and_defect(tmp_path / "holes"))
    assert done.code == 2 and "not overwritten" in done.err and Path("pipeline.yaml").read_text() == "mine"
    done = cli("init", clean_and_defect(tmp_path / "bad", defect=1), "-o", "other.yaml", "--json")
    assert done.code == 2 and done.json["found"]["defect"] == 1 and "--test" in done.json["refused"] and not Path("other.yaml").exists()


def test_one_pair_is_scored_on_its_variations_where_that_is_asked_and_a_generator_joins(cli: Cli, tmp_path: Path) -> None:
    folder = clean_and_defect(tmp_path / "pair", clean=1, defect=1)
    done = cli("init", folder, "--test", "same", "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["generator"]["task"] == "sinsemi.train" and steps["test"]["task"] == "images.augment" and steps["test"]["seed"] == 1
    assert steps["report"]["inputs"] == {"images": "test", "model": "segmenter", "baseline": "baseline"}
    assert steps["both"]["inputs"]["images"] == ["varied", "synthetic_labelled"]
    assert cli("plan", "pipeline.yaml").code == 0


def test_pairs_are_asked_for_and_held_against_their_own_references(cli: Cli, tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path / "boards" / f"b{number}_temp.png", picture(number, False, seen="spots")[0])
        put(tmp_path / "boards" / f"b{number}_test.png", picture(number, number > 0, seen="spots")[0])
    done = cli("init", tmp_path / "boards")
    assert done.code == 2 and "--layout flat" in done.err and "--layout pairs" in done.err
    done = cli("init", tmp_path / "boards", "--layout", "pairs", "--json")
    assert done.code == 0, done.err
    assert done.json["found"]["references"] == 4
    assert done.json["pipeline"]["steps"]["labelled"] == {"task": "reference-difference.label", "inputs": {"images": "images"}}
    assert done.json["pipeline"]["steps"]["generator"]["params"] == {"anchor": "reference"}
    assert done.json["pipeline"]["steps"]["synthetic_labelled"]["inputs"] == {"images": "synthetic"}, "they have their references"


def test_the_data_bar_is_cut_off_and_a_folder_of_others_is_scored_on(cli: Cli, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        for number in range(4):
            pixels, mask = picture(number + len(folder), number % 2 == 1, seen="spots")
            put(tmp_path / folder / f"{number}.png", np.concatenate([pixels, np.full((8, 48), 255, np.uint8)]))
            put(tmp_path / folder / "masks" / f"{number}.png", np.pad(mask, ((0, 8), (0, 0))).astype(np.uint8) * 255)
    done = cli("init", tmp_path / "one", "--load", "crop_bottom=8", "--test", tmp_path / "other", "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert done.json["found"]["sizes"][0]["height"] == 48 and steps["images"]["params"]["crop_bottom"] == 8
    assert steps["others"]["params"] == {**steps["images"]["params"], "path": str(tmp_path / "other")}
    assert steps["segmenter"]["inputs"]["images"] == "images" and steps["report"]["inputs"]["images"] == "others"
    done = cli("init", tmp_path / "one", "-o", "p.yaml", "--load", "crop_botom=8")
    assert done.code == 2 and "crop_botom" in done.err
    assert cli("init", tmp_path / "one", "-o", tmp_path / "nowhere" / "p.yaml").code == 2


def test_what_clean_images_hold_too_is_no_defect(cli: Cli, tmp_path: Path) -> None:
    for number in range(12):
        draw = np.random.default_rng(number)
        dies = np.where(np.hypot(*(np.mgrid[:16, :16] - 7.5)) < 7.5, 200, 0)
        dies[tuple(draw.integers(5, 11, (2, 2)))] = 60
        if number > 5:
            dies[3:8, 9:13] = 60
        put(tmp_path / "maps" / ("defect" if number > 5 else "clean") / f"{number}.png", dies.repeat(3, 0).repeat(3, 1).astype(np.uint8))
    done = cli("init", tmp_path / "maps", "--json")
    assert done.code == 0, done.err
    spots, rule = done.json["found"]["spots"], done.json["pipeline"]["steps"]["labelled"]["params"]
    assert 9 <= spots <= 36 and rule["min_circularity"] == 0 and spots < rule["min_area"] < 180


def test_large_frames_are_cut_to_learn_from(cli: Cli, tmp_path: Path) -> None:
    for number in range(4):
        pixels, mask = picture(number, True, seen="spots")
        put(tmp_path / "big" / f"{number}.png", np.tile(pixels, (24, 24)))
        put(tmp_path / "big" / "masks" / f"{number}.png", np.tile(mask, (24, 24)).astype(np.uint8) * 255)
    done = cli("init", tmp_path / "big", "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["segmenter"]["params"]["crop"] == 128 and steps["segmenter"]["inputs"] == {"images": "train"}
    assert steps["test_squares"]["params"] == {"size": 512} and steps["report"]["inputs"]["images"] == "test_squares"
    assert cli("plan", "pipeline.yaml").code == 0
    assert json.dumps(done.json["found"]["sizes"]) == '[{"height": 1152, "width": 1152, "images": 4}]'


def test_folders_of_classes_are_told_apart_by_the_network_where_there_are_enough(cli: Cli, tmp_path: Path) -> None:
    folder = clean_and_defect(tmp_path / "kinds", 6, 8)
    for number, path in enumerate(sorted((folder / "defect").iterdir())):
        put(folder / ("open" if number % 2 else "bridge") / path.name, np.asarray(Image.open(path)))
        path.unlink()
    (folder / "defect").rmdir()
    done = cli("init", folder, "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["classed"] == {"task": "images.class_masks", "inputs": {"images": "labelled"}}
    assert steps["train"]["inputs"] == steps["test"]["inputs"] == {"images": "classed"}
    assert any(text.startswith("classes: bridge, open, every defect that of its image") for text in done.json["chosen"])
    generated = cli("init", folder, "--json", "--generator", "sinsemi", "-o", "other.yaml").json
    assert "classed" not in generated["pipeline"]["steps"] and any("generated images are of no class" in t for t in generated["chosen"])
