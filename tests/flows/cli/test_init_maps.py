"""`fabloom init` of files of wafer maps: what it finds, what it chooses, what it refuses, and that the file runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fabloom
from fabloom.plugins.data.wafer_map.types import CODES

pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]
SHORT = {
    "model": {"steps": 2, "batch": 4, "network": "{channels: [8, 8, 8], norm_groups: 4}"}, "found": {"steps": 1},
    "bank": {"entries": 64, "folds": 2},
    "ranks": {"resamples": 100},
}  # fmt: skip
"""Settings that make a run short, whatever it then finds."""


def shortened(steps: dict[str, Any]) -> list[str]:
    found = [f"steps.{name}.params.{field}={value}" for name, given in SHORT.items() if name in steps for field, value in given.items()]
    return [word for one in found for word in ("--set", one)]


def mixed(path: Path, none: int = 150, each: int = 20, side: int = 12) -> Path:
    """A file as MixedWM38 is: maps without a pattern, some of each single one, and of two mixed."""
    kinds = [(), *((one,) for one in range(len(CODES))), (0, 3)]
    patterns = np.array([[at in kind for at in range(len(CODES))] for kind in kinds for _ in range(each if kind else none)], np.int32)
    draw = np.random.default_rng(0)
    dies = np.where(draw.random((len(patterns), side, side)) < 0.05, 2, 1)
    dies[patterns.any(1), 3:7, 3:7] = 2
    dies[:, [0, 0, -1, -1], [0, -1, 0, -1]] = 0
    np.savez_compressed(path, arr_0=dies.astype(np.int32), arr_1=patterns)
    return path


def converted(path: Path, labels: list[int], lots: int = 4, sides: tuple[tuple[int, int], ...] = ((20, 24), (26, 25), (40, 41))) -> Path:
    """A file as the conversion of WM-811K writes it; labels count none, Scratch, Center, and -1 is unlabelled."""
    draw = np.random.default_rng(1)
    shapes = [sides[row % len(sides)] for row in range(len(labels))]
    np.savez(
        path, values=np.concatenate([draw.integers(0, 3, high * wide).astype(np.uint8) for high, wide in shapes]), shapes=np.array(shapes),
        labels=np.array(labels), classes=np.array(["none", "Scratch", "Center"]), lots=np.array([f"lot{row % lots}" for row in range(len(labels))]),
        names=np.array([f"w{row}" for row in range(len(labels))]), parts=np.array(["Training"] * len(labels)),
    )  # fmt: skip
    return path


def test_wafer_maps_get_the_pipeline_of_patterns_by_their_own_labels_and_it_runs(cli: Cli, tmp_path: Path) -> None:
    file = mixed(tmp_path / "MixedWM38.npz")
    done = cli("init", file, "-o", "maps.yaml")
    assert done.code == 0, done.err
    for words in (
        "maps: 330 of 12 x 12 dies",
        "150 without (45%), 180 with one (55%)",
        "labels: 150 none, 20 Center",
        "every die as it is",
        "C+ER",
    ):
        assert words in done.out
    written = yaml.safe_load(Path("maps.yaml").read_text())
    steps = written["steps"]
    assert written["name"] == "mixedwm38" and steps["images"]["params"] == {"path": str(file), "size": 16, "fit": "pad"}
    assert steps["model"]["params"] == {"given": 1, "steps": 1500} and steps["density"]["params"] == {"given": 1}
    ran = cli("run", "maps.yaml", "--store", tmp_path / "store", "--engine", "inline", "--json", *shortened(steps))
    assert ran.code == 0, ran.err
    report = fabloom.open_store(tmp_path / "store").get(ran.json["steps"]["ranks"]["key"])
    assert {"icddm", "density of fails", "memory-bank", "nearest clean image"} <= report.metrics.keys()
    folder = tmp_path / "maps"
    folder.mkdir()
    file.rename(folder / file.name)
    assert cli("init", folder, "-o", "folder.yaml", "--json").json["found"]["params"]["path"] == str(folder / file.name)


def test_maps_of_several_sizes_are_stretched_and_unlabelled_ones_told(cli: Cli, tmp_path: Path) -> None:
    file = converted(tmp_path / "wm.npz", [0, 1, 2, -1] * 150)
    done = cli("init", file)
    assert done.code == 0, done.err
    assert "150 of 600 maps of the file have no label and are left out" in done.out and "sources: they come from 3 lots" in done.out
    steps = yaml.safe_load(Path("pipeline.yaml").read_text())["steps"]
    assert steps["images"]["params"] == {"path": str(file), "size": 32, "fit": "nearest"} and "stretched to 32 x 32" in done.out
    assert "up to 41 a side, some are left out" in done.out
    done = cli("init", file, "--load", "fit=pad", "--load", "classes=[none, Scratch]", "-o", "padded.yaml", "--json")
    assert done.json["pipeline"]["steps"]["images"]["params"]["size"] == 48 and done.json["found"]["counts"] == [150, 150]


def test_of_very_many_maps_some_of_each_class_are_drawn(cli: Cli, tmp_path: Path) -> None:
    done = cli("init", mixed(tmp_path / "many.npz", none=4200, each=30, side=8), "--json")
    assert done.code == 0, done.err
    assert done.json["pipeline"]["steps"]["images"]["params"]["per_class"] == 2000
    assert any("2,000 of each class at most, 2,270 of 4,470" in text for text in done.json["chosen"])


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        ([1, 2] * 80, [], "no map is without a pattern"),
        ([0] * 160, [], "no map is with a pattern"),
        ([0, 1] * 140, [], "of 140 maps without a pattern 98 are left to learn from, and 100 are needed"),
        ([-1, 0, 1] * 40, ["--load", "labelled=false"], "nothing says of 40 of 40 maps whether they have a pattern"),
        ([0, 1] * 150, ["--tile", "32"], "--tile: has no meaning for wafer maps"),
        ([0, 1] * 150, ["--clean", "a*"], "--clean: is no option for a file of wafer maps"),
        ([0, 1] * 150, ["--load", "size=52"], "--load size=52: give a multiple of 8, such as 56"),
        ([0, 1] * 150, ["--load", "crop_bottom=3"], "--load crop_bottom"),
        ([0, 1] * 150, ["--test", "same"], "--test same: a score on maps"),
    ],
)
def test_maps_that_say_too_little_are_refused(cli: Cli, tmp_path: Path, labels: list[int], options: list[str], words: str) -> None:
    done = cli("init", converted(tmp_path / "wm.npz", labels), *options)
    assert done.code == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert not Path("pipeline.yaml").exists()


def test_one_lot_pickles_and_several_files_are_refused(cli: Cli, tmp_path: Path) -> None:
    lot = converted(tmp_path / "lot.npz", [0, 1] * 150, lots=1)
    done = cli("init", lot)
    assert done.code == 2 and "all maps are of one lot" in done.err and "--load source=wafer" in done.err
    done = cli("init", converted(tmp_path / "maps.npz", [0, 1] * 150), "--test", lot)
    assert done.code == 0, done.err
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("a.npz", "b.npz"):
        mixed(folder / name)
    done = cli("init", folder, "-o", "both.yaml")
    assert done.code == 2 and "holds 2 npz files" in done.err
    (tmp_path / "LSWMD.pkl").write_bytes(b"cos\nsystem\n")
    done = cli("init", tmp_path / "LSWMD.pkl", "-o", "pickle.yaml")
    assert done.code == 2 and "python examples/wm811k_to_npz.py LSWMD.pkl" in done.err
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    done = cli("init", tmp_path / "other.npz", "-o", "other.yaml")
    assert done.code == 2 and "wanted are arr_0 and arr_1 of MixedWM38" in done.err
