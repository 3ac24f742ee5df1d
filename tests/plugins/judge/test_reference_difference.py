"""Pseudo-labels by difference: the published calibration, agreement with exact masks, and where the labels break."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.plugins.blocks.components import keep, perimeter
from fabloom.plugins.blocks.difference import blur, noise
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact


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


@pytest.fixture
def simulated(run_task: Any) -> tuple[ImageSet, ImageSet]:
    """Images to label, and a reference of another seed."""
    made = run_task(LinePair, "simulate", {"count": 160, "size": 32}, seed=1)
    return made, run_task(LinePair, "simulate", {"count": 40, "size": 32}, seed=2)


def test_labels_agree_with_the_exact_masks(run_task: Any, simulated: tuple[ImageSet, ImageSet]) -> None:
    images, reference = simulated
    made = label(run_task, images, reference, given="replace")
    truth, found = images.domain[:] == 1, made.domain[:] == 1
    assert (truth == found).mean() >= 0.95
    assert found[~truth].mean() <= 0.02
    exact, drawn = images.masks[:][truth] > 0, is_defect(made.masks[:][truth])

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
    assert attrs["doubt_threshold"] < attrs["seed_threshold"] < attrs["threshold"]
    assert attrs["ambiguous_share"] == ((made.masks[:] == UNKNOWN).any((1, 2)) & ~found).mean()


def test_one_clean_image_is_reference_enough(run_task: Any, simulated: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    images, reference = simulated
    clean = reference.images[int(np.flatnonzero(reference.domain[:] == 0)[0])][0]
    made = label(run_task, images, load(run_task, tmp_path / "one", clean=clean), given="replace")
    assert (images.domain[:] == made.domain[:]).mean() >= 0.95
    assert made.attrs["sigma"] > 0


def test_noise_raises_the_threshold_and_gives_no_false_labels(run_task: Any) -> None:
    settings = {"size": 32, "defect_share": 0.0}
    loud, other = (run_task(LinePair, "simulate", {**settings, "count": 40, "noise_std": 20.0}, seed=seed) for seed in (1, 2))
    made = label(run_task, loud, other, given="replace")
    assert made.attrs["threshold"] == pytest.approx(6 * made.attrs["sigma"])
    assert made.domain[:].mean() <= 0.02
    within = {"threshold": made.attrs["sigma"], "min_area": 1, "min_circularity": 0.0, "doubt_share": 1}  # a threshold within the noise
    with pytest.raises(DataError, match=r"of 40 images that are known to be clean come out with a defect, 'row \d+' first"):
        label(run_task, loud, other, **within)
    low = label(run_task, loud, other, **within, given="replace", max_false_share=1)
    assert low.domain[:].mean() > 0.9 and low.attrs["false_share"] > 0.9


def test_preset_and_overrides_reach_the_result(run_task: Any, simulated: tuple[ImageSet, ImageSet]) -> None:
    images, reference = simulated
    with pytest.raises(DataError, match="raise `threshold`"):  # five grey levels, in images of 110
        label(run_task, images, reference, preset="published", min_area=9)
    attrs = label(run_task, images, reference, preset="published", min_area=9, max_false_share=1).attrs
    assert (attrs["threshold"], attrs["min_area"], attrs["min_circularity"]) == (5.0, 9, 0.6)
    assert "doubt_threshold" not in attrs


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
    assert set(np.unique(made.masks[:])) == {0, 1}, "the published rule has no doubt"
    laid = label(run_task, images, reference)
    assert [bool(one) for one in laid.domain[:]] == ["noise" not in name for name in sorted(variants)], "shifts and mirrors are undone"
    assert laid.attrs["aligned_share"] >= 3 / len(variants)


PITCH, SIDE = 16, 64
SEEDS = count()  # an artifact of its own for each set
NAMES = [f"{name}.png" for name in "abcdefghijklmnopqrstuvwxyz"]


def holes(down: float = 0, right: float = 0, *, missing: bool = False, seed: int = 0) -> np.ndarray:
    """Contact holes on a square lattice that lies so many pixels off, one of them missing; grey [H,W] with noise."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.reshape([down, right], (2, 1, 1))
    radius = np.hypot((y + PITCH / 2) % PITCH - PITCH / 2, (x + PITCH / 2) % PITCH - PITCH / 2)
    grey = 80 + 100 / (1 + np.exp((radius - 4) / 0.8))
    if missing:
        grey[np.hypot(y - 2 * PITCH, x - PITCH) < PITCH / 2] = 80
    return np.rint(grey + np.random.default_rng(seed).normal(0, 2, grey.shape)).astype(np.uint8)


def board(seed: int) -> np.ndarray:
    """A structure that does not repeat, grey [H,W]."""
    rng = np.random.default_rng(seed)
    drawn = np.full((SIDE, SIDE), 60.0)
    for _ in range(14):
        y, x = rng.integers(0, SIDE - 8, 2)
        drawn[y : y + int(rng.integers(4, 30)), x : x + int(rng.integers(4, 9))] = 170
    return np.rint(drawn + rng.normal(0, 2, drawn.shape)).astype(np.uint8)


def held(store: LocalStore, images: list[np.ndarray], **columns: Any) -> ImageSet:
    """Grey images as a set whose files are a.png, b.png, ..."""
    pixels = np.stack(images)[:, None]
    origin = {"source": np.arange(len(images), dtype=np.int32), "source_names": NAMES[: len(images)]}
    made = write_artifact(store, lambda ctx: ImageSet.write(ctx, pixels, **origin, **columns), seed=next(SEEDS))
    assert isinstance(made, ImageSet)
    return made


def domain(*values: int) -> np.ndarray:
    return np.array(values, np.int8)


def test_own_masks_are_kept_and_contradictions_named(run_task: Any, store: LocalStore) -> None:
    pixels = [holes(seed=1), holes(missing=True, seed=2), holes(missing=True, seed=3), holes(seed=4), holes(missing=True, seed=5)]
    masks = np.zeros((5, SIDE, SIDE), np.uint8)
    masks[1, 26:38, 10:22] = 2  # the missing hole, drawn by hand as of a class
    masks[3, 40:44, 40:44] = 1  # nothing is there
    masks[4] = UNKNOWN
    columns = {"labels": np.array([0, 2, 0, 1, 2], np.int16), "class_names": ["clean", "scratch", "missing"]}
    images = held(store, pixels, masks=masks, domain=domain(0, 1, 0, 1, 1), scores=np.zeros(masks.shape, np.float16), **columns)
    made = label(run_task, images, held(store, [holes(seed=9)]))
    np.testing.assert_array_equal(made.masks[:4], masks[:4])
    assert set(np.unique(made.masks[4])) >= {0, 2}, "255 all over is no truth, and its label says the class of what was found"
    assert made.domain[:].tolist() == [0, 1, 0, 1, 1] and made.labels[:].tolist() == columns["labels"].tolist()
    assert made.class_names == columns["class_names"] and made.scores is not None and made.source_names == NAMES[:5]
    told = made.attrs["contradictions"]
    assert set(told) == {"c.png", "d.png"} and "clean by its own truth" in told["c.png"] and "nothing differs" in told["d.png"]
    assert 0.3 < made.attrs["given_iou"] < 1
    replaced = label(run_task, images, held(store, [holes(seed=9)]), given="replace")
    assert replaced.domain[:].tolist() == [0, 1, 1, 0, 1] and set(np.unique(replaced.masks[:])) <= {0, 1, UNKNOWN}
    assert replaced.attrs["contradicted"] == 2 and replaced.labels is None


def test_clean_and_defect_folders_stay_what_they_are(run_task: Any, store: LocalStore) -> None:
    pixels = [holes(seed=1), holes(missing=True, seed=2), holes(missing=True, seed=3), holes(seed=4), holes(seed=5)]
    images = held(store, pixels, domain=domain(0, 1, 0, 1, 0))
    made = label(run_task, images, held(store, [holes(seed=9)]))
    assert made.domain[:].tolist() == [0, 1, 0, 1, 0]
    assert is_defect(made.masks[:]).any((1, 2)).tolist() == [False, True, False, False, False]
    assert (made.masks[3] == UNKNOWN).all(), "there is a defect, and nobody can tell where"
    assert set(made.attrs["contradictions"]) == {"c.png", "d.png"}
    generated = held(store, pixels, domain=domain(0, 1, 0, 1, 0), attrs={"asked": True})
    made = label(run_task, generated, held(store, [holes(seed=9)]))
    assert made.domain[:].tolist() == [0, 1, 1, 0, 0], "what a generator was asked for is no truth"


def test_clean_images_of_different_places_are_no_reference(run_task: Any, store: LocalStore) -> None:
    images = held(store, [board(1), board(1)])
    registered = held(store, [board(1)] * 5 + [board(2)] * 6, domain=domain(*[0] * 5, *[1] * 6))
    assert label(run_task, images, registered).domain[:].tolist() == [0, 0]
    with pytest.raises(DataError, match=r"5 clean images are not of one place.*'[a-e]\.png' shows something else"):
        label(run_task, images, held(store, [board(seed) for seed in range(1, 6)], domain=domain(*[0] * 5)))


@pytest.mark.parametrize(("down", "right"), [(0.0, 3.0), (2.4, 0.0), (5.0, -4.3)])
def test_shifted_clean_images_are_laid_on_one_another_or_refused(run_task: Any, store: LocalStore, down: float, right: float) -> None:
    images = held(store, [holes(seed=1), holes(missing=True, seed=2), holes(down, right, seed=3), holes(down, right, missing=True, seed=4)])
    reference = held(store, [holes(seed=5), holes(down, right, seed=6), holes(seed=7)], domain=domain(0, 0, 0))
    made = label(run_task, images, reference)
    assert made.domain[:].tolist() == [0, 1, 0, 1] and made.attrs["aligned_share"] == 0.5
    with pytest.raises(DataError, match=re.escape(f"'b.png' is off by {right:+} pixels to the right and {down:+} down")):
        label(run_task, images, reference, align=False)


def test_holes_shifted_along_y_are_aligned_or_refused(run_task: Any, store: LocalStore) -> None:
    shifts = np.random.default_rng(0).uniform(-8, 8, 16)
    images = held(store, [holes(shift, missing=n % 4 == 0, seed=n) for n, shift in enumerate(shifts)])
    reference = held(store, [holes(seed=99)])
    made = label(run_task, images, reference)
    assert made.domain[:].tolist() == [int(n % 4 == 0) for n in range(16)]
    assert made.attrs["off_reference_share"] > 0.7 and made.attrs["unlabelled_share"] == 0
    assert (made.masks[:] == UNKNOWN).all(2).any(), "rows that the moved reference does not show"
    with pytest.raises(DataError, match=r"1\d of 16 images do not lie where the reference does: '\w.png' is off by .* set align: auto"):
        label(run_task, images, reference, align=False)
    forced = label(run_task, images, reference, align=False, max_off_share=1)
    assert forced.attrs["unlabelled_share"] > 0.7 and forced.domain[:].sum() < 4, "what lies elsewhere is not judged"


def test_each_image_against_its_own_reference(run_task: Any, store: LocalStore) -> None:
    places = [board(seed) for seed in range(6)]
    tested = [place.copy() for place in places]
    for place in tested[::2]:
        place[30:36, 30:36] = 230
    twins = np.stack(places)[:, None]
    made = label(run_task, held(store, tested, references=twins), None)
    assert made.domain[:].tolist() == [1, 0, 1, 0, 1, 0] and made.attrs["own_references"]
    assert (is_defect(made.masks[0])[31:35, 31:35]).all() and is_defect(made.masks[0]).sum() < 80
    np.testing.assert_array_equal(made.references[:], twins)
    with pytest.raises(DataError, match=r"6 of 6 images do not lie where the reference does.*shows something else"):
        label(run_task, held(store, tested, references=np.roll(twins, 1, 0)), None)
    twin = held(store, [tested[0]], domain=domain(1), references=twins[:1])  # no clean image, but a clean picture of the place
    again = label(run_task, held(store, [places[0], tested[0]]), twin)
    assert again.domain[:].tolist() == [0, 1]
    with pytest.raises(DataError, match="have no references of their own; give the input `reference`"):
        label(run_task, held(store, tested), None)


def test_a_defect_is_what_differs_inside_the_areas_that_are_given(run_task: Any, store: LocalStore) -> None:
    places = [board(seed) for seed in range(3)]
    tested = [place.copy() for place in places]
    for place in tested:
        place[30:36, 30:36] = 230  # in a box
        place[50:56, 8:14] = 230  # in none: a stain that nobody calls a defect
    boxes = np.zeros((3, SIDE, SIDE), np.uint8)
    boxes[:2, 26:42, 26:42] = 1
    boxes[0, 4:14, 44:54] = 1  # in which nothing differs
    images = held(store, tested, references=np.stack(places)[:, None], masks=boxes)
    made = label(run_task, images, None, given="within")
    inside = is_defect(made.masks[0])
    assert inside[31:35, 31:35].all() and inside.sum() < 80, "no longer the whole box"
    assert (made.masks[0][boxes[0] == 0] == 0).all() and (made.masks[0][4:14, 44:54] == UNKNOWN).all()
    assert made.domain[:].tolist() == [1, 1, 0] and not made.masks[2].any(), "an image without a box is clean"
    with pytest.raises(DataError, match="no masks within which"):
        label(run_task, held(store, tested, references=np.stack(places)[:, None]), None, given="within")


def test_edges_that_lie_elsewhere_by_what_is_usual_are_no_defects(run_task: Any, store: LocalStore) -> None:
    def pads(seed: int) -> np.ndarray:
        """Binary pads whose edges lie where they should (seed 0) or a pixel beside it."""
        stray = np.random.default_rng(seed).integers(-1, 2, (9, 4)) * bool(seed)
        drawn = np.full((SIDE, SIDE), 40, np.uint8)
        for (top, bottom, left, right), (row, column) in zip(stray, np.ndindex(3, 3), strict=True):
            drawn[4 + 20 * row + top : 16 + 20 * row + bottom, 4 + 20 * column + left : 16 + 20 * column + right] = 210
        return drawn

    spoilt = pads(3)
    spoilt[26:34, 26:34] = 40  # a hole in the pad of the middle
    images, reference = held(store, [pads(1), pads(2), spoilt, pads(4)]), held(store, [pads(0)])
    made = label(run_task, images, reference)
    assert made.domain[:].tolist() == [0, 0, 1, 0] and made.attrs["jitter"] > 0.3
    assert label(run_task, images, reference, jitter=0.0).domain[:].tolist() == [1, 1, 1, 1], "edges alone"


def test_faint_defects_are_not_labelled_clean(run_task: Any) -> None:
    settings = {"size": 32, "count": 60, "ler_nm": 2.0, "noise_std": 2.5, "defects": ["bridge"], "defect_high": 0.3, "mask_share": 0.12}
    faint, clean = (run_task(LinePair, "simulate", {**settings, "defect_share": share, "defect_low": 0.05}, seed=3) for share in (1, 0))
    reference = run_task(LinePair, "simulate", {**settings, "defect_share": 0, "defect_low": 0.05}, seed=4)

    def missed(images: ImageSet, **params: Any) -> float:
        """The share of images whose mask is clean all over."""
        return float(np.mean([not mask.any() for mask in label(run_task, images, reference, given="replace", **params).masks[:]]))

    assert missed(faint) <= 0.03
    assert missed(clean) >= 0.97, "no doubt where nothing is"
    assert missed(faint, doubt_share=1, seed_share=1) > 0.3, "one threshold alone"
