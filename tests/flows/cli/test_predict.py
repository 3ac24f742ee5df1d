"""`fabloom predict`: from a folder of images to masks, overlays and tables by the names of the images."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.flows.export.gallery import SHOWN, Gallery
from fabloom.flows.export.images import Categories
from fabloom.flows.export.predictions import OUTLINE, described, overlay
from fabloom.flows.export.tables import check
from fabloom.flows.run.as_trained import as_trained
from fabloom.kinds import ImageSet, Model
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.unet.method import UNet
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task, write_artifact

pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]
NAMES = ["a.png", "wafer 7 [die 3].png", "=cmd.png", "über.png"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model, Any]:
    """A store, a segmenter in it, and four images of defects that it has not seen."""
    folder = tmp_path_factory.mktemp("predict")
    store = LocalStore(folder / "store")
    learned = run_task(store, LinePair, "simulate", {"count": 48, "size": 32})
    model = run_task(store, UNet, "train", {"decoder_channels": [16, 8, 8], "steps": 120, "batch": 16}, inputs={"images": learned})
    fresh = run_task(store, LinePair, "simulate", {"count": 16, "size": 32}, seed=9)
    return folder / "store", model, fresh


@pytest.fixture
def folder(trained: Any, tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    fresh = trained[2]
    for name, row in zip(NAMES, np.flatnonzero(fresh.domain[...])[:4], strict=True):
        Image.fromarray(fresh.images[int(row)][0]).save(tmp_path / "images" / name)
    return tmp_path / "images"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_a_folder_becomes_masks_overlays_and_tables(trained: Any, folder: Path, cli: Cli, tmp_path: Path) -> None:
    store, model, _ = trained
    done = cli("predict", model.key[:10], folder, "-o", tmp_path / "out", "--store", store, "--json")
    assert done.code == 0, done.err
    out = tmp_path / "out"
    images, defects = table(out / "images.csv"), table(out / "defects.csv")
    assert sorted(row["file"] for row in images) == sorted(NAMES)
    coco = json.loads((out / "annotations.json").read_text())
    assert {one["file_name"] for one in coco["images"]} == set(NAMES)
    assert done.json["found"] == {"images": 4, "with defects": sum(int(row["defects"]) > 0 for row in images), "defects": len(defects)}
    assert len(defects) == len(coco["annotations"]) > 0
    page = (out / "index.html").read_text(encoding="utf-8")
    links = [unquote(link) for link in re.findall('src="([^"]*)"', page)]
    assert sorted(links) == sorted(f"overlays/{Path(row['mask']).name}" for row in images)
    for row in images:
        mask = np.asarray(Image.open(out / row["mask"]))
        own = [one for one in defects if one["file"] == row["file"]]
        assert set(np.unique(mask)) <= {0, 255} and int((mask > 0).sum()) == int(row["area"]) == sum(int(one["area"]) for one in own)
        assert len(own) == int(row["defects"])
        for one in own:
            x, y, width, height = (int(one[side]) for side in ("x", "y", "width", "height"))
            assert 4 <= int(one["area"]) <= width * height and mask[y : y + height, x : x + width].any()
            assert 0.5 < float(one["score"]) <= float(row["score"]) <= 1
        overlay = np.asarray(Image.open(out / "overlays" / Path(row["mask"]).name))
        coloured = (overlay[..., 0] != overlay[..., 1]).any()
        assert f"<b>{row['file']}</b><br>{row['defects']} defect" in page and row["score"] in page
        assert overlay.shape == (416, 416, 3) and mask.shape == (32, 32) and coloured == bool(own)


def test_parquet_and_klarf_say_what_csv_says(trained: Any, folder: Path, cli: Cli, tmp_path: Path) -> None:
    from pyarrow import parquet

    store, model, _ = trained
    plain = cli("predict", model.key, folder, "-o", tmp_path / "csv", "--store", store)
    more = ["--table", "parquet", "--klarf", "1.2", "--pixel-nm", 2.5, "--klarf-field", "lot=A17", "--min-area", 4]
    done = cli("predict", model.key, folder, "-o", tmp_path / "parquet", "--store", store, *more)
    assert plain.code == done.code == 0, done.err
    assert not list((tmp_path / "parquet").glob("*.csv"))
    for name in ("images", "defects"):
        typed = parquet.read_table(tmp_path / "parquet" / f"{name}.parquet").to_pylist()
        lines = table(tmp_path / "csv" / f"{name}.csv")
        told = [{column: str(value) for column, value in row.items() if not column.startswith("die_")} for row in typed]
        assert told == lines and len(lines) > 0
        assert {row["class"] for row in typed if row.get("defects", 1)} == {"defect"}
    text = (tmp_path / "parquet" / "defects.klarf").read_text()
    assert text.startswith("FileVersion 1 2;") and 'LotID "A17";' in text
    listed = [line.split() for line in text.partition("DefectList\n")[2].partition(";")[0].splitlines()]
    dies = {row["file"]: (row["die_x"], row["die_y"]) for row in parquet.read_table(tmp_path / "parquet" / "images.parquet").to_pylist()}
    found = parquet.read_table(tmp_path / "parquet" / "defects.parquet").to_pylist()
    assert len(listed) == len(found) and len(set(dies.values())) == 4
    for row, one in zip(listed, found, strict=True):
        assert (int(row[3]), int(row[4])) == dies[one["file"]]
        assert float(row[1]) == pytest.approx((one["x"] + one["width"] / 2) * 2.5e-3)
        assert float(row[2]) == pytest.approx((32 - one["y"] - one["height"] / 2) * 2.5e-3)


def test_parquet_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'fabloom\[parquet\]'"):
        check("parquet")
    check("csv")


def test_a_higher_threshold_finds_no_more(trained: Any, folder: Path, cli: Cli, tmp_path: Path) -> None:
    store, model, _ = trained
    areas = {}
    for threshold in (0.05, 0.5, 0.99):
        out = tmp_path / str(threshold)
        done = cli("predict", model.key, folder, "-o", out, "--store", store, "--threshold", threshold, "--min-area", 1)
        assert done.code == 0, done.err
        areas[threshold] = sum(int(row["area"]) for row in table(out / "images.csv"))
    assert areas[0.05] > areas[0.5] > areas[0.99]


def test_what_cannot_be_predicted_gives_one_line_and_leaves_nothing(trained: Any, folder: Path, cli: Cli, tmp_path: Path) -> None:
    store, model, fresh = trained
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for words, arguments in {
        "is of kind ImageSet": [fresh.key, folder, "-o", tmp_path / "out"],
        "is no empty folder": [model.key, folder, "-o", tmp_path / "full"],
        "is a file": [model.key, folder, "-o", tmp_path / "full" / "mine.txt" / "x"],
        "--grey-range": [model.key, folder, "-o", tmp_path / "out", "--grey-range", 9, 3],
        "does not exist": [model.key, tmp_path / "nowhere", "-o", tmp_path / "out"],
        "no artifact or ref": ["0123456789", folder, "-o", tmp_path / "out"],
        "--threshold": [model.key, folder, "-o", tmp_path / "out", "--threshold", "1.5"],
        "'xlsx' is not known": [model.key, folder, "-o", tmp_path / "out", "--table", "xlsx"],
        "--pixel-nm": [model.key, folder, "-o", tmp_path / "out", "--klarf", "1.2"],
        "'1.5' is not": [model.key, folder, "-o", tmp_path / "out", "--klarf", "1.5", "--pixel-nm", 2],
        "--klarf-field": [model.key, folder, "-o", tmp_path / "out", "--klarf", "1.8", "--pixel-nm", 2, "--klarf-field", "slot=a"],
        "say which": [model.key, folder, "-o", tmp_path / "out", "--pixel-nm", 2],
        "--klarf-dies": [model.key, folder, "-o", tmp_path / "out", "--klarf", "1.8", "--pixel-nm", 2, "--klarf-dies", tmp_path / "no.csv"],
    }.items():
        done = cli("predict", *arguments, "--store", store)
        assert done.code == 2 and words in done.err and "Traceback" not in done.err, (words, done.err)
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def barred(folder: Path, fresh: Any, deep: bool = False) -> Path:
    """Images of defects with a data bar of 12 rows below them, which is brighter than a defect; perhaps of 16 bits."""
    folder.mkdir()
    for name, row in zip(NAMES, np.flatnonzero(fresh.domain[...])[:4], strict=True):
        bar = np.zeros((12, 32), np.uint8)
        bar[4:8, 2:30:3] = 255
        pixels = np.concatenate([fresh.images[int(row)][0], bar])
        Image.fromarray(pixels.astype(np.uint16) * 16 + 100 if deep else pixels).save(folder / name)
    return folder


@pytest.mark.parametrize("deep", [False, True])
def test_new_images_are_read_as_those_of_the_training(trained: Any, cli: Cli, tmp_path: Path, deep: bool) -> None:
    """The bar is cut off again, and 16 bits get the same levels; unless one says otherwise."""
    store, _, fresh = trained
    folder = barred(tmp_path / "images", fresh, deep)
    opened = LocalStore(store)
    read = {"path": str(folder), "info_bar": True, **({"grey_range": (100, 100 + 255 * 16)} if deep else {})}
    loaded = run_task(opened, Images, "load", read)
    masked = run_task(opened, UNet, "segment", {}, inputs={"images": loaded, "model": trained[1]})
    elsewhere = write_artifact(opened, lambda ctx: ImageSet.write(ctx, loaded.images[...], masks=masked.masks[...]))
    params = {"decoder_channels": [16, 8, 8], "steps": 2, "batch": 4, "accept_clean": True}
    for name, images, words in (("as trained", masked, []), ("whole", masked, ["--load", "info_bar=false"]), ("unknown", elsewhere, [])):
        model = run_task(opened, UNet, "train", params, inputs={"images": images})
        done = cli("predict", model.key, folder, "-o", tmp_path / name, "--store", store, *words)
        assert done.code == 0, done.err
        masks = {np.asarray(Image.open(path)).shape for path in (tmp_path / name / "masks").iterdir()}
        assert masks == {(32, 32) if name == "as trained" else (44, 32)}
        assert ("as those that the model learned from: info_bar=true" in " ".join(done.err.split())) == (name == "as trained")
        assert ("grey_range=[100.0, 4180.0]" in done.err) == (deep and name != "unknown")


def test_training_images_that_were_read_in_two_ways_are_refused_until_one_is_said(trained: Any, cli: Cli, tmp_path: Path) -> None:
    store, _, fresh = trained
    folder = barred(tmp_path / "images", fresh)
    opened = LocalStore(store)
    cut, whole = (run_task(opened, Images, "load", {"path": str(folder), "crop_bottom": rows}) for rows in (12, 0))
    manifests = {one.key: opened.manifest(one.key) for one in (cut, whole)}

    class Both:
        """A store in which a model was made from both."""

        def lineage(self, key: str) -> Any:
            return manifests

        def get(self, key: str) -> Any:
            return opened.get(key)

    said: list[Any] = []
    with pytest.raises(UserError, match="crop_bottom=0 and crop_bottom=12: say with --load crop_bottom=VALUE"):
        as_trained(Both(), cut.key, {}, said.append)  # type: ignore[arg-type]
    assert as_trained(Both(), cut.key, {"crop_bottom": 12}, said.append) == {} and not said  # type: ignore[arg-type]


def test_deep_images_are_mapped_by_the_range_that_is_given(trained: Any, folder: Path, cli: Cli, tmp_path: Path) -> None:
    """The same wafer in 8 and in 16 bits has the same defects; by its own extremes it may not, and the log says so."""
    store, model, _ = trained
    (tmp_path / "deep").mkdir()
    for path in folder.iterdir():
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 16 + 100).save(tmp_path / "deep" / path.name)
    for name, source, more in [
        ("plain", folder, []),
        ("given", tmp_path / "deep", ["--grey-range", 100, 100 + 255 * 16]),
        ("own", tmp_path / "deep", []),
    ]:
        done = cli("predict", model.key, source, "-o", tmp_path / name, "--store", store, *more)
        assert done.code == 0, done.err
        assert ("grey_range" in done.err) == ("Note: these images map" in " ".join(done.out.split())) == (name == "own")
        assert ("<b>Note:</b> these images map" in (tmp_path / name / "index.html").read_text()) == (name == "own")
    for row in table(tmp_path / "plain" / "images.csv"):
        masks = [np.asarray(Image.open(tmp_path / name / row["mask"])) for name in ("plain", "given")]
        np.testing.assert_array_equal(*masks)


def test_a_defect_has_its_own_largest_score_not_that_of_another_in_its_box() -> None:
    mask, scores = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.float16)
    mask[0, :5] = mask[:5, 0] = 1
    mask[3:5, 3:5] = 1
    scores[0, 2], scores[3, 3], scores[5, 5] = 0.5, 0.75, 1
    found = list(described(Categories(["defect"], None, False), 0, mask, scores))
    assert [(one["bbox"], one["score"], one["category_id"]) for one in found] == [([3, 3, 2, 2], 0.75, 1), ([0, 0, 5, 5], 0.5, 1)]


@pytest.mark.parametrize(("size", "factor"), [((96, 70), 5), ((100, 3), 4), ((300, 401), 1), ((1, 400), 1)])
def test_an_overlay_of_a_small_image_is_enlarged_by_a_whole_factor(size: tuple[int, int], factor: int) -> None:
    pixels, mask = np.random.default_rng(0).integers(0, 255, (1, *size), np.uint8), np.zeros(size, np.uint8)
    drawn = np.asarray(overlay(pixels, mask))
    np.testing.assert_array_equal(drawn[::factor, ::factor, 0], pixels[0])
    assert drawn.shape == (size[0] * factor, size[1] * factor, 3) and (drawn[:factor, :factor] == pixels[0, 0, 0]).all()
    mask[-1, :2] = 1
    marked = np.asarray(overlay(pixels, mask))
    lines = (marked == OUTLINE).all(2)
    inside = np.kron(mask, np.ones((factor, factor), np.uint8)) > 0
    assert lines.any() and not lines[inside].any() and (marked[inside] == drawn[inside]).all()


def test_the_page_shows_defects_first_in_bounds_and_trusts_no_name(tmp_path: Path) -> None:
    page = Gallery()
    for row in range(SHOWN):
        page.add(f"clean {row}", f"overlays/clean {row}.png", 0, 0.125)
        page.add(f"sure {row}", f"overlays/sure {row}.png", 0, 0.001)
    page.add("nearly", "overlays/nearly.png", 0, 0.5)
    page.add("<script>alert('1')</script>\udcff", 'overlays/a"#?.png', 1, 0.75)
    page.add("plain", "overlays/b.png", 2, None, ["defect", "defect"])
    page.add("told", "overlays/c.png", 3, None, ["open", "<b>", "open"])
    page.write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text.count("<figure>") == SHOWN and f"3 of {2 * SHOWN + 4} images have defects. The others follow" in text
    assert "<b>told</b><br>3 defects (open, &lt;b&gt;)<" in text
    assert f"The first {SHOWN} are shown." in text and text.index("<b>nearly</b>") < text.index("<b>clean 0</b>")
    assert (
        text.index("&lt;script&gt;")
        < text.index("<b>plain</b><br>2 defects<")
        < text.index("<b>clean 0</b><br>no defects, largest score 0.125")
    )
    assert "<script" not in text and 'src="overlays/a%22%23%3F.png"' in text and "1 defect, largest score 0.75" in text
    assert f"clean {SHOWN - 4}<" not in text and f"clean {SHOWN - 5}<" in text and "sure" not in text
