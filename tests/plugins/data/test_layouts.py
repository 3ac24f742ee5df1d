"""Layouts of folders: found by names and annotations alone, read right or refused with one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from fabloom.errors import DataError
from fabloom.plugins.data.images import layout, survey
from fabloom.plugins.data.images.annotations.klarf import read_klarf
from fabloom.plugins.data.images.layout import find
from fabloom.plugins.data.images.method import Images

ROOT = Path(__file__).parents[3]
RAMP = np.arange(16 * 12, dtype=np.uint8).reshape(16, 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def load(run_task: Any) -> Any:
    return lambda path, **params: run_task(Images, "load", {"path": str(path), **params})


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def png(path: Path, pixels: Any = RAMP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def refused(load: Any, path: Path, *words: str, **params: Any) -> None:
    with pytest.raises(DataError) as caught:
        load(path, **params)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from layouts import measure

    return measure


def test_a_part_of_the_matrix_is_right_or_refused(measure: Any, tmp_path: Path) -> None:
    """Every 16th case of `benchmarks/layouts.py`, which writes the folders and shares nothing with the reader."""
    verdicts = measure(tmp_path, every=16, seed=5)
    odd = [(v.case.name, v.outcome, v.why) for v in verdicts if v.outcome not in ("right", "refused", "told")]
    assert not odd and len(verdicts) >= 55
    assert sum(v.outcome == "right" for v in verdicts) >= 40 and sum(v.outcome == "refused" for v in verdicts) >= 8


def test_the_matrix_sees_what_is_wrong(measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: a reader that turns masks over or is off by 8 levels is silent, and counted so."""
    from fabloom.plugins.data.images import grey, loading, masking

    def outcomes(word: str) -> set[str]:
        (tmp_path / word).mkdir()
        return {v.outcome for v in measure(tmp_path / word, only=word)}

    with monkeypatch.context() as broken:
        broken.setattr(masking, "turn", lambda pixels, _: pixels[::-1])
        assert outcomes("mvtec, masks L-") == {"silent"}

    def off(*given: Any, **more: Any) -> Any:
        pixels, low, high = grey.one_range(*given, **more)
        return [one ^ 8 for one in pixels], low, high

    with monkeypatch.context() as broken:
        broken.setattr(loading, "one_range", off)
        assert outcomes("klarf-1.8 of bmp8") == {"silent"}
    assert outcomes("klarf-1.8 of npy8") == {"right"}


LAYOUTS: dict[str, tuple[str, ...]] = {
    "flat": ("a.png", "b.jfif", "masks/a.png", "masks/b.png", "notes.txt"),
    "domains": ("clean/a.png", "defect/b.png"),
    "classes": ("bridge/a.png", "good/b.png", "open/c.png"),
    "splits": ("train/clean/0.png", "train/defect/bridge/1.png", "test/clean/2.png", "test/defect/gap/3.png"),
    "mvtec": ("train/good/0.png", "test/good/1.png", "test/bent/2.png", "ground_truth/bent/2_mask.png"),
    "pairs": ("test/1.png", "test/2.png", "template/1.png", "template/2.png"),
    "voc": ("JPEGImages/a.png", "SegmentationClass/a.png"),
    "loco": ("train/good/0.png", "validation/good/1.png", "test/bent/2.png", "ground_truth/bent/2/000.png", "ground_truth/bent/2/001.png"),
    "yolo": ("images/a.png", "images/b.png", "labels/a.txt", "labels/b.txt", "train.txt"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_found_by_names_alone(folder: Path, layout: str) -> None:
    found = find(touch(folder, *LAYOUTS[layout]))
    assert found.fit is not None, found.why
    assert (found.layout, found.why, found.fit.problem) == ({"loco": "mvtec"}.get(layout, layout), "", None)
    assert found.fit.params["layout"] == found.layout and found.fit.images == len(found.fit.names)
    if layout == "flat":
        assert found.fit.skipped == ("notes.txt",) and found.fit.masks == 2
    if layout == "classes":
        assert found.fit.classes == {"bridge": 1, "good": 1, "open": 1} and "clean_class: good" in found.fit.notes[0]
        assert not found.fit.clean_known
    if layout == "splits":
        assert found.fit.class_names == ("clean", "bridge", "gap") and found.fit.classes == {"clean": 2, "bridge": 1, "gap": 1}
        touch(folder, "test/masks/3.png")  # of one side alone: which one is a choice
        assert "split: test" in str(find(folder).fit.problem) and find(folder, split="test").fit.masks == 1
    if layout == "mvtec":
        assert found.fit.class_names == ("clean", "bent") and found.fit.classes == {"clean": 2, "bent": 1} and found.fit.masks == 1
    if layout == "loco":
        assert found.fit.classes == {"clean": 2, "bent": 1} and found.fit.masks == 1 and not found.fit.skipped
    if layout == "yolo":
        assert found.fit.classes == {"clean": 2} and found.fit.annotations == 2 and found.fit.skipped == ("train.txt",)
    if layout == "pairs":
        assert found.fit.references == ("template/1.png", "template/2.png")


def test_every_layout_has_a_name_that_init_says() -> None:
    assert set(survey.LAYOUT) == set(layout.LAYOUTS)


@pytest.mark.parametrize(("box", "outside"), [("0.1 0.5 0.4 0.2", "-0.1"), ("0.9 0.5 0.4 0.2", "1.1"), ("0.5 0.95 0.2 0.4", "1.15")])
def test_a_yolo_box_that_leaves_the_image_is_refused_on_every_side(folder: Path, load: Any, box: str, outside: str) -> None:
    png(folder / "images/a.png")
    (folder / "labels").mkdir()
    (folder / "labels/a.txt").write_text(f"0 {box}\n")
    (folder / "classes.txt").write_text("bridge\n")
    refused(load, folder, "labels/a.txt, line 1", outside, "lies outside of 0 to 1", layout="yolo", boxes="fill")


def test_several_layouts_are_a_choice(folder: Path, load: Any) -> None:
    touch(folder, "1_test.png", "1_temp.png", "2_test.png", "2_temp.png")
    found = find(folder)
    assert found.layout is None and [fit.layout for fit in found.fits] == ["flat", "pairs"] and "flat or pairs" in found.why
    assert found.fits[1].params == {"layout": "pairs", "test": "{name}_test.png", "reference": "{name}_temp.png"}
    refused(load, folder, "flat or pairs", "layout: flat")
    assert find(folder, layout="pairs").layout == "pairs"
    (folder / "2_temp.png").unlink()
    assert find(folder).layout == "flat"  # names with a word, but no pairs


def test_finding_decodes_and_loads_nothing(folder: Path) -> None:
    touch(folder, *LAYOUTS["mvtec"])
    code = f"import sys; from fabloom.plugins.data.images.layout import find; print(find({str(folder)!r}).layout, *sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told[0] == "mvtec" and not {"numpy", "torch", "PIL", "tifffile"} & set(told)


def test_a_folder_of_several_data_sets_names_its_parts(folder: Path, load: Any) -> None:
    touch(folder, "bottle/train/good/0.png", "cable/train/good/0.png")
    refused(load, folder, "no layout fits", "bottle/train", "one deeper")


def test_an_option_of_another_layout_is_refused(folder: Path, load: Any) -> None:
    png(folder / "a.png")
    for option, value in (("split", "test"), ("view", 2), ("boxes", "fill"), ("clean_class", "ok"), ("annotations", "x.json")):
        refused(load, folder, f"{option} has no meaning for layout flat", **{option: value})
    refused(load, folder, "classes names values of masks", classes=["bridge"])
    refused(load, folder, "invert_masks", invert_masks=True)
    refused(load, folder, "layout mvtec does not fit", "train/good", layout="mvtec")


def test_real_pairs_give_references(folder: Path, load: Any, data_dir: Path) -> None:
    for name in ("00041000", "00041001"):
        for word in ("test", "temp"):
            shutil.copy(data_dir / "deeppcb" / f"{name}_{word}.jpg", folder)
    made = load(folder, layout="pairs", tile=320)
    assert made.images.shape == made.references.shape == (8, 1, 320, 320) and made.source_names == [
        "00041000_test.jpg",
        "00041001_test.jpg",
    ]
    apart = np.abs(made.images[...].astype(int) - made.references[...]) > 100
    assert 0 < apart.mean() < 0.02  # the same boards, but for their defects
    with Image.open(folder / "00041001_temp.jpg") as template:
        np.testing.assert_array_equal(made.references[5, 0], np.asarray(template.convert("L"))[:320, 320:])


def test_pairs_may_have_lists_of_boxes(folder: Path, load: Any) -> None:
    for name in ("a", "b"):
        png(folder / f"{name}_test.png")
        png(folder / f"{name}_temp.png")
    (folder / "a.txt").write_text("2 3 6 5 1\n0,0,1,1\n")
    (folder / "b.txt").write_text("")
    asked = {"test": "{name}_test.png", "reference": "{name}_temp.png", "box_lists": "{name}.txt"}
    made = load(folder, **asked)
    drawn = np.zeros(made.masks.shape[1:], np.uint8)
    drawn[3:5, 2:6], drawn[0, 0] = 1, 1
    np.testing.assert_array_equal(made.masks[0], drawn)
    assert made.domain[...].tolist() == [1, 0] and made.references is not None
    for text, words in (("1 2 3", "has 3 words"), ("5 5 5 9", "a box from 5, 5 to 5, 9"), ("1 1 x 4", "'x' is no coordinate")):
        (folder / "b.txt").write_text(text)
        refused(load, folder, "b.txt, line 1", words, **asked)
    (folder / "b.txt").unlink()
    refused(load, folder, "b.txt: is not in the folder", **asked)
    refused(load, folder, "is not in the folder", **asked | {"box_lists": "../folder/{name}.txt"})
    refused(load, folder, "box_lists has no meaning for layout flat", layout="flat", box_lists="{name}.txt")
    with pytest.raises(ValueError, match=r"wants \{name\} once"):
        load(folder, **asked | {"box_lists": "boxes.txt"})
    (folder / "b.txt").write_text("")
    png(folder / "masks" / "a.png")
    refused(load, folder, "names a second truth", **asked)


def test_tiles_keep_class_only_where_its_mask_is(folder: Path, load: Any) -> None:
    mask = np.zeros((16, 12), np.uint8)
    mask[10, 2] = 255
    for name in ("train/good/0.png", "test/bent/1.png"):
        png(folder / name)
    png(folder / "ground_truth" / "bent" / "1_mask.png", mask)
    made = load(folder, tile=8, split="test")
    assert made.labels[...].tolist() == [0, 1] and made.class_names == ["clean", "bent"] and made.source_names == ["test/bent/1.png"]
    shutil.rmtree(folder / "ground_truth")
    refused(load, folder, "which tiles hold the defect", tile=8)
    assert load(folder, split="train").labels[...].tolist() == [0]


def test_masks_missing_in_mvtec_are_told(folder: Path, load: Any) -> None:
    for name in ("train/good/0.png", "test/bent/1.png", "test/bent/2.png"):
        png(folder / name)
    png(folder / "ground_truth" / "bent" / "1_mask.png", (RAMP > 100) * np.uint8(255))
    refused(load, folder, "test/bent/2.png", "2_mask", "unlisted: skip")
    assert load(folder, unlisted="skip").source_names == ["test/bent/1.png", "train/good/0.png"]
    (folder / "test" / "bent" / "2.png").rename(folder / "aside.png")
    png(folder / "ground_truth" / "bent" / "9_mask.png", RAMP)
    refused(load, folder, "images outside of train/good", layout="mvtec")
    (folder / "aside.png").unlink()
    refused(load, folder, "9_mask.png", "has no image")


def test_masks_of_several_values_need_names(folder: Path, load: Any) -> None:
    for name, value in (("a", 1), ("b", 255)):
        png(folder / f"{name}.png")
        png(folder / "masks" / f"{name}.png", (RAMP > 150) * np.uint8(value))
    refused(load, folder, "b.png: marks by 255", "'a.png' by 1", "`classes`")
    made = load(folder, classes={"open": 255, "bridge": 1})
    assert made.class_names == ["clean", "bridge", "open"] and [int(mask.max()) for mask in made.masks[...]] == [1, 2]
    refused(load, folder, "holds the value 1", "has no name", classes={"open": 2})


@pytest.mark.parametrize("form", ["png", "coco"])
def test_what_is_exported_is_read_again(folder: Path, load: Any, store: Any, form: str) -> None:
    from fabloom.flows.export import export_artifact

    values = np.zeros((2, 16, 12), np.uint8)
    values[0, 2:4, 2:5], values[1, 8:12, 3:7], values[1, 0:2, 8:10] = 1, 2, 255
    for name, mask in zip("ab", values, strict=True):
        png(folder / f"{name}.png", RAMP + ord(name))
        png(folder / "masks" / f"{name}.png", mask)
    made = load(folder, classes=["bridge", "open"])
    export_artifact(store, made.key, folder.parent / "out", format=form)
    again = load(folder.parent / "out")
    np.testing.assert_array_equal(again.images[...], made.images[...])
    np.testing.assert_array_equal(again.masks[...], values)
    assert again.class_names == made.class_names == ["clean", "bridge", "open"]


def test_tags_of_cvat_are_labels(folder: Path, load: Any) -> None:
    for name in ("a", "b"):
        png(folder / f"{name}.png")
    images = '<image name="a.png"><tag label="ok"/></image><image name="b.png"><tag label="bent"/></image>'
    (folder / "all.xml").write_text(f"<annotations>{images}</annotations>")
    made = load(folder, clean_class="ok")
    assert made.labels[...].tolist() == [0, 1] and made.class_names == ["clean", "bent"] and made.masks is None
    assert made.domain[...].tolist() == [0, 1]


def test_boxes_of_voc_say_no_pixels(folder: Path, load: Any) -> None:
    png(folder / "JPEGImages" / "a.png")
    box = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>6</xmax><ymax>4</ymax></bndbox>"
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(
        f"<annotation><filename>a.png</filename><object><name>bent</name>{box}</object></annotation>"
    )
    refused(load, folder, "box without an outline", "'bent'", "boxes: labels")
    assert load(folder, boxes="labels").labels[...].tolist() == [1]
    wanted = np.zeros((16, 12), np.uint8)
    wanted[1:4, 2:6] = 1  # VOC counts from 1, and its last pixel belongs to the box
    np.testing.assert_array_equal(load(folder, boxes="fill").masks[0], wanted)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.xml",
            '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><annotations><image name="a.png"/></annotations>',
            ("document type",),
        ),
        ("a.xml", "<annotations>" + "<a>" * 100_000, ("64 elements",)),
        ("a.json", "[" * 200_000, ("JSON",)),
        (
            "a.json",
            '{"shapes": [{"label": "x", "shape_type": "linestrip", "points": [[0, 0], [1, 1]]}], "imagePath": "a.png"}',
            ("no area",),
        ),
        ("a.json", '{"shapes": [{"label": "x", "points": [[0, 0], [1, 1], [1e999, 2]]}], "imagePath": "a.png"}', ("no coordinate",)),
        ("a.json", '{"shapes": [], "imagePath": "/etc/b.png"}', ()),
        ("c.json", '{"shapes": [], "imagePath": "../../etc/b.png"}', ("is not in",)),
    ],
)
def test_documents_of_strangers_are_bounded(folder: Path, load: Any, name: str, content: str, words: tuple[str, ...]) -> None:
    png(folder / "a.png")
    (folder / name).write_text(content)
    if words:
        refused(load, folder, name, *words)
    else:
        assert load(folder).source_names == ["a.png"]  # the image beside it, whatever path it says


def test_runs_larger_than_memory_are_not_unpacked(folder: Path, load: Any) -> None:
    png(folder / "a.png")
    area = {"size": [1_000, 10_000], "counts": [0, 10_000_000]}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": area}],
    }
    (folder / "all.json").write_text(json.dumps(content))
    refused(load, folder, "reaches out of its 16 x 12 image")


STACK = """Record FileRecord "1.8" { Record LotRecord "L" { Record WaferRecord "07" {
  Field ImageFileName 2 {"LOT_1.I01", "TIF"}
  List DefectList { Columns 4 { int32 DEFECTID, int32 CLASSNUMBER, int32 IMAGECOUNT, ImageList Images }
    Data 3 { 1 7 2 Images 2 {1 "30",2 "31"} ; 2 9 2 Images 2 {3 "30",4 "31"} ; 3 9 0 Images 0 {} ; } } }
  List ClassLookupList { Columns 2 { int32 CLASSNUMBER, string CLASSNAME } Data 1 { 7 "Short; long, {wide}" ; } } } }
EndOfFile;"""


def test_a_klarf_with_a_stack_of_images(folder: Path, load: Any) -> None:
    (folder / "LOT_1.001").write_text(STACK)
    pages = np.stack([RAMP + 9 * k for k in range(4)])
    tifffile.imwrite(folder / "LOT_1.I01", pages, photometric="minisblack")
    said = read_klarf(folder / "LOT_1.001")
    assert said.version == "1.8" and said.classes == {7: "Short; long, {wide}"} and [len(d.pictures) for d in said.defects] == [2, 2, 0]
    made = load(folder)
    np.testing.assert_array_equal(made.images[:, 0], pages[[0, 2]])
    assert made.source_names == ["LOT_1.I01#1", "LOT_1.I01#3"] and made.class_names == ["Short; long, {wide}", "class 9"]
    np.testing.assert_array_equal(load(folder, view=2).images[:, 0], pages[[1, 3]])
    refused(load, folder, "none of its 3 defects has an image 3", view=3)
    assert load(folder, clean_class="class 9").domain[...].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("FileVersion 1 2;\nDefectList\n 1 2;\nEndOfFile;", "before any DefectRecordSpec"),
        ("FileVersion 1 2;\nDefectRecordSpec 2 DEFECTID XREL;\nDefectList\n 1;\nEndOfFile;", "1 values where DefectRecordSpec names 2"),
        ("FileVersion 1 2;\nDefectRecordSpec 3 DEFECTID IMAGECOUNT IMAGELIST;\nDefectList\n 1 2 5;EndOfFile;", "fewer than its 2 images"),
        (
            'Record FileRecord "1.8" { List DefectList { Columns 1 { int32 DEFECTID } Data 1 { 1 2; } } } EndOfFile;',
            "2 values where its Columns name 1",
        ),
        ('Record FileRecord "1.8" { Record LotRecord "x" { EndOfFile;', "does not hold together"),
        ("FileVersion 1 2;\nDefectRecordSpec 1 DEFECTID;\nDefectList\n 1\n 2", "cut off"),
        ('Record FileRecord "1.8" ' + '{ Record A "x" ' * 500 + "EndOfFile;", "does not hold together"),
        ("FileVersion 3 0;", "no KLARF"),
    ],
)
def test_a_klarf_that_does_not_hold_together(folder: Path, content: str, word: str) -> None:
    (folder / "a.001").write_text(content)
    with pytest.raises(DataError, match=r"a\.001") as caught:
        read_klarf(folder / "a.001")
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "row", ["{i} 2.5 1 {i} 0", "{i} 2.5 1 {i}", "{i} 2.5 1\n {i} 0", "{i} 2.5 2 {i} 0 9 0", "{i} 2.5 2 {i} 9", "{i} 2.5 2\n {i} 0\n 9 0"]
)
def test_image_lists_of_klarf_with_and_without_types(folder: Path, row: str) -> None:
    rows = "\n".join(" " + row.format(i=i) for i in range(3))
    (folder / "a.001").write_text(
        f"FileVersion 1 2;\nDefectRecordSpec 4 DEFECTID XREL IMAGECOUNT IMAGELIST;\nTiffFileName a.tif;\nDefectList\n{rows};\nEndOfFile;"
    )
    found = read_klarf(folder / "a.001")
    assert [(d.values["DEFECTID"], d.pictures[0].number, d.pictures[-1].number) for d in found.defects] == [
        (f"{i}", i, 9 if len(d.pictures) == 2 else i) for i, d in enumerate(found.defects)
    ]
    assert len(found.defects) == 3 and {picture.file for d in found.defects for picture in d.pictures} == {"a.tif"}
    (folder / "b.001").write_text(f"FileVersion 1 2;\nDefectRecordSpec 3 DEFECTID XREL TEST;\nDefectList\n{rows};\nEndOfFile;")
    if "\n" not in row:
        with pytest.raises(DataError, match="longer than DefectRecordSpec says"):
            read_klarf(folder / "b.001")


@pytest.mark.parametrize("version", ["1.2", "1.8"])
def test_what_predict_writes_as_klarf_is_read(folder: Path, version: str) -> None:
    from fabloom.flows.export.klarf import Klarf, Sheet

    written = Klarf(Sheet(version, 12.5, lot="L 7"), ["bridge", "open"], 1, (40, 60), "2026-03-09T04:05:06Z")
    written.image("a.png")
    written.defect([10, 0, 4, 6], 20, 2)
    written.write(folder / "a.001")
    found = read_klarf(folder / "a.001")
    assert (found.version, len(found.defects), found.defects[0].values["CLASSNUMBER"]) == (version, 1, "2")
    assert found.classes[1] == "bridge" and found.classes[2] == "open" and found.defects[0].pictures == ()
