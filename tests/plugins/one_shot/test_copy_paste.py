"""copy-paste: where defects go, what masks and noise are then, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.cutouts.residuals import Residual, fitted, turned
from fabloom.plugins.blocks.grain import Grain, denoised, noise_of
from fabloom.plugins.blocks.ground import continued
from fabloom.plugins.judge.quality.comparison import Comparison
from fabloom.plugins.judge.quality.evaluation import Findings, copy_scores
from fabloom.plugins.judge.quality.params import EvaluateParams
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference
from fabloom.plugins.one_shot.copy_paste.method import CopyPaste
from fabloom.plugins.one_shot.copy_paste.sampling import Sheet
from fabloom.plugins.one_shot.noise_paste.method import NoisePaste
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

HEIGHT, WIDTH, PERIOD = 64, 72, 12
HOME = (30, 18)
Real = NDArray[np.float64]


def lines(size: tuple[int, int] = (HEIGHT, WIDTH)) -> Real:
    """Vertical lines [h,w]; columns 0, 12, ... are the brightest."""
    x = np.arange(size[1])
    return np.tile(110 + 30 * np.cos(2 * np.pi * x / PERIOD), (size[0], 1))


def blob(at: tuple[int, int] = HOME, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[Real, NDArray[np.uint8]]:
    """A bright defect with soft edges that no symmetry maps on itself, and its exact mask."""
    change = np.zeros(size)
    y, x = at
    change[y - 5 : y + 4, x - 4 : x], change[y - 2 : y + 4, x : x + 4] = 60, 30
    change = ndimage.gaussian_filter(change, 1.0)
    change[change < 3] = 0
    return change, (change > 12).astype(np.uint8)


def noisy(picture: Real, deviation: float, seed: int) -> NDArray[np.uint8]:
    """With white noise, in whole levels [1,h,w]."""
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape) if deviation else 0
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)[None]


@pytest.fixture
def held(store: LocalStore) -> Any:
    """`held(images, domain=..., masks=...)` writes a set."""

    def write(images: Any, **columns: Any) -> ImageSet:
        def task(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, np.stack(images), **columns)

        made = write_artifact(store, task, seed=hash(str(columns)) % 2**31 + len(list(store.keys())))
        assert isinstance(made, ImageSet)
        return made

    return write


@pytest.fixture
def pair(held: Any) -> Any:
    """`pair(deviation)`: a defect image with its mask, and a clean one."""

    def make(deviation: float, **columns: Any) -> ImageSet:
        change, mask = blob()
        images = [noisy(lines() + change, deviation, 1), noisy(lines(), deviation, 2)]
        found: ImageSet = held(images, **{"masks": np.stack([mask, 0 * mask]), **columns})
        return found

    return make


@pytest.fixture
def pasted(run_task: Any) -> Any:
    """`pasted(images, {train}, {sample}, reference=...)` are the samples."""

    def run(images: ImageSet, train: dict[str, Any], sample: dict[str, Any], seed: int = 0, **inputs: Any) -> ImageSet:
        model = run_task(CopyPaste, "train", train, images=images, **inputs)
        made = run_task(CopyPaste, "sample", sample, seed=seed, model=model)
        assert isinstance(made, ImageSet)
        return made

    return run


def parts(samples: ImageSet) -> list[tuple[int, tuple[int, int], NDArray[np.uint8]]]:
    """(image, first row and column, the part of the mask) of every defect."""
    assert samples.masks is not None
    found = []
    for row, mask in enumerate(samples.masks[:]):
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        found += [(row, (box[0].start, box[1].start), mask[box]) for box in ndimage.find_objects(labels)]
    return found


def test_defects_go_where_the_structure_looks_so_and_masks_go_along(pair: Any, pasted: Any) -> None:
    images = pair(0.0)
    samples = pasted(images, {}, {"count": 120})
    assert samples.images.shape == (120, 1, HEIGHT, WIDTH) and samples.references is not None and samples.masks is not None
    _, mask = blob()
    (home,) = ndimage.find_objects(mask)
    own = mask[home]
    assert len({shape.tobytes() for shape in (own, own[:, ::-1], own[::-1], own[::-1, ::-1])}) == 4
    shapes = {"plain": own, "left-right": own[:, ::-1], "top-bottom": own[::-1], "turned": own[::-1, ::-1]}
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in shapes}
    for _, at, part in parts(samples):
        (name,) = [name for name, shape in shapes.items() if shape.shape == part.shape and (shape == part).all()]
        seen[name].append(at)
    assert all(len(places) > 5 for places in seen.values()), "each of the four, since lines look the same mirrored"
    for name, places in seen.items():
        wanted = home[1].start if name in ("plain", "top-bottom") else 1 - home[1].stop
        assert {left % PERIOD for _, left in places} == {wanted % PERIOD}, "by whole periods, mirrored in a line"
        assert len({top for top, _ in places}) > 5 and len({left for _, left in places}) > 2
    tops = np.array([top for places in seen.values() for top, _ in places])
    assert tops.min() < 6 and tops.max() + own.shape[0] > HEIGHT - 6, "as near to the border as the margin of 3 allows, and up to 3 more"
    counts = np.bincount([row for row, _, _ in parts(samples)], minlength=120)
    assert 0.7 < counts.mean() < 1.3 and {0, 1, 2} <= set(counts.tolist())
    assert (samples.domain[:] == (counts > 0)).all()  # type: ignore[index]


def test_outside_of_the_widened_mask_nothing_changes_and_inside_it_the_defect_is_as_it_was(pair: Any, pasted: Any) -> None:
    samples = pasted(pair(0.0), {"margin": 2}, {"count": 60, "contrast": [1, 1], "mirror": False})
    assert samples.references is not None and samples.masks is not None
    gap = samples.images[:, 0].astype(int) - samples.references[:, 0]
    masks = samples.masks[:]
    away = np.stack([ndimage.distance_transform_edt(mask == 0) > 2 for mask in masks])
    assert not gap[away].any(), "without noise, to the last grey level"
    change, mask = blob()
    wanted = change[mask == 1].astype(int)
    alone = [row for row, _, _ in parts(samples)]
    alone = [row for row in alone if alone.count(row) == 1]
    assert len(alone) > 5
    for row in alone:
        assert np.abs(gap[row][masks[row] == 1] - wanted).max() <= 1
    other = pasted(pair(0.0), {}, {"count": 60, "contrast": [0.5, 0.5]})
    assert other.images[:].max() < samples.images[:].max(), "another contrast"


@pytest.mark.parametrize("blur", [0.0, 0.8])
def test_noise_is_there_once_within_defects_and_beside_them(blur: float, held: Any, pasted: Any) -> None:
    """Held against the same defects on the same lines without noise. What a naive paste gives is the control."""
    change, mask = blob()
    ground, source = lines(), np.random.default_rng(5)

    def grain() -> Real:
        noise = source.standard_normal((2 * HEIGHT, 2 * WIDTH))
        soft = ndimage.gaussian_filter(noise, blur) if blur else noise
        found: Real = 3 * soft[:HEIGHT, :WIDTH] / soft.std()
        return found

    spoilt = [noisy(ground + change + grain(), 0, 0) for _ in range(8)]
    clean = noisy(ground + grain(), 0, 0)
    given = held([*spoilt, clean], masks=np.stack([*[mask] * 8, 0 * mask]))
    samples = pasted(given, {}, {"count": 120, "contrast": [1, 1], "mirror": False})
    assert samples.masks is not None
    home, noise = ndimage.find_objects(mask)[0], []
    inside, outside = [], []
    for row, (top, left), part in parts(samples):
        if part.shape != mask[home].shape or (samples.masks[row] > 0).sum() != mask.sum():
            continue  # several defects in it
        gap = samples.images[row, 0] - ground - np.roll(change, (top - home[0].start, left - home[1].start), (0, 1))
        away = ndimage.distance_transform_edt(samples.masks[row] == 0) > 5
        inside.append(np.square(gap[samples.masks[row] > 0]).mean())
        outside.append(gap[away].var())
        noise.append(np.where(away, gap, np.nan))
    assert len(inside) > 25
    assert np.sqrt(np.mean(outside)) == pytest.approx(3, rel=0.08)
    assert 0.9 < np.sqrt(np.mean(inside) / np.mean(outside)) < 1.25
    both = np.isfinite(noise[0]) & np.isfinite(noise[1])
    assert np.corrcoef(noise[0][both], noise[1][both])[0, 1] < 0.6, "no two samples have the same noise, though there is one clean image"
    ours = mask > 0
    moved = np.roll(clean[0].astype(float) - ground, -PERIOD, 1)
    naive = [np.square((one[0] - change - clean[0] + moved)[ours]).mean() for one in spoilt]
    assert np.sqrt(np.mean(naive)) / 3 > 1.5, "the control: the noise of three images"


def test_several_images_classes_and_sources(held: Any, pasted: Any) -> None:
    images, masks = [], []
    for row, (at, value) in enumerate([((20, 18), 1), ((40, 30), 2), ((30, 42), 2)]):
        change, mask = blob(at)
        images.append(noisy(lines() + value * change / 2, 1.0, row))
        masks.append(mask * value)
    images.append(noisy(lines(), 1.0, 9))
    masks.append(np.zeros_like(masks[0]))
    names, source = ["clean", "bridge", "break"], np.arange(4, dtype=np.int32)
    given = held(
        images, masks=np.stack(masks), class_names=names, labels=np.array([1, 2, 2, 0], np.int16),
        source=source, source_names=["a.png", "b.png", "c.png", "clean.png"],
    )  # fmt: skip
    samples = pasted(given, {}, {"count": 60})
    assert samples.class_names == names and samples.mask_names == names
    assert set(np.unique(samples.masks[:])) == {0, 1, 2}  # type: ignore[index]
    assert {samples.source_names[index] for index in samples.source[:]} == {"a.png", "b.png", "c.png", "clean.png"}  # type: ignore[index]
    for row, (label, index) in enumerate(zip(samples.labels[:], samples.source[:], strict=True)):  # type: ignore[index]
        first = {"a.png": 1, "b.png": 2, "c.png": 2, "clean.png": 0}[samples.source_names[index]]
        assert label == first and (label == 0 or (samples.masks[row] == label).any())  # type: ignore[index]


def test_colour_other_sizes_and_a_reference_of_another_set(held: Any, pasted: Any) -> None:
    change, _ = blob()
    tint = np.array([1.0, 0.5, -0.5])[:, None, None]

    def coloured(defect: float, seed: int) -> NDArray[np.uint8]:
        return np.concatenate([noisy(lines() + defect * t * change, 1.0, 3 * seed + i) for i, t in enumerate(tint[:, 0, 0])])

    clean = held([coloured(0, 1), coloured(0, 2)], domain=np.zeros(2, np.int8))
    given = held([coloured(1, 3)])  # neither masks nor domain: what differs is the defect
    wide = pasted(given, {}, {"count": 12, "size": [40, 150]}, reference=clean)
    assert wide.images.shape == (12, 3, 40, 150) and wide.attrs["labelled"] == "all"
    assert wide.masks is not None and wide.references is not None and wide.domain[:].any()  # type: ignore[index]
    period = [np.abs(np.roll(row.mean((0, 1)), PERIOD) - row.mean((0, 1)))[PERIOD:].mean() for row in wide.references[:].astype(float)]
    assert max(period) < 3, "it goes on by its period"
    drawn = wide.images[:].astype(float) - wide.references[:]
    inside = np.stack([drawn[:, channel][wide.masks[:] == 1].mean() for channel in range(3)])
    assert inside[0] > 1.5 * inside[1] > 0 > inside[2], "each channel has its own residual"


def test_an_image_beside_its_reference_is_laid_on_it(held: Any, run_task: Any) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    scene = 90 + 50 * (np.abs(y - x) < 6) + 30 * (y > 44) + 20.0 * (x > 50)
    scene = ndimage.gaussian_filter(scene, 1.2)
    change, mask = blob()
    found = []
    for shift in ((0, 0), (2, -3)):
        image = noisy(np.roll(scene, shift, (0, 1)) + change, 1.0, 1)
        given = held([image], masks=mask[None], references=np.stack([noisy(scene, 1.0, 2)]))
        model = run_task(CopyPaste, "train", {}, images=given)
        assert isinstance(model, Model)
        found.append(model.state("defect.0.change")[""].numpy())
    assert found[0].shape == found[1].shape and np.abs(found[0] - found[1]).max() < 8, "the structure is not in the residual"
    elsewhere = held(
        [noisy(90 + 50.0 * (np.abs(y + x - 60) % 30 < 8), 1.0, 3)], masks=mask[None], references=np.stack([noisy(scene, 1.0, 2)])
    )
    with pytest.raises(DataError, match="does not show the place of its clean image"):
        run_task(CopyPaste, "train", {}, images=elsewhere)
    with pytest.raises(DataError, match=r"cannot be continued to 64 x 200: its structure does not repeat"):
        run_task(CopyPaste, "sample", {"size": [64, 200]}, model=model)


def test_what_cannot_be_pasted_is_refused_in_a_line(held: Any, pair: Any, run_task: Any) -> None:
    change, mask = blob()
    image, clean = noisy(lines() + change, 1, 1), noisy(lines(), 1, 2)
    cases = {
        r"none of the 2 images of set \w+ has a defect": {"images": held([clean, clean], domain=np.zeros(2, np.int8))},
        r"difference to a clean image, and set \w+ has none .*: give `reference`": {"images": held([image], masks=mask[None])},
        "differs from its clean image nowhere": {"images": held([clean, clean], domain=np.array([1, 0], np.int8))},
        r"clean images of set \w+ are 64 x 72 x 1, the images with defects 40 x 72 x 1": {
            "images": held([image[:, :40]], masks=mask[None, :40]), "reference": held([clean])
        },
    }  # fmt: skip
    for words, inputs in cases.items():
        with pytest.raises(DataError, match=words) as caught:
            run_task(CopyPaste, "train", {}, **inputs)
        assert "\n" not in str(caught.value)
    model = run_task(CopyPaste, "train", {}, images=pair(1.0))
    with pytest.raises(DataError, match="8 x 80 pixels do not hold a defect"):
        run_task(CopyPaste, "sample", {"size": [8, 80]}, model=model)
    other = run_task(NoisePaste, "train", {}, images=pair(1.0))
    with pytest.raises(DataError, match=r"no model of copy-paste\.train \(role 'noise-paste'\)"):
        run_task(CopyPaste, "sample", {}, model=other)
    for wrong in ({"contrast": [1.2, 0.8]}, {"rate": -1}, {"size": [0, 8]}):
        with pytest.raises(ValueError, match=r"contrast|rate|size"):
            run_task(CopyPaste, "sample", wrong, model=model)


def test_labelling_keeps_the_exact_masks(pair: Any, pasted: Any, run_task: Any) -> None:
    images = pair(2.0)
    samples = pasted(images, {}, {"count": 20})
    for preset in ("calibrated", "published"):
        labelled = run_task(ReferenceDifference, "label", {"preset": preset}, images=samples, reference=images)
        assert (labelled.masks[:] == samples.masks[:]).all()


def test_a_verbatim_copy_is_caught_and_copy_paste_is_none(pair: Any, pasted: Any, held: Any) -> None:
    """By the copy check of quality.evaluate."""
    images, params = pair(2.0), EvaluateParams()
    copies = held([np.asarray(images.images[0])] * 8)
    samples = pasted(images, {}, {"count": 24, "rate": 1.5})
    shares = {}
    for name, made in (("copies", copies), ("samples", samples)):
        found = Findings({})
        copy_scores(params, Comparison.of(params, made, images), found)
        shares[name] = found.metrics["copies"]["copy_share"].value
    assert shares == {"copies": 1.0, "samples": 0.0}


def test_a_defect_goes_where_it_shows_and_on_no_other() -> None:
    levels = np.zeros((1, 8, 30))
    levels[..., 15:] = 255
    piece = Residual(np.full((1, 3, 3), -80.0), np.ones((3, 3)), np.ones((3, 3), np.uint8), np.zeros((3, 3)), (0, 0))
    dark, bright = np.array([[2, 3], [2, 5], [2, 7]]), np.array([[2, 20]])
    source = np.random.default_rng(0)
    found = [Sheet.of(levels, 1.0).free(piece, np.concatenate([dark, bright]), 1.0, source) for _ in range(40)]
    assert found.count((2, 20)) > 30, "black on black is not seen; of three places in four eight tries seldom miss the fourth"
    assert Sheet.of(levels, 1.0).free(piece, dark, 1.0, source) is not None, "where it shows nowhere, anywhere"
    sheet = Sheet.of(levels, 1.0)
    sheet.paste(piece, (2, 20), 1.0)
    assert sheet.free(piece, bright + 2, 1.0, source) is None and sheet.heard.max() == 1 and sheet.mask.sum() == 9


def test_one_rule_marks_all_images_without_masks(held: Any, run_task: Any) -> None:
    """A crop of a board may have a reference that is black all over; alone no threshold would follow from it."""
    black, board = np.zeros((48, 48)), np.where(np.arange(48) < 24, 0.0, 255.0) * np.ones((48, 1))
    spoilt = [black.copy(), board.copy()]
    spoilt[0][20:28, 20:28], spoilt[1][8:16, 30:38] = 255, 0
    given = held(
        [noisy(one, 0, 0) for one in spoilt], references=np.stack([noisy(one, 0, 0) for one in (black, board)]),
        domain=np.ones(2, np.int8),
    )  # fmt: skip
    model = run_task(CopyPaste, "train", {}, images=given)
    assert isinstance(model, Model)
    areas = [int((model.state(f"defect.{index}.mask")[""] == 1).sum()) for index in range(2)]
    assert len(model.config["defects"]) == 2 and all(50 <= area <= 110 for area in areas)


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_defect_keeps_its_surroundings(turn: int) -> None:
    around = np.arange(11 * 9.0).reshape(11, 9)
    piece = Residual(around[None, 3:6, 1:8], np.ones((3, 7)), np.ones((3, 7), np.uint8), around, (3, 1))
    found = piece.turned(turn)
    (top, left), (height, width) = found.at, found.box
    assert (found.around[top : top + height, left : left + width] == found.change[0]).all()
    assert (found.around == turned(around, turn)).all()


def hole_array(first: tuple[float, float], taken: tuple[int, int] | None = None, size: int = 64) -> Real:
    """Dark holes of 4.6 px radius every 15.3 px, the first at `first` (down, right); without the one that is `taken`."""
    y, x = np.mgrid[:size, :size]
    picture = np.full((size, size), 140.0)
    for row in range(-1, 6):
        for column in range(-1, 6):
            if (row, column) != taken:
                distance = np.hypot(y - first[0] - 15.3 * row, x - first[1] - 15.3 * column)
                picture -= 80 / (1 + np.exp((distance - 4.6) / 0.7))
    return picture


def test_a_defect_is_moved_by_the_fraction_of_a_pixel_that_its_place_is_off() -> None:
    """A missing hole, cut out at one place and put on a hole 0.45 px off: what is left of the hole, with the move and (the control) without."""
    own, other, home = (8.0, 8.0), (8.45, 7.6), (1, 1)
    change = hole_array(own, home) - hole_array(own)
    box = (slice(13, 34), slice(13, 34))
    piece = Residual(
        change[None, *box], (change[box] > 1).astype(float), (change[box] > 20).astype(np.uint8), hole_array(own)[9:38, 9:38], (4, 4)
    )
    ground, wanted = hole_array(other), hole_array(other, home)
    one = fitted(piece, ground, (13, 13))
    off, kept = (np.abs(ground[box] + found.change[0] - wanted[box]).max() for found in (piece, one))
    assert kept < 3 < 15 < off
    assert one.mask.sum() == pytest.approx(piece.mask.sum(), rel=0.05)
    assert fitted(piece, hole_array(own), (13, 13)) is piece, "what fits is left to the bit"
    assert fitted(piece, np.roll(ground, 6, 1), (13, 13)) is piece, "and so is what shows another structure"
    at_border = fitted(piece, ground[10:, 11:], (3, 2))
    assert np.abs(ground[box] + at_border.change[0] - wanted[box]).max() < 3, "with part of its surroundings beyond the border"


def test_grain_has_the_power_and_the_spectrum_that_it_was_taken_from() -> None:
    source = np.random.default_rng(0)
    shaped = ndimage.gaussian_filter(source.standard_normal((4, 2, 96, 96)), (0, 0, 1.0, 0.5), mode="wrap")
    shaped[:, 1] = 2 * shaped[:, 1] + shaped[:, 0]
    shaped[:, :, 20:30, 20:30] += 50  # a defect, which is no noise
    grain = Grain.of(shaped)
    drawn = np.stack([grain.draw((96, 128), source) for _ in range(8)])
    away = shaped[:, :, 40:]
    for of in (lambda n: n.std((0, 2, 3)), lambda n: np.corrcoef(n[:, 0].ravel(), n[:, 1].ravel())[0, 1]):
        assert of(drawn) == pytest.approx(of(away), rel=0.12)
    for axis in (2, 3):
        lag = [float((np.roll(n, 1, axis)[..., 1:, 1:] * n[..., 1:, 1:]).mean() / np.square(n).mean()) for n in (drawn, away)]
        assert lag[0] == pytest.approx(lag[1], abs=0.08)
    assert Grain.of(shaped, 9.0).deviation == pytest.approx(3)


def test_noise_is_taken_off_and_the_structure_stays() -> None:
    clean = noisy(lines(), 3.0, 4).astype(float)
    smooth = denoised(clean, noise_of(clean))
    assert (smooth - lines()).std() < 0.6 * (clean - lines()).std()
    assert noise_of(clean) == pytest.approx(3, rel=0.15)
    flat = np.rint(lines())[None]
    assert (denoised(flat, 0.0) == flat).all()
    two = np.concatenate([clean, clean[:, ::-1]])
    assert denoised(two, 3.0).shape == two.shape


def test_a_structure_goes_on_by_its_period() -> None:
    y, x = np.mgrid[:60, :60]
    holes = 100 + 40 * np.cos(2 * np.pi * x / 10) * np.cos(2 * np.pi * y / 15)
    y, x = np.mgrid[:100, :90]
    wanted = 100 + 40 * np.cos(2 * np.pi * x / 10) * np.cos(2 * np.pi * y / 15)
    assert np.abs(continued(holes, holes, (100, 90)) - wanted).max() < 1e-9
    assert continued(holes, holes, (30, 60)) is holes
    slanted = 100 + 40 * np.cos(2 * np.pi * (np.arange(60) + np.arange(60)[:, None]) / 20)
    assert np.abs(continued(slanted, slanted, (80, 80))[60:, 60:] - slanted[:20, :20]).max() < 1e-9
