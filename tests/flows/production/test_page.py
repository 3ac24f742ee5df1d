"""docs/production.md, from its first command to its last, on a few small images and with two training steps."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fabloom

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any

PAGE = Path(__file__).parents[3] / "docs" / "production.md"


def folder_of_images(to: str, seed: int, count: int) -> None:
    """Line pairs with masks, as files."""
    from fabloom.flows.export.job import export_artifact
    from fabloom.registry import Registry

    step = {"task": "line-pair.simulate", "params": {"count": count, "size": 32}, "seed": seed}
    made = fabloom.run({"name": "drawn", "steps": {"images": step}}, store="drawn", device="cpu")
    assert made.store is not None
    export_artifact(made.store, made["images"].key, Path(to), "png", registry=Registry.load())


def quick(text: str) -> str:
    """The specification with a training of two steps on few variations."""
    return text + "set: [steps.segmenter.params.steps=2, steps.varied.params.count=24]\n"


def test_the_page_works_from_its_first_command_to_its_last(line: Line) -> None:
    for place, (folder, count) in enumerate({"data/images": 24, "data/heldout": 16, "tomorrow": 2}.items()):
        folder_of_images(folder, place, count)
    (line.folder / "pipeline.yaml").unlink()
    (line.folder / "retrain.yaml").unlink()
    said: dict[str, str] = {}
    for language, title, body in re.findall(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
        if language == "yaml":
            (line.folder / title).write_text(quick(body) if title == "retrain.yaml" else body)
        for command in re.findall(r"^\$ fabloom (.*)$", body, re.M):
            if "rollback" in command:
                second_night(line)
            words = shlex.split(command)
            engine = ["--engine", "inline"] if words[0] in ("run", "retrain") else []
            code, out, err = line.command(*words, *engine)
            assert code == 0, f"{command}\n{err}"
            said[command] = out
    assert len(said) >= 11
    assert "the gate would decide" in said["retrain retrain.yaml --dry-run"] and "etch: Promoted" in said["retrain retrain.yaml"]
    assert "etch/champion -> " in said['ref rollback etch/champion --why "false alarms on tool 7"']


def second_night(line: Line) -> None:
    """New images, and a champion that is set by hand, so that there is something to go back from. The gate reads unet's real report."""
    folder_of_images("more", 7, 8)
    for kind in ("clean", "defect", "masks"):
        for file in sorted(Path("more", kind).iterdir()):
            file.rename(Path("data/images", kind, f"new-{file.name}"))
    night = line.night()
    assert night["outcome"] in ("Promoted", "Rejected") and night["data"]["count"] == 32
    assert [one["metric"] for one in night["gate"]] == ["iou_defect", "false_alarm_rate"]
    assert night["sources"] == len([*Path("data/heldout/defect").iterdir()]) > 5, "those with a defect, of 16 files"
    assert all(one["interval"] for one in night["gate"]) and night["headline"]["metric"] == "iou_defect"
    assert json.loads(line.command("drift", "etch", "--json")[1])["rows"][-1]["champion"]["interval"]
    if night["outcome"] == "Rejected":
        assert line.command("ref", "set", "etch/champion", night["challenger"])[0] == 0
