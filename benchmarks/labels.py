"""What labels against a clean reference are worth: faint bridges, contact holes that lie elsewhere, and pairs of circuit boards.

python benchmarks/labels.py faint [--seed 1]   simulated bridges from faint to strong, by how much is doubted; a minute on one core
python benchmarks/labels.py twice [--seed 1]   the same bridges, each taken twice with other noise: do its two labels agree? a minute
python benchmarks/labels.py holes              contact holes shifted along y, a quarter with a defect; seconds
python benchmarks/labels.py boards FOLDER      NAME_temp.jpg, NAME_test.jpg and NAME.txt (boxes) of DeepPCB; seconds a pair

Visible is a bridge whose peak difference, noise-free and blurred, is a tenth of the contrast and five times the noise or more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from fabloom.errors import FabloomError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.plugins.blocks.difference import blur
from fabloom.plugins.data.contact_hole.method import ContactHole
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference
from fabloom.testing import MemoryStore, run_task, write_artifact

ROUGH = {"size": 32, "ler_nm": 2.0, "noise_std": 2.5}
LOW = {"size": 96, "pixel_nm": 12.5, "line_reflectance": 0.1, "ler_nm": 0.5, "grey_low": 60.7, "grey_high": 77.3, "noise_std": 0.6}
BRIDGES = {"defects": ["bridge"], "defect_low": 0.02, "defect_high": 0.3, "mask_share": 0.05}
DOUBTS = (
    ("one threshold", {"doubt_share": 1, "seed_share": 1}),
    ("doubt 0.67", {"doubt_share": 0.67}),
    ("doubt 0.5", {"doubt_share": 0.5}),
    ("the default", {}),
    ("doubt 0.2, 3 sigma", {"doubt_share": 0.2, "doubt_sigmas": 3}),
)
SCENES: tuple[tuple[str, dict[str, Any], int], ...] = (("32 px, rough lines", ROUGH, 100), ("96 px, low contrast", LOW, 40))
STORE = MemoryStore()


def run(method: Any, task: str, params: dict[str, Any], seed: int = 0, **inputs: ImageSet) -> Any:
    """One task in memory."""
    return run_task(STORE, method, task, params, seed=seed, inputs=inputs)


def states(masks: np.ndarray) -> np.ndarray:
    """0 clean, 1 cannot tell, 2 a defect, of masks [N,H,W]."""
    return np.where(is_defect(masks).any((1, 2)), 2, (masks == UNKNOWN).any((1, 2)).astype(int))


def faint(seed: int) -> None:
    """The table of the method's page."""
    for name, scene, count in SCENES:
        made = {
            kind: run(LinePair, "simulate", {**scene, **BRIDGES, **more, "count": count}, seed=seed)
            for kind, more in (
                ("bridges", {"defect_share": 1}), ("still", {"defect_share": 1, "noise_std": 0}),
                ("clean", {"defect_share": 0}), ("bare", {"defect_share": 0, "noise_std": 0}),
            )
        }  # fmt: skip
        reference = run(LinePair, "simulate", {**scene, "defect_share": 0, "count": count}, seed=seed + 1)
        peaks = np.abs(blur(made["still"].images[:, 0].astype(float) - made["bare"].images[:, 0])).max((1, 2))
        for title, doubt in DOUBTS:
            found, beside = (
                run(ReferenceDifference, "label", {"given": "replace", **doubt}, images=made[kind], reference=reference)
                for kind in ("bridges", "clean")
            )
            seen = peaks >= max(5 * found.attrs["sigma"], 0.1 * found.attrs["contrast"])
            clean, unsure, sure = np.bincount(states(found.masks[...])[seen], minlength=3)
            false = np.bincount(states(beside.masks[...]), minlength=3)
            told = f"{seen.sum()} visible: {clean} clean, {unsure} cannot tell, {sure} defect"
            print(f"{name:20} {title:20} {told}; {count} clean images: {false[2]} defect, {false[1]} cannot tell")


def twice(seed: int) -> None:
    """Two acquisitions of one scene have one truth: what a rule says of them differently is its own doing."""
    draw = np.random.default_rng(seed)
    for name, scene, count in SCENES:
        still = run(LinePair, "simulate", {**scene, **BRIDGES, "defect_share": 1, "noise_std": 0, "count": 3 * count}, seed=seed)
        reference = run(LinePair, "simulate", {**scene, "defect_share": 0, "count": count}, seed=seed + 1)
        values = still.images[...].astype(float)
        taken = [np.clip(np.rint(values + draw.normal(0, scene["noise_std"], values.shape)), 0, 255).astype(np.uint8) for _ in range(2)]
        sets = [acquired(pixels, f"{name}, seed {seed}, {number}") for number, pixels in enumerate(taken)]
        for title, doubt in DOUBTS:
            one, other = (states(run(ReferenceDifference, "label", doubt, images=each, reference=reference).masks[...]) for each in sets)
            told, against = (one != 1) & (other != 1), np.abs(one - other) == 2
            alike = ((one == 2) == (other == 2)).mean()
            counts = f"{len(one)} pairs, {told.sum()} told twice, {against.sum()} contradict"
            print(f"{name:20} {title:20} {counts}; doubt as no defect: {alike:.3f} agree")


def acquired(pixels: np.ndarray, name: str) -> ImageSet:
    """Images of a name as a set, without truth."""

    def write(ctx: Any) -> ImageSet:
        return ImageSet.write(ctx, pixels)

    write.__qualname__ = name  # the same name gives the same artifact
    made: Any = write_artifact(STORE, write)
    assert isinstance(made, ImageSet)
    return made


def holes() -> None:
    """Shifted along y by whole pixels of a lattice of 16."""
    made = run(ContactHole, "simulate", {"count": 60, "defect_share": 0.25}, seed=1)
    reference = run(ContactHole, "simulate", {"count": 1, "defect_share": 0}, seed=2)
    varied = run(Images, "augment", {"count": 120, "shift_y_step": 1, "flip_y": True}, seed=3, images=made)
    rules = {"the default": {}, "align: false": {"align": False}, "published": {"preset": "published", "max_false_share": 1}}
    for title, params in rules.items():
        try:
            found = run(ReferenceDifference, "label", {"given": "replace", **params}, images=varied, reference=reference)
        except FabloomError as error:
            print(f"{title:20} refused: {str(error)[:140]} ...")
            continue
        agree = float((found.domain[...] == varied.domain[...]).mean())
        print(f"{title:20} {found.domain[...].mean():.0%} defective, agrees in {agree:.1%}; off {found.attrs['off_reference_share']:.0%}")


def boards(folder: Path) -> None:
    """Each test image against its own template."""
    names = sorted(path.name.removesuffix("_temp.jpg") for path in folder.glob("*_temp.jpg"))
    read = {
        end: np.stack([np.asarray(Image.open(folder / f"{name}_{end}.jpg").convert("L")) for name in names]) for end in ("test", "temp")
    }
    pairs: Any = write_artifact(STORE, lambda ctx: ImageSet.write(ctx, read["test"][:, None], references=read["temp"][:, None]))
    found = run(ReferenceDifference, "label", {}, images=pairs)
    told = {"defect": 0, "cannot tell": 0, "clean": 0, "components elsewhere": 0}
    for name, mask in zip(names, found.masks[...], strict=True):
        parts, count = ndimage.label(is_defect(mask), np.ones((3, 3)))
        met: set[int] = set()
        for line in (folder / f"{name}.txt").read_text().splitlines():
            left, top, right, bottom, _ = map(int, line.replace(",", " ").split())
            inside = set(np.unique(parts[top:bottom, left:right]).tolist()) - {0}
            met |= inside
            doubt = (mask[top:bottom, left:right] == UNKNOWN).any()
            told["defect" if inside else "cannot tell" if doubt else "clean"] += 1
        told["components elsewhere"] += count - len(met)
    print(f"{len(names)} pairs, off {found.attrs['off_reference_share']:.0%}; drawn defects: {told}")


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("faint", "twice", "holes", "boards"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="of faint and twice; the thresholds were chosen on 1")
    options = parser.parse_args()
    if options.what == "boards":
        boards(options.folder or parser.error("boards needs the folder of DeepPCB's pairs"))
    elif options.what == "holes":
        holes()
    else:
        {"faint": faint, "twice": twice}[options.what](options.seed)


if __name__ == "__main__":
    main()
