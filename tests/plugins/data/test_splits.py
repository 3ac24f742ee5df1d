"""Folders of real SEM images: train/, val/ and test/, their lots, data bars below the images, and stretched grey levels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fabloom.errors import DataError
from fabloom.plugins.data.images.infobar import bar_height, clear_bar
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.images.params import LoadParams
from fabloom.plugins.data.sem_etch.params import SimulateParams
from fabloom.plugins.data.sem_etch.stage import EtchStage

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def load(run_task: Any) -> Any:
    return lambda path, **params: run_task(Images, "load", {"path": str(path), **params})


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def levels(number: int, bits: int = 8) -> np.ndarray:
    draw = np.random.default_rng(number)
    return draw.normal(0.5 * 2**bits, 0.05 * 2**bits, (24, 20)).astype(np.uint8 if bits == 8 else np.uint16)


def tree(folder: Path, *, classes: bool = True, masks: bool = True, bits: int = 8) -> Path:
    """Two images of each domain on each side, W1 and W2 in train, W3 in val, W4 in test, which has masks."""
    for side, wafers in (("train", (1, 2)), ("val", (3,)), ("test", (4,))):
        for number, wafer in enumerate((*wafers, *wafers)[:2]):
            save(folder / f"{side}/clean/W{wafer}_c{number}.png", levels(10 * wafer + number, bits))
            kind = f"{('bridge', 'gap')[number]}/" if classes else ""
            save(folder / f"{side}/defect/{kind}W{wafer}_d{number}.png", levels(10 * wafer + 5 + number, bits))
            if side == "test" and masks:
                mask = np.zeros((24, 20), np.uint8)
                mask[4 + number : 8, 5:9] = 255
                save(folder / f"test/masks/W{wafer}_d{number}.png", mask)
    return folder


@pytest.mark.parametrize("bits", [8, 16])
def test_a_side_is_read_with_its_classes_and_masks(load: Any, tmp_path: Path, bits: int) -> None:
    folder = tree(tmp_path / "sem", bits=bits)
    test = load(folder, split="test")
    assert test.attrs["layout"] == "splits"
    assert test.source_names == [f"test/clean/W4_c{n}.png" for n in (0, 1)] + ["test/defect/bridge/W4_d0.png", "test/defect/gap/W4_d1.png"]
    assert test.class_names == ["clean", "bridge", "gap"] and test.labels[:].tolist() == [0, 0, 1, 2]
    assert test.domain[:].tolist() == [0, 0, 1, 1]
    assert [int((mask > 0).sum()) for mask in test.masks[:]] == [0, 0, 16, 12] and set(np.unique(test.masks[2])) == {0, 1}
    train, val = load(folder, split="train"), load(folder, split="val")
    assert train.masks is None and train.labels[:].tolist() == [0, 0, 1, 2] and len(val.images) == 4
    if bits == 8:
        np.testing.assert_array_equal(test.images[0, 0], levels(40))
    else:
        low, high = test.attrs["grey_low"], test.attrs["grey_high"]
        wanted = np.rint(((levels(40, 16) - low) / (high - low)).clip(0, 1) * 255)
        np.testing.assert_array_equal(test.images[0, 0], wanted)


def test_classes_mean_the_same_on_every_side(load: Any, tmp_path: Path) -> None:
    folder = tree(tmp_path / "sem", masks=False)
    (folder / "val/defect/bridge/W3_d0.png").unlink()
    val = load(folder, split="val")
    assert val.class_names == ["clean", "bridge", "gap"] and val.labels[:].tolist() == [0, 0, 2]
    both = load(folder)
    assert len(both.images) == 11 and both.masks is None and both.source_names[0].startswith("train/")


def test_domains_alone_need_no_classes(load: Any, tmp_path: Path) -> None:
    test = load(tree(tmp_path / "sem", classes=False), split="test")
    assert test.labels is None and test.domain[:].tolist() == [0, 0, 1, 1] and [int(m.any()) for m in test.masks[:]] == [0, 0, 1, 1]


def refused(load: Any, folder: Path, *words: str, **params: Any) -> None:
    with pytest.raises(DataError) as caught:
        load(folder, **params)
    told = str(caught.value)
    assert "\n" not in told and all(word in told for word in words), told


def test_what_is_in_doubt_is_refused(load: Any, tmp_path: Path) -> None:
    folder = tree(tmp_path / "sem")
    refused(load, folder, "W1_d0.png' has no mask", "split: test")
    save(folder / "test/defect/gap/W4_more.png", levels(1))
    refused(load, folder, "no mask of its name", split="test")
    assert len(load(folder, split="test", unlisted="skip").images) == 4
    (folder / "test/defect/gap/W4_more.png").rename(folder / "test/defect/W4_more.png")
    refused(load, folder, "right in defect/", "W4_more", split="test", unlisted="skip")
    (folder / "test/defect/W4_more.png").unlink()
    save(folder / "test/masks/W4_none.png", levels(1))
    refused(load, folder, "mask 'W4_none.png' has no image of its name", split="test")
    (folder / "test/masks/W4_none.png").unlink()
    save(folder / "more/clean/a.png", levels(1))
    refused(load, folder, "no layout fits", "'more' is none of train, val, test", split="test")
    refused(load, tree(tmp_path / "other"), "layout mvtec does not fit", layout="mvtec", split="test")
    (tmp_path / "good").mkdir()
    save(tmp_path / "good/train/good/a.png", levels(1))
    refused(load, tmp_path / "good", "train, which holds LOCO's validation", split="val")


def test_a_lot_on_two_sides_is_refused_whichever_side_is_asked_for(load: Any, tmp_path: Path) -> None:
    folder = tree(tmp_path / "sem")
    lots = {"split": "train", "lot": r"^(W\d+)_"}
    assert len(load(folder, **lots).images) == 4
    save(folder / "test/clean/W2_late.png", levels(99))
    refused(load, folder, "lot 'W2' is in", "train/clean/W2_c1.png", "test/clean/W2_late.png", **lots)
    assert len(load(folder, split="train").images) == 4, "a control: without `lot` nobody knows"
    refused(load, folder, "finds no lot in 'W", split="train", lot="^LOT")
    refused(load, folder / "train/clean", "lot has no meaning for layout flat", lot="^W")


def bar(ground: int, ink: int, rows: int, *, border: bool = False) -> np.ndarray:
    """What a microscope writes below an image: numbers and a scale."""
    strip = Image.new("L", (WIDTH, rows), ground)
    pen = ImageDraw.Draw(strip)
    pen.text((3, rows // 2 - 5), "15.0kV x100k", fill=ink)
    pen.line((90, rows // 2, 120, rows // 2), fill=ink, width=2)
    if border:
        pen.rectangle((0, 0, WIDTH - 1, rows - 1), outline=ink)
    return np.asarray(strip)


@cache
def sem(index: int) -> np.ndarray:
    params = SimulateParams(size=WIDTH, pitch=(12, 20), defect_share=0.0)
    return EtchStage(params).draw(0, index).image[:HEIGHT]


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (40, 220), (150, 20)])
@pytest.mark.parametrize("border", [False, True])
def test_a_bar_is_found_to_the_row(ground: int, ink: int, border: bool) -> None:
    for rows in (14, 20, 29):
        for index in range(4):
            pixels = np.concatenate([sem(index), bar(ground, ink, rows, border=border)])
            assert bar_height(pixels[..., None]) == rows, (rows, index)
            assert bar_height(np.stack([pixels] * 3, -1).astype(np.uint16) * 257) == rows
            assert bar_height(pixels[:HEIGHT, :, None]) == 0, "a control: the same image without it"


def test_what_is_no_bar_is_left() -> None:
    noiseless = EtchStage(
        SimulateParams(size=64, patterns=("lines",), dose=None, noise_std=0, jitter=0, charging=0, defect_share=0, ler=(0, 0))
    )
    assert not any(bar_height(noiseless.draw(0, index).image[..., None]) for index in range(20))
    plain = np.concatenate([sem(0), np.zeros((20, WIDTH), np.uint8)])
    assert bar_height(plain[..., None]) == 0, "an even band without writing may be the sample"
    assert bar_height(np.concatenate([sem(0)[:30], bar(0, 255, 29)])[..., None]) == 0, "half of the image"
    assert bar_height(np.zeros((40, 40, 1), np.uint8)) == 0


def test_a_bar_is_clear_where_all_images_have_the_same_and_it_begins_at_once() -> None:
    barred = [np.concatenate([sem(index), bar(0, 255, 20)])[..., None] for index in range(4)]
    assert clear_bar(barred) == 20
    assert clear_bar([*barred, sem(4)[..., None]]) == 0, "one without"
    assert clear_bar([*barred, np.concatenate([sem(4), bar(0, 255, 14)])[..., None]]) == 0, "one with another"
    ragged = []
    for index in range(4):
        part = sem(index)[-6:].copy()
        part[:, WIDTH // 2 :] = 0
        ragged.append(np.concatenate([sem(index)[:-6], part, bar(0, 255, 20)])[..., None])
    assert {bar_height(one) for one in ragged} == {20}, "ground with writing, as at the foot of a wafer,"
    assert clear_bar(ragged) == 0, "that begins by and by may be the sample"


def test_bars_are_cut_off_and_told(load: Any, tmp_path: Path, run_task: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "sem"
    for index in range(3):
        save(folder / f"{index}.png", np.concatenate([sem(index), bar(20, 230, 18)]))
    found = load(folder, info_bar=True)
    assert found.images.shape == (3, 1, HEIGHT, WIDTH) and found.attrs["info_bar_rows"] == 18
    np.testing.assert_array_equal(found.images[1, 0], sem(1))
    np.testing.assert_array_equal(found.images[:], load(folder, crop_bottom=18).images[:])
    save(folder / "3.png", np.concatenate([sem(3), sem(0)[:2], bar(20, 230, 16)]))
    refused(load, folder, "'0.png' has 18 rows, that of '3.png' 16", info_bar=True)
    save(folder / "3.png", np.concatenate([sem(3), sem(0)[:18]]))
    refused(load, folder, "3.png: no info bar is seen", "crop_bottom", info_bar=True)
    with pytest.raises(ValueError, match="two ways to cut"):
        LoadParams.model_validate({"path": str(folder), "info_bar": True, "crop_bottom": 4})


def test_eight_bits_are_stretched_where_it_is_asked_for(load: Any, tmp_path: Path) -> None:
    folder = tmp_path / "sem"
    for number in range(4):
        save(folder / f"{number}.png", levels(number))
    stretched, as_stored = (load(folder, stretch=stretch, grey_percentiles=[0.5, 99.5]) for stretch in (True, False))
    stored = np.stack([levels(number) for number in range(4)]).astype(float)
    low, high = np.percentile(stored, [0.5, 99.5], method="inverted_cdf")
    assert (stretched.attrs["grey_low"], stretched.attrs["grey_high"]) == (low, high)
    np.testing.assert_array_equal(stretched.images[:, 0], np.rint(((stored - low) / (high - low)).clip(0, 1) * 255))
    np.testing.assert_array_equal(as_stored.images[:, 0], stored)
    fixed = load(folder, stretch=True, grey_range=[0, 510])
    np.testing.assert_array_equal(fixed.images[:, 0], np.rint(stored / 2))
