"""inpaint: exact masks, classes, drawings and frames of a user, and that what it makes is learnt and not copied.

The scene: vertical lines, 48 x 48, with bright blobs (class 1, between lines) and dark bars (class 2, on a line), three of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError, StepFailed
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.grain import fine_noise, softened
from fabloom.plugins.one_shot.copy_paste.method import CopyPaste
from fabloom.plugins.one_shot.inpaint.method import Inpaint
from fabloom.plugins.one_shot.inpaint.painting import Painter
from fabloom.plugins.one_shot.inpaint.windows import within
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

SIDE, PERIOD, NOISE = 48, 12, 2.0
NAMES = ["clean", "bright", "dark"]
TRAIN = {"steps": 160, "width": 16, "batch": 8, "copies": 6}
Real = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def lines(size: tuple[int, int] = (SIDE, SIDE)) -> Real:
    """Vertical lines [h,w]; columns 0, 12, ... are the brightest."""
    return np.tile(110 + 30 * np.cos(2 * np.pi * np.arange(size[1]) / PERIOD), (size[0], 1))


def defect(kind: int, at: tuple[int, int], length: int) -> tuple[Real, Pixels]:
    """What a defect of class 1 or 2 changes [h,w], and its mask: where it is more than 12 grey levels."""
    change = np.zeros((SIDE, SIDE))
    y, x = at
    if kind == 1:
        change[y - 3 : y + 4, x - length // 2 : x + length // 2] = 55
    else:
        change[y - length : y + length, x - 2 : x + 3] = -60
    change = ndimage.gaussian_filter(change, 1.2)
    return change, (np.abs(change) > 12).astype(np.uint8) * kind


PLACES = ((1, (14, 18), 8), (1, (30, 30), 10), (1, (22, 18), 7), (2, (20, 24), 5), (2, (28, 12), 7), (2, (24, 36), 6))


def scene(seed: int = 0) -> tuple[Pixels, Pixels]:
    """Eight images [8,1,48,48], the last two clean, and their masks."""
    draw, images, masks = np.random.default_rng(seed), [], []
    for kind, at, length in PLACES:
        change, mask = defect(kind, at, length)
        images.append(lines() + change)
        masks.append(mask)
    images += [lines(), lines()]
    masks += [np.zeros_like(masks[0])] * 2
    noisy = np.stack(images) + draw.normal(0, NOISE, (len(images), SIDE, SIDE))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[:, None], np.stack(masks)


@pytest.fixture
def store(kept: LocalStore) -> LocalStore:
    """One for all tests, so that the network is trained once."""
    return kept


@pytest.fixture
def real(store: LocalStore) -> ImageSet:
    def classed(ctx: Context) -> ImageSet:
        images, masks = scene()
        labels = masks.max((1, 2)).astype(np.int16)
        source = np.arange(8, dtype=np.int32)
        return ImageSet.write(
            ctx, images, masks=masks, labels=labels, class_names=NAMES, source=source, source_names=[f"{row}.png" for row in range(8)]
        )

    return write_artifact(store, classed)  # type: ignore[return-value]


@pytest.fixture
def held(store: LocalStore) -> Any:
    """`held("name", images, **columns)` writes a set."""

    def write(name: str, images: Any, **columns: Any) -> ImageSet:
        def given(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, np.asarray(images), **columns)

        given.__qualname__ = name
        return write_artifact(store, given)  # type: ignore[return-value]

    return write


@pytest.fixture
def model(run_task: Any, real: ImageSet) -> Model:
    return run_task(Inpaint, "train", TRAIN, images=real)  # type: ignore[no-any-return]


@pytest.fixture
def untrained(run_task: Any, real: ImageSet) -> Model:
    """The control: the same network, with its random weights."""
    return run_task(Inpaint, "train", {**TRAIN, "steps": 0}, images=real)  # type: ignore[no-any-return]


def residuals(samples: ImageSet) -> Real:
    """What samples differ by from their clean images [N,h,w]."""
    assert samples.references is not None
    return samples.images[:, 0].astype(float) - samples.references[:, 0]


def alone(samples: ImageSet) -> list[tuple[int, Real, NDArray[np.bool_]]]:
    """(class, residual [h,w], mask [h,w]) of samples with one defect."""
    assert samples.masks is not None
    found = []
    for gap, mask in zip(residuals(samples), samples.masks[:], strict=True):
        if ndimage.label(mask > 0, np.ones((3, 3)))[1] == 1:
            found.append((int(mask.max()), gap, mask > 0))
    return found


def test_outside_of_the_masks_a_sample_is_the_clean_image_bit_for_bit(run_task: Any, real: ImageSet, model: Model) -> None:
    samples = run_task(Inpaint, "sample", {"count": 24, "rate": 1.5}, model=model)
    masks, gap = samples.masks[:], residuals(samples)
    assert not gap[masks == 0].any() and (np.abs(gap)[masks > 0] > 0).mean() > 0.95
    clean = {real.images[row].tobytes() for row in (6, 7)}
    assert {one.tobytes() for one in samples.references[:]} == clean, "those of the training set, as they are"
    assert (samples.domain[:] == masks.any((1, 2))).all() and set(np.unique(masks)) == {0, 1, 2}
    assert samples.class_names == samples.mask_names == NAMES
    told = samples.attrs
    assert told["mask_pixels"] - told["mask_pixels_unseen"] == (masks > 0).sum() and told["defects_left_out"] < 0.2 * told["defects_asked"]
    loose = run_task(Inpaint, "sample", {"count": 24, "rate": 1.5, "tighten": False}, model=model)
    assert (loose.masks[:] > 0).sum() == told["mask_pixels"], "as drawn: none is taken out"
    assert (loose.masks[:][masks > 0] == masks[masks > 0]).all()
    faded = run_task(Inpaint, "sample", {"count": 24, "rate": 1.5, "fade": 2}, model=model)
    away = np.stack([ndimage.distance_transform_edt(mask == 0) for mask in masks])
    assert (faded.masks[:] == masks).all() and not residuals(faded)[away > 2.9].any() and residuals(faded)[(away > 0) & (away < 1.5)].any()


def test_a_sample_follows_from_the_seed_and_its_number(run_task: Any, model: Model) -> None:
    few, many = (run_task(Inpaint, "sample", {"count": count, "batch": batch}, model=model) for count, batch in ((4, 2), (9, 4)))
    assert (few.images[:] == many.images[:4]).all() and (few.masks[:] == many.masks[:4]).all()
    other = run_task(Inpaint, "sample", {"count": 4, "batch": 2}, seed=1, model=model)
    assert (few.images[:] != other.images[:]).any()


def test_classes_are_respected_and_the_contrast_is_learnt(run_task: Any, real: ImageSet, model: Model, untrained: Model) -> None:
    """A rule on the residual, the nearest mean of the real ones, names the class that was asked for; of the untrained network it cannot."""
    wanted = {kind: np.mean([defect(k, at, n)[0][defect(k, at, n)[1] > 0].mean() for k, at, n in PLACES if k == kind]) for kind in (1, 2)}
    right, contrast = {}, {}
    for name, one in (("trained", model), ("untrained", untrained)):
        found = alone(run_task(Inpaint, "sample", {"count": 40, "shown": 0, "tighten": False}, model=one))
        means = [(kind, gap[mask].mean()) for kind, gap, mask in found]
        assert len(means) > 8
        right[name] = np.mean([min(wanted, key=lambda k: abs(wanted[k] - mean)) == kind for kind, mean in means])
        contrast[name] = np.mean([mean / wanted[kind] for kind, mean in means])
    assert right["trained"] == 1 and right["untrained"] < 0.8
    assert 0.7 < contrast["trained"] < 1.3 and abs(contrast["untrained"]) < 0.4
    told = run_task(Inpaint, "sample", {"count": 24, "rate": 1.5}, model=untrained).attrs
    assert told["defects_left_out"] > 0.9 * told["defects_asked"], "by default its masks are no false labels: they are left out"


def roughness(images: Any, masks: Any) -> float:
    """Deviation of images [N,h,w] from their own softening, well within masks."""
    cores = [ndimage.binary_erosion(mask, iterations=2) for mask in masks]
    return float(np.std(np.concatenate([(one - softened(one))[core] for one, core in zip(images, cores, strict=True)])))


def test_inside_of_masks_there_is_as_much_noise_as_in_real_defects(run_task: Any, real: ImageSet, model: Model, untrained: Model) -> None:
    assert real.masks is not None
    wanted, ratio = roughness(real.images[:6, 0].astype(float), real.masks[:6] > 0), {}
    for name, one in (("trained", model), ("untrained", untrained)):
        samples = run_task(Inpaint, "sample", {"count": 40, "shown": 0, "tighten": False}, model=one)
        ratio[name] = roughness(samples.images[:, 0].astype(float), samples.masks[:] > 0) / wanted
    assert 0.8 < ratio["trained"] < 1.5 < 2 < ratio["untrained"]


def likeness(gap: Real, mask: NDArray[np.bool_], pieces: list[Real]) -> float:
    """The largest normalised correlation of a residual in its mask's box with one of some pieces, turned or mirrored, wherever it lies."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    patch = np.where(mask, gap, 0)[box]
    best = 0.0
    for piece in pieces:
        canvas = np.pad(piece, 12)
        for turn in range(4):
            for flipped in (canvas, canvas[:, ::-1]):
                scene = np.rot90(flipped, turn)
                if patch.shape[0] > scene.shape[0] or patch.shape[1] > scene.shape[1]:
                    continue
                product = ndimage.correlate(scene, patch, mode="constant")
                energy = ndimage.uniform_filter(scene**2, patch.shape, mode="constant") * patch.size
                best = max(best, float((product / np.sqrt(np.maximum(energy * (patch**2).sum(), 1e-9))).max()))
    return best


def test_a_residual_is_no_copy_of_a_training_residual(run_task: Any, real: ImageSet, model: Model) -> None:
    """Normalised correlation after alignment. copy-paste, which moves residuals, is the control that fails it; how alike the real defects
    of one class are to each other is what can be asked for.
    """
    cut = run_task(CopyPaste, "train", {}, images=real)
    pieces = {kind: [] for kind in (1, 2)}
    for index, (kind, _, _) in enumerate(PLACES):
        state = {name: cut.state(f"defect.{index}.")[name].numpy() for name in ("change", "mask")}
        pieces[kind].append(np.where(state["mask"] > 0, state["change"][0], 0).astype(float))
    found = {}
    for method, one in ((Inpaint, model), (CopyPaste, cut)):
        samples = alone(run_task(method, "sample", {"count": 24}, model=one))
        found[method.name] = np.median([likeness(gap, mask, pieces[kind]) for kind, gap, mask in samples])
    among = [likeness(one, one != 0, [other for other in held if other is not one]) for held in pieces.values() for one in held]
    assert found["copy-paste"] > 0.985
    assert found["inpaint"] < found["copy-paste"] - 0.01 and found["inpaint"] < max(among) + 0.02


def test_a_user_gives_frames_and_drawings(run_task: Any, held: Any, model: Model) -> None:
    wide = np.rint(lines((64, 96)) + np.random.default_rng(3).normal(0, NOISE, (64, 96))).astype(np.uint8)
    frames = held("frames", [wide[None], wide[None, :, ::-1]], domain=np.zeros(2, np.int8))
    drawn = np.zeros((3, 64, 96), np.uint8)
    drawn[0, 20:30, 40:46], drawn[0, 50:64, 70:75], drawn[1, 30:36, 4:14] = 1, 2, 2
    named = held("named", np.zeros((3, 1, 64, 96), np.uint8), masks=drawn, class_names=NAMES)
    samples = run_task(Inpaint, "sample", {"count": 5, "tighten": False, "redraw": 4}, model=model, images=frames, masks=named)
    assert samples.images.shape == (5, 1, 64, 96)
    for row in range(5):
        assert (samples.references[row] == frames.images[row % 2]).all()
        mask = samples.masks[row]
        assert (mask[mask > 0] == drawn[row % 3][mask > 0]).all() and not residuals(samples)[row][drawn[row % 3] == 0].any()
    assert (samples.masks[0] == drawn[0]).all(), "up to the border"
    assert residuals(samples)[0][drawn[0] == 1].mean() > 15 > -15 > residuals(samples)[0][drawn[0] == 2].mean()
    free = held("free", np.zeros((3, 1, 64, 96), np.uint8), masks=(drawn > 0).astype(np.uint8))
    classes = run_task(Inpaint, "sample", {"count": 12}, model=model, images=frames, masks=free).masks[:]
    assert {1, 2} <= set(np.unique(classes)), "a class is drawn where none is told"
    small = run_task(Inpaint, "sample", {"count": 2, "rate": 3}, model=model, images=frames)
    assert small.images.shape[2:] == (64, 96) and small.masks[:].any()


def test_what_does_not_show_is_no_defect(run_task: Any, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that changes nothing would give false labels: its defects are left out, and counted."""
    monkeypatch.setattr(Painter, "change", lambda self, ground, mask, kind, source: np.zeros_like(ground))
    samples = run_task(Inpaint, "sample", {"count": 7, "rate": 2}, model=model)
    assert not samples.masks[:].any() and not samples.labels[:].any() and (samples.images[:] == samples.references[:]).all()
    assert samples.attrs["defects_left_out"] == samples.attrs["defects_asked"] > 0
    half = 40.0 * (np.arange(SIDE * 4) % 4 > 0)  # three columns of four change
    monkeypatch.setattr(Painter, "change", lambda self, ground, mask, kind, source: ground * 0 + half[: ground.shape[2]])
    tight = run_task(Inpaint, "sample", {"count": 8, "rate": 2}, model=model)
    assert not residuals(tight)[tight.masks[:] == 0].any() and (np.abs(residuals(tight))[tight.masks[:] > 0] >= 1).all()
    assert 0.15 < tight.attrs["mask_pixels_unseen"] / tight.attrs["mask_pixels"] < 0.35


def test_bad_inputs_are_refused(run_task: Any, held: Any, real: ImageSet, model: Model) -> None:
    black = np.zeros((1, 1, SIDE, SIDE), np.uint8)
    spot = np.zeros((1, SIDE, SIDE), np.uint8)
    spot[0, 10:20, 10:20] = 1
    tiny = held("tiny", black[..., :8, :8], domain=np.zeros(1, np.int8))
    colour = held("colour", np.concatenate([black, black + 1, black + 2], 1), domain=np.zeros(1, np.int8))
    cases = [
        ({"masks": held("bare", black)}, "at port 'masks' has no masks"),
        ({"masks": held("small", black[..., :40], masks=spot[..., :40])}, "masks of set .* are 48 x 40, the clean images 48 x 48"),
        ({"masks": held("scratch", black, masks=spot, class_names=["clean", "scratch"])}, "class 'scratch', and the model has seen none"),
        ({"images": tiny}, "8 x 8, too small for a defect"),
        ({"images": colour}, "is in colour, and the model was trained in grey"),
    ]
    for inputs, words in cases:
        with pytest.raises((DataError, StepFailed), match=words):
            run_task(Inpaint, "sample", {"count": 1, "rate": 4}, model=model, **inputs)
    with pytest.raises(DataError, match=r"no model of inpaint\.train"):
        run_task(Inpaint, "sample", {}, model=run_task(CopyPaste, "train", {}, images=real))
    with pytest.raises(ValueError, match="the smaller one first"):
        run_task(Inpaint, "sample", {"scale": [2, 1]}, model=model)


def test_one_pair_without_classes_or_masks_is_enough(run_task: Any, held: Any) -> None:
    images, _ = scene()
    pair = held("pair", images[[3, 6]], domain=np.array([1, 0], np.int8))
    model = run_task(Inpaint, "train", {**TRAIN, "steps": 2}, images=pair)
    samples = run_task(Inpaint, "sample", {"count": 6, "rate": 2, "redraw": 0}, model=model)
    assert samples.labels is None and samples.attrs["labelled"] == "all" and set(np.unique(samples.masks[:])) <= {0, 1}


def test_frames_go_on_mirrored() -> None:
    assert within(-3, 8, 5).tolist() == [2, 1, 0, 0, 1, 2, 3, 4]
    assert within(3, 9, 4).tolist() == [3, 3, 2, 1, 0, 0, 1, 2, 3]


def test_softening_keeps_parabolas_and_takes_noise_off() -> None:
    y, x = np.mgrid[:24, :24].astype(float)
    bowl = 3 + 2 * x - y + 0.3 * x * x - 0.2 * x * y
    assert np.abs(softened(bowl) - bowl)[2:-2, 2:-2].max() < 1e-9
    noise = np.random.default_rng(0).normal(0, 3, (2, 64, 64))
    assert softened(noise).std() / noise.std() == pytest.approx(0.39, abs=0.02)
    assert fine_noise(softened(noise)) < 1.0
