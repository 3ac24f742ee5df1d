"""Annotations as tools write them: COCO, LabelMe, CVAT, VOC and KLARF."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Objects = list[list[tuple[str, int]]]
Corners = dict[int, list[tuple[int, int]]]
IDS = {"bridge": 7, "open": 3}


def filled(corners: list[tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Pixels between corners on whole coordinates, counted by crossings to the left of each pixel's middle."""
    mask = np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            crossings = 0
            for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
                crossings += x0 == x1 and x0 <= x and min(y0, y1) <= y < max(y0, y1)
            mask[y, x] = crossings % 2 == 1
    return mask


def runs(flat: list[bool]) -> list[int]:
    """Lengths of the runs of false, true, false, ..."""
    found, last, length = [], False, 0
    for value in flat:
        if value != last:
            found.append(length)
            last, length = value, 0
        length += 1
    return [*found, length]


def compressed(counts: list[int]) -> str:
    """COCO's text of run lengths."""
    text = ""
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            group = value & 31
            value >>= 5
            more = value != -1 if group & 16 else value != 0
            text += chr((group | 32 if more else group) + 48)
    return text


def coco(area: str) -> Callable[..., dict[str, Any]]:
    def write(root: Path, names: list[str], objects: Objects, corners: Corners, size: tuple[int, int], drawn: np.ndarray) -> dict[str, Any]:
        entries = []
        for image, several in enumerate(objects):
            for label, which in several:
                points = corners[which]
                columns = filled(points, size).T.ravel().tolist()
                segmentation: Any = {
                    "polygons": [[v for point in points for v in point]],
                    "runs": {"size": list(size), "counts": runs(columns)},
                    "text": {"size": list(size), "counts": compressed(runs(columns))},
                    "boxes": [],
                }[area]
                xs, ys = zip(*points, strict=True)
                entries.append(
                    {"id": len(entries) + 1, "image_id": image + 10, "category_id": IDS[label], "segmentation": segmentation, "iscrowd": 0,
                     "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]}
                )  # fmt: skip
        listed = [{"id": i + 10, "file_name": name, "height": size[0], "width": size[1]} for i, name in enumerate(names)]
        categories = [{"id": number, "name": name} for name, number in IDS.items()]
        (root / "annotations").mkdir(exist_ok=True)
        content = {"images": listed, "annotations": entries, "categories": categories}
        (root / "annotations" / "instances.json").write_text(json.dumps(content))
        return {}

    return write


def labelme(form: str) -> Callable[..., dict[str, Any]]:
    def write(root: Path, names: list[str], objects: Objects, corners: Corners, size: tuple[int, int], drawn: np.ndarray) -> dict[str, Any]:
        for name, several in zip(names, objects, strict=True):
            shapes = []
            for label, which in several:
                xs, ys = zip(*corners[which], strict=True)
                if form == "masks":
                    inside = filled(corners[which], size)[min(ys) : max(ys), min(xs) : max(xs)]
                    buffer = io.BytesIO()
                    Image.fromarray(inside).save(buffer, "PNG")
                    box = [[min(xs), min(ys)], [max(xs) - 1, max(ys) - 1]]
                    shapes.append(
                        {"label": label, "shape_type": "mask", "points": box, "mask": base64.b64encode(buffer.getvalue()).decode()}
                    )
                elif form == "rectangles" and which == 1:
                    shapes.append({"label": label, "shape_type": "rectangle", "points": [[max(xs), min(ys)], [min(xs), max(ys)]]})
                else:
                    shapes.append({"label": label, "shape_type": "polygon", "points": [list(map(float, p)) for p in corners[which]]})
            content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": "AAAA"}
            content |= {"imageHeight": size[0], "imageWidth": size[1]}
            (root / name).with_suffix(".json").write_text(json.dumps(content))
        return {}

    return write


def cvat(form: str) -> Callable[..., dict[str, Any]]:
    def write(root: Path, names: list[str], objects: Objects, corners: Corners, size: tuple[int, int], drawn: np.ndarray) -> dict[str, Any]:
        lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>"]
        for number, (name, several) in enumerate(zip(names, objects, strict=True)):
            lines.append(f'<image id="{number}" name="{name}" width="{size[1]}" height="{size[0]}">')
            for order, (label, which) in reversed(list(enumerate(several))):  # z_order says what lies above, not the place
                if form == "masks":
                    xs, ys = zip(*corners[which], strict=True)
                    inside = filled(corners[which], size)[min(ys) : max(ys), min(xs) : max(xs)]
                    place = f'left="{min(xs)}" top="{min(ys)}" width="{inside.shape[1]}" height="{inside.shape[0]}"'
                    rle = ", ".join(map(str, runs(inside.ravel().tolist())))
                    lines.append(f'<mask label="{label}" source="manual" occluded="0" rle="{rle}" {place} z_order="{order}"></mask>')
                else:
                    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners[which])
                    lines.append(f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="{order}"></polygon>')
            lines.append("</image>")
        (root / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))
        return {}

    return write


def voc(root: Path, names: list[str], objects: Objects, corners: Corners, size: tuple[int, int], drawn: np.ndarray) -> dict[str, Any]:
    (root / "SegmentationClass").mkdir()
    for name, mask in zip(names, drawn, strict=True):
        picture = Image.fromarray(mask, "P")
        picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        picture.save(root / "SegmentationClass" / f"{Path(name).stem}.png")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nbridge:128,0,0::\nopen:0,128,0::\n")
    return {}


def yolo(area: str, named: str) -> Callable[..., dict[str, Any]]:
    """Shares of width and height, class numbers by the order of data.yaml (a list or a map) or classes.txt; an empty file is clean."""

    def write(root: Path, names: list[str], objects: Objects, corners: Corners, size: tuple[int, int], drawn: np.ndarray) -> dict[str, Any]:
        order = ["open", "spare", "bridge"]
        (root / "labels").mkdir()
        for name, several in zip(names, objects, strict=True):
            lines = []
            for label, which in several:
                shares = [(x / size[1], y / size[0]) for x, y in corners[which]]
                if area == "boxes":
                    (left, right), (top, bottom) = ((min(axis), max(axis)) for axis in zip(*shares, strict=True))
                    numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
                else:
                    numbers = [value for point in shares for value in point]
                lines.append(" ".join([str(order.index(label)), *(f"{value:.6f}" for value in numbers)]))
            (root / "labels" / f"{Path(name).stem}.txt").write_text("\n".join(lines))
        if named == "classes.txt":
            (root / "labels" / "classes.txt").write_text("\n".join(order) + "\n")
        else:
            told = "[open, spare, bridge]" if named == "list" else "\n  0: open\n  1: spare\n  2: bridge"
            (root / "data.yaml").write_text(f"path: ../set\ntrain: images\nval: images\nnc: 3\nnames: {told}\n")
        return {"boxes": "fill"} if area == "boxes" else {}

    return write


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "coco": coco("polygons"), "coco-runs": coco("runs"), "coco-text": coco("text"), "labelme": labelme("polygons"),
    "labelme-rectangles": labelme("rectangles"), "labelme-masks": labelme("masks"), "cvat": cvat("polygons"), "cvat-masks": cvat("masks"),
    "voc": voc, "yolo": yolo("polygons", "list"), "yolo-map": yolo("polygons", "map"), "yolo-classes.txt": yolo("polygons", "classes.txt"),
    "yolo-boxes": yolo("boxes", "list"),
}  # fmt: skip


def klarf12(interleaved: bool) -> Callable[[Path, list[str], list[int]], None]:
    def write(root: Path, names: list[str], numbers: list[int]) -> None:
        lines = [
            "FileVersion 1 2;",
            "FileTimestamp 13-32-99 7:61:00;",
            'LotID "L 1";',
            "SampleType WAFER;",
            "ResultTimestamp 1-2-26 25:00:00;",
        ]
        lines += ["ClassLookup 3", ' 0 "Unclassified"', ' 4 "Bridge"', ' 17 "Line open";']
        lines += ["DefectRecordSpec 7 DEFECTID XREL YREL CLASSNUMBER TEST IMAGECOUNT IMAGELIST ;"]
        if interleaved:
            for i, (name, number) in enumerate(zip(names, numbers, strict=True)):
                lines += ["DefectList;", f"TiffFileName {name};", "DefectList", f" {i + 1} 1.0000E+003 -2.5 {number} 1 1 1 0;"]
        else:
            lines += ["DefectList"]
            for i, (name, number) in enumerate(zip(names, numbers, strict=True)):
                lines += [f"FILENAME {name}", f" {i + 1} 1.0E+3 -2.5 {number} 1 1", f" {i + 1} 0" + (";" if i == len(names) - 1 else "")]
        lines += ["SummarySpec 2 TESTNO NDEFECT;", "SummaryList", " 1 3;", "EndOfFile;"]
        (root / "wafer.001").write_text("\r\n".join(lines))

    return write


def klarf18(root: Path, names: list[str], numbers: list[int]) -> None:
    rows = "\n".join(
        f'{i + 1} 100 {n} 1 Images 1 {{"{name}" "JPG" 1 "Patch"}};' for i, (name, n) in enumerate(zip(names, numbers, strict=True))
    )
    (root / "lot.klarf").write_text(
        'Record FileRecord  "1.8"\n{\n  Field FileTimestamp 2 {"31-31-2026", "99:00:00"}\n  Record LotRecord "LOT {x}"\n  {\n'
        "    List ClassLookupList { Columns 3 { int32 CLASSNUMBER, string CLASSNAME, string CLASSCODE }\n"
        '      Data 2 { 4 "Bridge" "B"; 17 "Line open" "" ; } }\n'
        '    Record WaferRecord "W1"\n    {\n      Field SlotNumber 1 {1}\n      List DefectList\n      {\n'
        "        Columns 5 { int32 DEFECTID, int32 XREL, int32 CLASSNUMBER, int32 IMAGECOUNT, ImageList IMAGEINFO }\n"
        f"        Data 3\n        {{\n{rows}\n        }}\n      }}\n    }}\n  }}\n}}\nEndOfFile;\n"
    )


KLARFS = {"1.2": klarf12(False), "1.2-interleaved": klarf12(True), "1.8": klarf18}
