"""Pseudo-labels by difference: the published calibration, agreement with exact masks, and where the labels break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.plugins.blocks.components import keep, perimeter
from fabloom.plugins.blocks.difference import blur, noise
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference


def load(run_task: Any, folder: Path, **images: np.ndarray) -> ImageSet:
    """Images by name through files, without a domain."""
    folder.mkdir()
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    made = run_task(Images, "load", {"path": str(folder)})
    assert isinstance(made, ImageSet)
    return made


def label(run_task: Any, images: ImageSet, reference: ImageSet | None, **params: Any) -> ImageSet:
    inputs = {} if reference is None else {"reference": reference}
    made = run_task(ReferenceDifference, "label", params, images=images, **inputs)
    assert isinstance(made, ImageSet)
    return made


@pytest.mark.parametrize(
    ("rows", "length"),
    [
        (["#"], 0.0),
        (["##"], 2.0),  # there and back
        (["###", "###", "###"], 8.0),
        ([".#.", "###", ".#."], 4 * 2**0.5),
        (["###", "#.#", "###"], 8.0),  # the outer contour only
        (["#..", ".#.", "..#"], 4 * 2**0.5),
        (["#....", "#####"], 1 + 3 + 4 + 2**0.5),
    ],
)
def test_perimeter_is_the_chain_through_border_pixels(rows: list[str], length: float) -> None:
    assert perimeter(np.array([[c == "#" for c in row] for row in rows])) == pytest.approx(length)


def test_components_are_kept_by_area_and_circularity() -> None:
    y, x = np.mgrid[:60, :60]
    disc, line = np.hypot(y - 20, x - 20) < 8, (x > 40) & (x < 44)
    speck = (y == 50) & (x == 10)
    kept, count = keep(disc | line | speck, min_area=5, min_circularity=0.6)
    assert count == 1
    np.testing.assert_array_equal(kept, disc)
    assert keep(disc | line | speck, min_area=1, min_circularity=0.0)[1] == 3
    assert keep(np.zeros((5, 5), bool), 1, 0.0)[1] == 0


def test_diagonal_pixels_are_one_component() -> None:
    assert keep(np.eye(6, dtype=bool), min_area=6, min_circularity=0.0)[1] == 1


def test_blur_is_a_normalised_gaussian_mirrored_at_the_border() -> None:
    point = np.zeros((11, 11))
    point[5, 5] = 1
    spread = blur(point)
    assert spread.sum() == pytest.approx(1)
    assert spread[5, 6] / spread[5, 5] == pytest.approx(np.exp(-0.5))
    assert spread[5, 8] == 0
    ramp = np.add.outer(np.zeros(9), np.arange(9.0))
    folded = np.concatenate([ramp[:, 2:0:-1], ramp], 1)  # pixel 0 is not repeated
    np.testing.assert_allclose(blur(ramp)[4, 0], blur(folded)[4, 2])


def test_noise_ignores_defects() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 3.0, (20, 32, 32))
    differences[:, 4:10, 4:12] += 80
    assert noise(differences) / 3.0 == pytest.approx(1, abs=0.1)
    assert differences.std() > 15  # what a plain standard deviation would say


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2])
def test_line_shift_is_the_distance_across_the_lines(angle: float) -> None:
    y, x = np.mgrid[:64, :64]
    across = x * np.cos(angle) + y * np.sin(angle)
    moved = [0.0, 0.5, -2.0, 3.0]
    images = np.stack([np.cos(2 * np.pi * (across - d) / 11) for d in moved])
    sign = np.sign(line_shift(images, images[0])[3])  # lines have no direction: the sign is a convention
    np.testing.assert_allclose(line_shift(images, images[0]) * sign, moved, atol=0.05)


def test_a_flat_reference_has_no_lines() -> None:
    assert line_shift(np.zeros((2, 8, 8)), np.full((8, 8), 3.0)).tolist() == [0, 0]


@pytest.fixture
def simulated(run_task: Any) -> tuple[ImageSet, ImageSet]:
    """Images to label, and a reference of another seed."""
    made = run_task(LinePair, "simulate", {"count": 160, "size": 32}, seed=1)
    return made, run_task(LinePair, "simulate", {"count": 40, "size": 32}, seed=2)


def test_labels_agree_with_the_exact_masks(run_task: Any, simulated: tuple[ImageSet, ImageSet]) -> None:
    images, reference = simulated
    made = label(run_task, images, reference)
    truth, found = images.domain[:] == 1, made.domain[:] == 1
    assert (truth == found).mean() >= 0.95
    assert found[~truth].mean() <= 0.02
    exact, drawn = images.masks[:][truth] > 0, made.masks[:][truth] > 0

    def iou(drawn: np.ndarray) -> float:
        return float(np.mean((exact & drawn).sum((1, 2)) / (exact | drawn).sum((1, 2))))

    assert iou(drawn) > 0.8
    assert iou(drawn) > 10 * iou(np.roll(drawn, 1, 0))  # the masks of other images
    np.testing.assert_array_equal(made.images[:], images.images[:])
    attrs = made.attrs
    assert attrs["defect_share"] == pytest.approx(found.mean())
    assert sum(attrs["components"].values()) == len(images)
    assert attrs["components"]["0"] == (~found).sum()
    assert attrs["off_reference_share"] == 0
    assert attrs["reference_images"] == 20
    assert attrs["threshold"] == pytest.approx(max(6 * attrs["sigma"], 0.3 * attrs["contrast"]))


def test_one_clean_image_is_reference_enough(run_task: Any, simulated: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    images, reference = simulated
    clean = reference.images[int(np.flatnonzero(reference.domain[:] == 0)[0])][0]
    made = label(run_task, images, load(run_task, tmp_path / "one", clean=clean))
    assert (images.domain[:] == made.domain[:]).mean() >= 0.95
    assert made.attrs["sigma"] > 0


def test_noise_raises_the_threshold_and_gives_no_false_labels(run_task: Any) -> None:
    settings = {"size": 32, "defect_share": 0.0}
    loud, other = (run_task(LinePair, "simulate", {**settings, "count": 40, "noise_std": 20.0}, seed=seed) for seed in (1, 2))
    made = label(run_task, loud, other)
    assert made.attrs["threshold"] == pytest.approx(6 * made.attrs["sigma"])
    assert made.domain[:].mean() <= 0.02
    low = label(run_task, loud, other, threshold=made.attrs["sigma"], min_area=1, min_circularity=0.0)
    assert low.domain[:].mean() > 0.9  # the same images, with a threshold within the noise


def test_unregistered_lines_are_counted(run_task: Any, simulated: tuple[ImageSet, ImageSet]) -> None:
    _, reference = simulated
    adrift = run_task(LinePair, "simulate", {"count": 60, "size": 32, "random_phase": True}, seed=3)
    share = label(run_task, adrift, reference).attrs["off_reference_share"]
    assert share == pytest.approx(1 - 2 / 8, abs=0.2)  # a period of 8 pixels, of which 2 are within 1 pixel


def test_preset_and_overrides_reach_the_result(run_task: Any, simulated: tuple[ImageSet, ImageSet]) -> None:
    images, reference = simulated
    attrs = label(run_task, images, reference, preset="published", min_area=9).attrs
    assert (attrs["threshold"], attrs["min_area"], attrs["min_circularity"]) == (5.0, 9, 0.6)


def test_references_that_cannot_serve_are_refused(run_task: Any, simulated: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    images, _ = simulated
    spoilt = run_task(LinePair, "simulate", {"count": 5, "size": 32, "defect_share": 1.0}, seed=4)
    with pytest.raises(DataError, match="none of the 5 reference images is clean"):
        label(run_task, images, spoilt)
    larger = run_task(LinePair, "simulate", {"count": 5, "size": 40}, seed=4)
    with pytest.raises(DataError, match="32 x 32 but the reference is 40 x 40"):
        label(run_task, images, larger)
    unsaid = load(run_task, tmp_path / "two", a=images.images[0][0], b=images.images[1][0])
    with pytest.raises(DataError, match="2 images and no domain"):
        label(run_task, images, unsaid)


def test_published_calibration_on_the_real_pair(run_task: Any, data_dir: Path) -> None:
    pair = run_task(Images, "load", {"path": str(data_dir / "line_pair"), "clean": ["no_defect*"], "defect": ["bridge*"]})
    made = label(run_task, pair, pair, preset="published")
    assert made.domain[:].tolist() == [1, 0]
    mask = made.masks[0] > 0
    assert made.source_names == pair.source_names != [] and made.source[:].tolist() == [0, 1]
    assert made.attrs["components"] == {"0": 1, "1": 1}
    assert mask.sum() == 186
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (37, 53, 40, 55)
    assert (columns.mean(), rows.mean()) == pytest.approx((45.0, 47.6), abs=0.05)
    assert 4 * np.pi * 186 / perimeter(mask) ** 2 == pytest.approx(0.836, abs=0.0005)
    calibrated = label(run_task, pair, pair).masks[0] > 0
    assert (calibrated & mask).sum() / (calibrated | mask).sum() > 0.8  # without any constant of this image


def test_published_behaviour_on_flips_shifts_and_noise(run_task: Any, data_dir: Path, tmp_path: Path) -> None:
    defect, clean = (np.asarray(Image.open(data_dir / "line_pair" / f"{n}.png").convert("L")) for n in ("bridge_defect", "no_defect"))
    rng = np.random.default_rng(0)
    noisy = {f"noise{s}": np.rint(clean + rng.normal(0, s, clean.shape)).astype(np.uint8) for s in (1, 2, 4)}
    variants = {
        "flip_v": defect[::-1],
        "flip_h": defect[:, ::-1],
        "shift1": np.roll(defect, 1, 1),
        "shift2": np.roll(defect, 2, 1),
        **noisy,
    }
    reference = load(run_task, tmp_path / "reference", clean=clean)
    images = load(run_task, tmp_path / "images", **variants)
    made = label(run_task, images, reference, preset="published")
    areas = dict(zip(sorted(variants), made.masks[:].sum((1, 2), dtype=int).tolist(), strict=True))
    assert areas == {"flip_v": 189, "flip_h": 0, "shift1": 187, "shift2": 0, "noise1": 0, "noise2": 0, "noise4": 0}
    assert made.attrs["off_reference_share"] >= 2 / len(variants)  # flip_h and shift2
    rolled = np.stack([np.roll(clean, k, 1) for k in (0, 1, 2)]).astype(float)
    np.testing.assert_allclose(line_shift(rolled, clean.astype(float)), [0, 1, 2], atol=0.05)
