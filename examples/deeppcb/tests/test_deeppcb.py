"""The contract, crops and masks of a small synthetic board, and one error for everything that is wrong with a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fabloom_deeppcb.layout import CLASSES, find_pairs
from fabloom_deeppcb.marking import differing
from fabloom_deeppcb.method import DeepPcb
from PIL import Image

from fabloom import DataError, ImageSet
from fabloom.testing import MemoryStore, MethodConformance, run_task

SIZE = 64
PAIRS = 4
BOXES = [(20, 20, 36, 32, 6), (44, 2, 60, 14, 5)]
"""A pin-hole in copper and a spot of copper on bare board, each with a margin as in the real set."""


def board(seed: int, *, defects: bool, moved: int = 0) -> np.ndarray:
    """uint8 [64,64]: a plate of copper (black) whose size depends on the seed; a hole and a spot if there are defects."""
    image = np.full((SIZE, SIZE), 255, np.uint8)
    image[16 + moved : 40 + moved, 4 + moved : 41 + seed] = 0
    if defects:
        image[24:28, 26:31] = 255
        image[6:10, 50:55] = 0
    return image


def write_pairs(folder: Path, pairs: int = PAIRS, moved: int = 0) -> Path:
    """Pairs 00000000, 00000001, ...; `moved` shifts the copper of the tested images, in pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(pairs):
        name = f"{index:08d}"
        for ending, defects in (("temp", False), ("test", True)):
            picture = Image.fromarray(board(index, defects=defects, moved=moved if defects else 0))
            picture.save(folder / f"{name}_{ending}.jpg", quality=98)
        (folder / f"{name}.txt").write_text("".join(f"{' '.join(map(str, box))}\n" for box in BOXES))
    return folder


class TestContract(MethodConformance):
    method = DeepPcb
    params: ClassVar[dict[str, Any]] = {}

    def task_params(self, task: str, folder: Path) -> Mapping[str, Any]:
        return {"folder": str(write_pairs(folder)), "crop": 32, "mask": "difference", "templates": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "boards")


Load = Callable[..., ImageSet]


@pytest.fixture
def load(fabloom_memory_store: MemoryStore, folder: Path) -> Load:
    def run(**params: Any) -> ImageSet:
        made = run_task(fabloom_memory_store, DeepPcb, "load", {"folder": str(folder), "crop": SIZE, **params})
        assert isinstance(made, ImageSet)
        return made

    return run


def test_whole_images(load: Load) -> None:
    made = load(stride=1)
    assert made.images.shape == (PAIRS, 1, SIZE, SIZE) and made.class_names == list(CLASSES)
    for index in range(PAIRS):
        wanted = board(index, defects=True)
        assert np.abs(made.images[index, 0].astype(int) - wanted).max() < 30, "JPEG blurs a little"
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for x1, y1, x2, y2, _ in BOXES:
        mask[y1:y2, x1:x2] = 1
    assert made.masks is not None and (made.masks[:] == mask).all()
    assert made.attrs["boxes"] == 2 * PAIRS and made.attrs["pairs"] == PAIRS


def test_a_grid_of_crops(load: Load) -> None:
    whole, cut = load(), load(crop=32)
    assert cut.masks is not None and cut.labels is not None and cut.domain is not None and whole.masks is not None
    origin = cut.array("origin")[:]
    assert origin[0].tolist() == [0, 0, 0, 0] and (origin[:, 3] == 0).all()
    for row, (pair, y, x, _) in enumerate(origin):
        window = (slice(y, y + 32), slice(x, x + 32))
        assert (cut.images[row, 0] == whole.images[pair, 0][window]).all()
        assert (cut.masks[row] == whole.masks[pair][window]).all()
    assert sorted(map(tuple, origin[:, :3])) == list(map(tuple, origin[:, :3])), "pair, row, column"
    labels = {tuple(place[:3]): int(label) for place, label in zip(origin, cut.labels[:], strict=True)}
    assert (labels[0, 0, 0], labels[0, 0, 32]) == (6, 5) and ((cut.labels[:] > 0) == cut.domain[:]).all()


def test_difference_masks_are_the_defects(load: Load) -> None:
    masks = load(mask="difference", tolerance=0).masks
    assert masks is not None
    for index, mask in enumerate(masks[:]):
        assert (mask == (board(index, defects=True) != board(index, defects=False))).all()


def test_a_tolerance_forgives_a_shift_and_keeps_the_defect(folder: Path, load: Load) -> None:
    write_pairs(folder, moved=2)
    strict, forgiving = (differing(board(0, defects=False), board(0, defects=True, moved=2), 128, t) for t in (0, 2))
    true = board(0, defects=True) != board(0, defects=False)
    assert (strict & ~true).sum() > 50 and not (forgiving & ~true).any() and (forgiving & true).sum() == true.sum()
    boxes = np.zeros_like(true)
    boxes[20:32, 20:36] = boxes[2:14, 44:60] = True
    masks = load(mask="difference").masks
    assert masks is not None and not masks[0][~boxes].any() and masks[0].any()


def test_templates_are_clean(load: Load) -> None:
    made = load(templates=True)
    assert made.domain is not None and made.labels is not None
    assert made.domain[:].tolist() == [1, 0] * PAIRS == (made.labels[:] > 0).tolist()
    assert made.array("origin")[:, 3].tolist() == [0, 1] * PAIRS
    assert np.abs(made.images[1, 0].astype(int) - board(0, defects=False)).max() < 30


def test_parts_share_no_pair_and_no_crop(load: Load) -> None:
    parts = {part: load(part=part, crop=32, stride=16, test_every=2, templates=True) for part in ("all", "train", "test")}
    pixels = {part: [one.tobytes() for one in made.images[:]] for part, made in parts.items()}
    assert set(pixels["all"]) == {*pixels["train"], *pixels["test"]} and not set(pixels["train"]) & set(pixels["test"])
    assert len(set(pixels["all"])) == len(pixels["all"]) == len(pixels["train"]) + len(pixels["test"]), "no crop twice"
    assert {*parts["test"].array("origin")[:, 0].tolist()} <= {1, 3} and {*parts["train"].array("origin")[:, 0].tolist()} == {0, 2}
    everything = PAIRS * 2 * 9
    assert len(pixels["all"]) < everything, "blank board is repeated, and left out"


def test_the_folders_of_the_archive(folder: Path, load: Load, fabloom_memory_store: MemoryStore, tmp_path: Path) -> None:
    nested = tmp_path / "archive" / "group00000"
    for path in sorted(folder.iterdir()):
        target = nested / ("00000_not" if path.suffix == ".txt" else "00000") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / "archive" / "trainval.txt").write_text("../../secret.jpg ../../secret.txt\n")
    made = run_task(fabloom_memory_store, DeepPcb, "load", {"folder": str(tmp_path / "archive"), "crop": SIZE})
    assert made.digest == load().digest


def spoil(folder: Path, how: str) -> None:
    first = folder / "00000001.txt"
    if how.startswith("text:"):
        first.write_text("20 20 36 32 6\n" + how.removeprefix("text:") + "\n")
    elif how.startswith("without:"):
        (folder / how.removeprefix("without:")).unlink()
    elif how == "large":
        Image.fromarray(np.zeros((SIZE, SIZE + 1), np.uint8)).save(folder / "00000002_test.jpg")
    elif how == "empty text":
        first.write_text("\n")
    elif how == "binary text":
        first.write_bytes(b"\xff\xfe1")
    elif how == "no jpeg":
        Image.fromarray(board(0, defects=True)).save(folder / "00000001_test.jpg", format="PNG")
    elif how == "cut short":
        path = folder / "00000001_test.jpg"
        path.write_bytes(path.read_bytes()[:-400])
    elif how == "cmyk":
        Image.new("CMYK", (SIZE, SIZE)).save(folder / "00000001_test.jpg")
    elif how == "strange name":
        (folder / "00000001_test.jpg").rename(folder / "00000001.jpg")
    elif how == "empty":
        for path in folder.iterdir():
            path.unlink()


WRONG = {
    "without:00000001_temp.jpg": ("00000001_test.jpg", "template 00000001_temp.jpg is missing"),
    "without:00000001_test.jpg": ("00000001_temp.jpg", "tested image 00000001_test.jpg is missing"),
    "without:00000001.txt": ("00000001_test.jpg", "boxes 00000001.txt are missing"),
    "text:20 20 36 32": ("00000001.txt:2: ", "'x1 y1 x2 y2 class'"),
    "text:20,20,36,32,6": ("00000001.txt:2: ", "whole numbers"),
    "text:20 20 36 32.5 6": ("00000001.txt:2: ", "whole numbers"),
    "text:-1 20 36 32 6": ("00000001.txt:2: ", "whole numbers"),
    "text:" + "9" * 5000 + " 20 36 32 6": ("00000001.txt:2: ", "whole numbers"),
    "text:20 20 36 32 7": ("00000001.txt:2: ", "no class 7", "6 pin-hole"),
    "text:20 20 36 32 0": ("00000001.txt:2: ", "no class 0"),
    "text:36 20 20 32 6": ("00000001.txt:2: ", "is empty"),
    "text:20 20 65 32 6": ("00000001.txt:2: ", "leaves the image of 64 x 64"),
    "text:20 20 36 999 6": ("00000001.txt:2: ", "leaves the image"),
    "empty text": ("00000001.txt: ", "holds no box"),
    "binary text": ("00000001.txt: ", "cannot be read as text"),
    "large": ("00000002_test.jpg", "65 x 64", "00000000_temp.jpg"),
    "no jpeg": ("00000001_test.jpg", "cannot be read as a JPEG"),
    "cut short": ("00000001_test.jpg", "cut short"),
    "cmyk": ("00000001_test.jpg", "CMYK"),
    "strange name": ("00000001.jpg", "NAME_temp.jpg or NAME_test.jpg"),
    "empty": ("no images NAME_temp.jpg and NAME_test.jpg",),
}


@pytest.mark.parametrize("how", WRONG, ids=lambda how: how[:40])
def test_one_error_for_a_broken_folder(folder: Path, load: Load, how: str) -> None:
    spoil(folder, how)
    with pytest.raises(DataError) as caught:
        load()
    for words in WRONG[how]:
        assert words in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"crop": 65}, "hold no crop of 65"),
        ({"part": "test", "test_every": 9}, "lower `test_every`"),
    ],
)
def test_settings_that_do_not_fit(load: Load, params: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(**params)


def test_a_box_without_a_difference_is_told(folder: Path, load: Load) -> None:
    spoil(folder, "text:8 28 12 34 1")
    assert load().attrs["boxes"] == 2 * PAIRS, "a box alone is believed"
    with pytest.raises(DataError, match=r"00000001\.txt:2: nothing in the box differs .* set mask=boxes"):
        load(mask="difference")


def test_an_annotation_without_images_is_told_and_other_texts_are_not(folder: Path, load: Load) -> None:
    plain = load().digest
    (folder / "LICENSE.txt").write_text("MIT")
    (folder / ".00000009.txt").write_text("hidden")
    assert load().digest == plain
    (folder / "00000009.txt").write_text("1 1 2 2 1\n")
    with pytest.raises(DataError, match="00000009_temp"):
        load()


def test_links_that_lead_out_are_refused(folder: Path, load: Load, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    (folder / "00000001.txt").rename(outside)
    (folder / "00000001.txt").symlink_to(outside)
    with pytest.raises(DataError, match="leads out"):
        load()
    with pytest.raises(DataError, match="leads out"):  # also where nobody planned: the files may have changed since
        find_pairs(folder)


def test_same_bytes_in_another_place_are_the_same_set(folder: Path, load: Load, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load(folder=str(copy)).key == load().key
    with (copy / "00000003.txt").open("a") as file:
        file.write("1 1 9 9 1\n")
    assert load(folder=str(copy)).key != load().key
    os.utime(folder / "00000003.txt")
    assert load().attrs["boxes"] == 2 * PAIRS
