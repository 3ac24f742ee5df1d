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

import fabloom
from fabloom.flows.init import expecting
from fabloom.plugins.blocks.pyramid import scale_sizes
from fabloom.plugins.blocks.scale_params import steps_by_size
from fabloom.plugins.one_shot.sinsemi.params import FINER, STEPS
from fabloom.precision import memory

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
        (lambda f: clean_and_defect(f, shift=5, seen="spots"), [], "takes 100 of each kind, and there are 4 clean and 4 with a defect"),
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
        "too few for weak labels",
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


def test_in_large_frames_real_defects_are_pasted_where_diffusion_would_lose_them(cli: Cli, tmp_path: Path) -> None:
    clean, defect = (np.tile(picture(7, False)[0], (6, 6)) for _ in range(2))
    defect[60:66, 100:108] = 255
    for folder, name, pixels in (("own", "a", clean), ("own", "b", defect), ("others", "c", clean), ("others", "d", defect[::-1])):
        kind = "defect" if name in "bd" else "clean"
        put(tmp_path / folder / kind / f"{name}.png", pixels)
    done = cli("init", tmp_path / "own", "--test", tmp_path / "others", "--structure", "registered", "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["generator"] == {"task": "copy-paste.train", "inputs": {"images": "labelled"}} and steps["synthetic"]["params"] == {
        "count": 50
    }
    done = cli("init", tmp_path / "own", "--test", "same", "--tile", "0", "--generator", "sinsemi", "-o", "asked.yaml", "--json")
    assert done.code == 0 and done.json["pipeline"]["steps"]["generator"]["task"] == "sinsemi.train", done.err


@pytest.mark.parametrize("defects", [1, 3])
def test_with_a_folder_to_score_on_the_generator_gets_one_image_of_all_that_are_there(cli: Cli, tmp_path: Path, defects: int) -> None:
    folder, other = clean_and_defect(tmp_path / "own", clean=2, defect=defects), clean_and_defect(tmp_path / "others", 2, 2)
    done = cli("init", folder, "--test", other, "--generator", "sinsemi", "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    one = "labelled" if defects == 1 else "one"
    assert steps["generator"]["inputs"] == {"images": one} and steps["quality"]["inputs"]["reference"] == one
    assert defects == 1 or steps["one"]["params"] == {"defects": 1, "clean": None}
    begin = {**done.json["pipeline"], "steps": {name: steps[name] for name in ("images", "labelled", one)}}
    drawn = fabloom.run(begin, store=tmp_path / "store")[one]
    assert sorted(drawn.domain[...]) == [0, 0, 1]


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


def kinds(folder: Path, clean: int, **named: int) -> Path:
    """Folders clean/ and one for each class, with images that differ from those of other folders."""
    for at, (name, count) in enumerate({"clean": clean, **named}.items()):
        for number in range(count):
            pixels, _ = picture(1000 * len(folder.name) + 100 * at + number, name != "clean")
            put(folder / name / f"{name}{number}.png", pixels)
    return folder


def test_a_test_folder_of_classes_is_told_apart_too(cli: Cli, tmp_path: Path) -> None:
    folder, other = kinds(tmp_path / "kinds", 6, bridge=4, open=4), kinds(tmp_path / "tests", 3, open=2, scratch=2)
    done = cli("init", folder, "--test", other, "--json")
    assert done.code == 0, done.err
    steps = done.json["pipeline"]["steps"]
    assert steps["classed"]["inputs"] == {"images": "labelled"} and steps["segmenter"]["inputs"]["images"] in ("classed", "varied")
    assert steps["others_classed"] == {"task": "images.class_masks", "inputs": {"images": "others_labelled"}}
    assert steps["report"]["inputs"]["images"] == "others_classed"
    assert any(text.endswith("no image to learn from is of class scratch") for text in done.json["chosen"])
    ran = cli("run", "pipeline.yaml", "--store", tmp_path / "store", "--engine", "inline", "--json", *quick(steps))
    assert ran.code == 0, ran.err
    report = fabloom.open_store(tmp_path / "store").get(ran.json["steps"]["report"]["key"])
    assert [row[:2] for row in report.tables["Defects by class"].rows] == [["open", 2], ["scratch", 2]]


def quick(steps: dict[str, Any]) -> list[str]:
    """Settings that make a run short, whatever it then finds."""
    fast = {"segmenter": {"steps": 1, "decoder_channels": "[8,8,8]"}, "report": {"resamples": 100, "shifts": "[]"}, "varied": {"count": 32}}
    found = [f"steps.{name}.params.{field}={value}" for name, given in fast.items() if name in steps for field, value in given.items()]
    return [word for one in found for word in ("--set", one)]


def test_a_test_folder_without_classes_is_scored_without_them(cli: Cli, tmp_path: Path) -> None:
    folder, other = kinds(tmp_path / "kinds", 6, bridge=4, open=4), tmp_path / "others"
    for number in range(3):
        put(other / f"{number}.png", picture(number + 900, True)[0])
    done = cli("init", folder, "--test", other)
    assert done.code == 2 and f"--test {other}, read as the images to learn from are (a folder for each class): " in done.err
    done = cli("init", folder, "--test", kinds(tmp_path / "calm", 3), "--json")
    assert done.code == 0, done.err
    assert "others_classed" not in done.json["pipeline"]["steps"]
    assert any(text.endswith("none are told, so the report counts its defects without them") for text in done.json["chosen"])


@pytest.mark.parametrize("lack", ["masks", "size", "colour"])
def test_a_test_folder_that_does_not_fit_is_refused_at_once(cli: Cli, tmp_path: Path, lack: str) -> None:
    one, other = (masked if lack == "masks" else clean_and_defect)(tmp_path / "one"), tmp_path / "other"
    clean_and_defect(other, 2, 2)
    for path in other.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        put(path, {"masks": pixels, "size": np.tile(pixels, (2, 2)), "colour": pixels[..., None] * np.uint8([1, 0, 0])}[lack])
    if lack == "masks":
        for path in list(other.rglob("*.png")):
            path.rename(other / f"{path.parent.name}{path.name}")
        for name in ("clean", "defect"):
            (other / name).rmdir()
    done = cli("init", one, "--test", other)
    words = {"masks": "4 of 4 images have no mask", "size": "images are of 96 x 96, those to learn from of 48 x 48", "colour": "is grey"}
    assert done.code == 2 and f"--test {other}: " in done.err and words[lack] in done.err and not Path("pipeline.yaml").exists()


def test_times_to_expect_follow_what_was_timed_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = memory.machine("cpu")
    unknown = expecting.generator_seconds(3000, 200, 96, 96)
    assert unknown == pytest.approx(3000 * expecting.STEP + 200 * expecting.looked_at(96, 96) * expecting.PIXEL)
    assert expecting.core() == "one CPU core" and expecting.segmenter_seconds(2_000_000) == pytest.approx(2 * expecting.MEGAPIXEL)
    told = {}
    for name, factor, seconds in (("slow", 0.5, 3.0), ("bf16", 2.0, 1.0), ("wrong", 0.5, 1e3), ("older", 0.5, None)):
        memory.remember(here, factor, None if seconds is None else seconds * expecting.CONVOLUTION)
        told[name] = expecting.generator_seconds(3000, 200, 96, 96) / unknown
    assert told == {"slow": pytest.approx(3), "bf16": pytest.approx(0.5), "wrong": 1, "older": 1}
    memory.remember(here, 0.5, expecting.CONVOLUTION)
    assert expecting.core() == "one core of this machine"


def test_a_sample_costs_what_the_scales_of_the_method_have_to_be_looked_at() -> None:
    for side in (96, 224, 512, 1024):
        sizes = scale_sizes((side, side), 3000, 1.4)
        steps = steps_by_size(STEPS, sizes[:1]) + steps_by_size(FINER, sizes[1:])
        exact = sum(h * w * n for (h, w), n in zip(sizes, steps, strict=True))
        assert expecting.looked_at(side, side) == pytest.approx(exact, rel=0.2)


def test_an_image_that_no_annotation_names_is_refused_with_the_option_that_says_what_it_is(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "annotated"
    pixels, _ = picture(1, True)
    for name in ("clean.png", "bridge.png"):
        put(folder / name, pixels)
    shape = {"label": "defect", "points": [[2, 2], [6, 2], [6, 6]], "shape_type": "polygon"}
    (folder / "bridge.json").write_text(
        json.dumps({"shapes": [shape], "imagePath": "bridge.png", "imageHeight": pixels.shape[0], "imageWidth": pixels.shape[1]})
    )
    refused = cli("init", folder)
    assert refused.code == 2 and "'clean.png' is in no annotation" in refused.err and "--load unlisted=clean" in refused.err
    assert cli("init", folder, "--load", "unlisted=clean", "--test", "same").code == 0
