"""What `worth-it` learns from and is tested on: simulated structures, the boards of DeepPCB, the published pair, images of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .one_shot_leaderboard import Steps

STRUCTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "line-pair": ({"defect_low": 0.5, "defect_high": 1.0}, {"defect_low": 0.35, "defect_high": 1.2}),
    "contact-hole": ({"defect_low": 0.4, "defect_high": 0.7}, {"defect_low": 0.3, "defect_high": 0.9}),
    "sram-cell": ({"defect_low": 0.4, "defect_high": 0.8}, {"defect_low": 0.3, "defect_high": 1.0}),
}
"""How the real images of each structure are simulated, and how the test images are: with defects of further sizes."""
GROUPS = ("12000", "00041")
"""Groups of boards of DeepPCB that are learned from and tested on: other layouts, so that no place is in both."""
TEST_SEED = 1


@dataclass(frozen=True)
class Data:
    """Steps that give the real images (`pool`) and the test images (`test`); how a draw is made of the pool, and what is to be known.

    `references`: every image has a clean one of its own, so that no other is needed to label by difference and generators follow it.
    `drawing`: parameters of images.draw that these images need.
    """

    steps: Steps
    references: bool = False
    drawing: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def folder(name: str) -> str:
    """A published data set in the folder that FABLOOM_DATA_DIR says, else in the current one."""
    return str(Path(os.environ.get("FABLOOM_DATA_DIR", ".")) / name)


def simulated(structure: str, size: int, pool: int, test: int) -> Data:
    """Exact masks; the test images are of another seed, with defects of further sizes."""
    real, held_out = STRUCTURES[structure]
    task = f"{structure}.simulate"
    return Data({
        "pool": {"task": task, "params": {"count": pool, "size": size, **real}},
        "test": {"task": task, "params": {"count": test, "size": size, **held_out}, "seed": TEST_SEED},
    })  # fmt: skip


def boards(size: int, pool: int, test: int) -> Data:
    """Squares of DeepPCB, real ones of one group of boards and test ones of another; masks by difference to each board's template."""
    real, tested = (
        {
            "path": folder("deeppcb"), "layout": "pairs", "box_lists": f"{group}{{name}}.txt",
            "test": f"{group}{{name}}_test.jpg", "reference": f"{group}{{name}}_temp.jpg",
        }
        for group in GROUPS
    )  # fmt: skip
    steps = read("pool", real, "boxes", size, pool) | read("test", tested, "boxes", size, test)
    remark = (
        f"Boards of group {GROUPS[0]} are learned from, those of group {GROUPS[1]} tested on. Truth is what differs from the template "
        "inside the boxes that came with the boards; templates are not quite registered, so its edges are good to a pixel or two."
    )
    return Data(steps, references=True, drawing={"unit": "image"}, remarks=(remark,))


def published_pair(test: int) -> Data:
    """The two images of the SinSEMI paper; tested on their own defect at other places of the structure."""
    pair = {"path": folder("line_pair"), "clean": ["no_defect*"], "defect": ["bridge_defect*"]}
    steps = read("pool", pair, "clean", None, None)
    steps["relocated"] = {"task": "copy-paste.train", "inputs": {"images": "pool"}}
    moved = {"count": test, "contrast": [1.0, 1.0], "mirror": False}
    steps["test"] = {"task": "copy-paste.sample", "inputs": {"model": "relocated"}, "params": moved, "seed": TEST_SEED}
    remark = (
        "The test images are the one real defect cut out and put on other places of the clean image, which is what copy-paste does: it is "
        "the oracle here and no rival. Nothing is said of other defects or other images."
    )
    return Data(steps, remarks=(remark,))


def own(real: Mapping[str, Any], tested: Mapping[str, Any], label: str, tile: int | None, pool: int) -> Data:
    """Images that images.load reads, all of those that are tested on."""
    steps = read("pool", real, label, tile, pool) | read("test", tested, label, tile, None)
    return Data(steps, label in ("references", "boxes"), {"unit": "image"} if tile else {})


def read(name: str, files: Mapping[str, Any], label: str, tile: int | None, count: int | None) -> Steps:
    """Steps that end in `name`: images loaded, labelled, cut into squares, and so many of them drawn, half with a defect; None: all.

    Masks are 'given', or follow by difference from 'references' or from 'clean' ones; with 'boxes' from references inside given boxes.
    """
    chain: list[tuple[str, dict[str, Any]]] = [("files", {"task": "images.load", "params": dict(files)})]
    if label != "given":
        bounded = {"params": {"given": "within"}} if label == "boxes" else {}
        chain.append(("labelled", {"task": "reference-difference.label", **bounded}))
    if tile:
        chain.append(("squares", {"task": "images.tile", "params": {"size": tile}}))
    if count is not None:
        unit = {"unit": "image"} if tile else {}
        chain.append(("drawn", {"task": "images.draw", "params": {"defects": count // 2, "clean": count // 2, **unit}}))
    names = [*(f"{name}_{what}" for what, _ in chain[:-1]), name]
    steps: Steps = {}
    for before, step, (what, made) in zip([None, *names], names, chain, strict=False):
        inputs = {} if before is None else {"images": before}
        inputs |= {"reference": before} if what == "labelled" and label == "clean" and before else {}
        steps[step] = made | ({"inputs": inputs} if inputs else {})
    return steps
