from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fabloom.artifacts import ImageSet, Model, Report
from fabloom.context import Context
from fabloom.errors import DataError, Interrupted
from fabloom.method import Method, task
from fabloom.params import Params
from fabloom.plugins.unet import metrics, networks, pictures, training
from fabloom.plugins.unet.augmentation import augment, mirrored, shifted
from fabloom.plugins.unet.method import Augment, EvaluateParams, TrainParams, UNet

STILL = {"flip_x": False, "flip_y": False, "gain": 0, "offset": 0}


class BlobParams(Params):
    count: int = 64
    size: int = 24
    channels: int = 1
    defect_share: float = 0.5
    with_masks: bool = True
    with_labels: bool = False


class Blobs(Method):
    """Bright discs on noise."""

    name = "blobs"

    @task(version=1)
    def simulate(self, ctx: Context, params: BlobParams) -> ImageSet:
        draw = np.random.default_rng(ctx.seed)
        grey = draw.normal(100, 8, (params.count, params.channels, params.size, params.size))
        y, x = np.mgrid[: params.size, : params.size]
        masks = np.zeros((params.count, params.size, params.size), np.uint8)
        for row in range(round(params.count * params.defect_share)):
            cy, cx = draw.uniform(3, params.size - 3, 2)
            masks[row] = (y - cy) ** 2 + (x - cx) ** 2 <= draw.uniform(4, 12)
            grey[row] += 70 * masks[row]
        images = grey.round().clip(0, 255).astype(np.uint8)
        labels = {"labels": masks.max((1, 2)).astype(np.int16), "class_names": ["clean", "disc"]} if params.with_labels else {}
        return ImageSet.write(ctx, images, masks=masks if params.with_masks else None, **labels)


def random_masks(seed: int, count: int = 40, share: float = 0.3) -> np.ndarray:
    """Masks of which some are empty, some full."""
    masks = np.random.default_rng(seed).random((count, 6, 7)) < share
    masks[:8] = False
    masks[8:11] = True
    return masks


# metrics


def brute_force(found: np.ndarray, truth: np.ndarray) -> tuple[list[float], list[float]]:
    iou, dice = [], []
    for a, b in zip(found, truth, strict=True):
        first, second = {tuple(p) for p in np.argwhere(a)}, {tuple(p) for p in np.argwhere(b)}
        iou.append(len(first & second) / len(first | second) if first | second else 1.0)
        dice.append(2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0)
    return iou, dice


def test_iou_and_dice_agree_with_sets_of_pixels_and_with_smp() -> None:
    import segmentation_models_pytorch as smp

    found, truth = random_masks(1), np.roll(random_masks(2), 4, axis=0)
    iou, dice = brute_force(found, truth)
    np.testing.assert_allclose(metrics.image_iou(found, truth), iou)
    np.testing.assert_allclose(metrics.image_dice(found, truth), dice)
    stats = smp.metrics.get_stats(torch.tensor(found)[:, None].long(), torch.tensor(truth)[:, None].long(), mode="binary")
    scored = metrics.scores(found, truth, 1)
    assert scored["iou"].value == pytest.approx(smp.metrics.iou_score(*stats, reduction="micro-imagewise", zero_division=1.0).item())
    assert scored["iou_pooled"].value == pytest.approx(smp.metrics.iou_score(*stats, reduction="micro").item())
    assert scored["dice_pooled"].value == pytest.approx(smp.metrics.f1_score(*stats, reduction="micro").item())


@pytest.mark.parametrize(("found", "truth", "iou"), [(0, 0, 1.0), (0, 1, 0.0), (1, 0, 0.0), (1, 1, 1.0)])
def test_empty_and_full_masks(found: int, truth: int, iou: float) -> None:
    shape = (3, 5, 5)
    assert metrics.image_iou(np.full(shape, found, np.uint8), np.full(shape, truth, np.uint8)).tolist() == [iou] * 3


def test_predicting_nothing_scores_the_share_of_clean_images() -> None:
    truth = np.zeros((10, 4, 4), np.uint8)
    truth[:5, 1:3, 1:3] = 1
    scored = metrics.scores(np.zeros(truth.shape, bool), truth, 1)
    assert scored["iou"].value == 0.5
    assert (scored["iou_defect"].value, scored["detection_rate"].value, scored["false_alarm_rate"].value) == (0, 0, 0)


def test_scores_without_clean_or_defect_images_are_undefined() -> None:
    full, empty = np.ones((4, 3, 3), np.uint8), np.zeros((4, 3, 3), np.uint8)
    assert metrics.scores(full > 0, full, 1)["false_alarm_rate"].value is None
    scored = metrics.scores(empty > 0, empty, 1)
    assert scored["iou_defect"].value is None
    samples = metrics.resampled(scored, 100, torch.Generator())
    assert metrics.interval(None, samples["iou_defect"], 0.95) == metrics.Interval(None, None, None)


def test_alarms_need_a_connected_component_and_hits_touch_the_truth() -> None:
    found, truth = np.zeros((4, 6, 6), bool), np.zeros((4, 6, 6), np.uint8)
    found[0, 0, 0] = found[0, 5, 5] = True  # two specks of one pixel
    found[1, [0, 1, 2], [0, 1, 2]] = True  # three pixels, joined at corners
    found[2, :2, :2], truth[2, 1:4, 1:4] = True, 1  # touches
    found[3, :2, :2], truth[3, 4:, 4:] = True, 1  # large, but elsewhere
    alarms, hits = metrics.events(found, truth, 3)
    assert (alarms.tolist(), hits.tolist()) == ([0, 1, 1, 1], [0, 0, 1, 0])


def test_random_masks_score_far_below_the_truth() -> None:
    truth = random_masks(3)
    assert metrics.scores(truth, truth, 1)["iou_defect"].value == 1
    assert metrics.scores(np.roll(truth, 13, axis=0), truth, 1)["iou_defect"].value < 0.5


def test_bootstrap_intervals_cover_the_mean_as_often_as_they_say() -> None:
    draw, numbers = torch.Generator().manual_seed(0), np.random.default_rng(0)
    inside, trials = 0, 300
    for _ in range(trials):
        ratio = metrics.Ratio(numbers.random(60), np.ones(60))
        found = metrics.interval(ratio.value, metrics.resampled({"m": ratio}, 300, draw)["m"], 0.9)
        inside += found.low <= 0.5 <= found.high
    # three standard errors of a share of 0.9, and a percentile interval of 60 values is a little short
    assert 0.83 < inside / trials < 0.96


def test_bootstrap_width_matches_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(1).random(400)
    samples = metrics.resampled({"m": metrics.Ratio(values, np.ones(400))}, 2000, torch.Generator().manual_seed(1))["m"]
    assert samples.std() == pytest.approx(values.std() / 20, rel=0.06)


def test_differences_are_paired_and_judged() -> None:
    base = np.random.default_rng(2).random(50)
    ratios = {gain: {"iou": metrics.Ratio(base + gain, np.ones(50))} for gain in (0.0, 0.02, -0.02)}
    samples = {gain: metrics.resampled(r, 200, torch.Generator().manual_seed(3)) for gain, r in ratios.items()}
    judged = {}
    for gain in ratios:
        gap = metrics.difference(ratios[gain], ratios[0.0], (samples[gain], samples[0.0]), 0.95)["iou"]
        assert gap.low == pytest.approx(gain) and gap.high == pytest.approx(gain)
        judged[gain] = metrics.verdict(gap)
    assert judged == {0.0: "no difference shown", 0.02: "helped", -0.02: "hurt"}
    # unpaired resamples of the same small gain would not show it
    other = metrics.resampled(ratios[0.0], 200, torch.Generator().manual_seed(4))
    unpaired = metrics.difference(ratios[0.02], ratios[0.0], (samples[0.02], other), 0.95)["iou"]
    assert metrics.verdict(unpaired) == "no difference shown"


# augmentation, splits


def test_geometry_moves_image_and_mask_together() -> None:
    masks = torch.from_numpy(random_masks(5)).to(torch.uint8)
    images = masks[:, None].float() * 2 - 1
    x, y = augment(images, masks, Augment(**STILL | {"flip_x": True, "flip_y": True}, shift=3), torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 0] > 0, y > 0) and y.dtype == masks.dtype
    assert not torch.equal(y, masks)


def test_augmentation_off_changes_nothing_and_grey_changes_leave_masks() -> None:
    masks = torch.from_numpy(random_masks(6)).to(torch.uint8)
    images = torch.rand(40, 2, 6, 7)
    x, y = augment(images, masks, Augment(**STILL), torch.Generator())
    assert torch.equal(x, images) and torch.equal(y, masks)
    x, y = augment(images, masks, Augment(**STILL | {"gain": 0.2, "offset": 0.1}, noise=0.1), torch.Generator())
    assert not torch.equal(x, images) and torch.equal(y, masks)


def test_shift_is_a_shift_with_mirrored_border() -> None:
    assert mirrored(torch.arange(-3, 8), 5).tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]
    image = torch.arange(30.0).reshape(1, 1, 5, 6).repeat(200, 1, 1, 1)
    moved = shifted(image, 1, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image[:1], (1, 1, 1, 1), mode="reflect")[0, 0]
    wanted = {tuple(padded[dy : dy + 5, dx : dx + 6].flatten().tolist()) for dy in range(3) for dx in range(3)}
    assert {tuple(m.flatten().tolist()) for m in moved} == wanted


def test_limit_and_holdout_keep_the_shares() -> None:
    domain = np.arange(40) % 4 == 0
    for limit in (2, 3, 8, 20):
        rows = training.first(domain, limit)
        assert len(rows) == limit and domain[rows].sum() == max(1, round(limit / 4))
    assert training.first(domain, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert training.first(np.array([False] * 5), 3).tolist() == [0, 1, 2]
    train, watch = training.holdout(np.arange(40), domain, 0.2, torch.Generator())
    assert sorted([*train, *watch]) == list(range(40)) and (len(watch), domain[watch].sum()) == (8, 2)


def test_loss_falls_from_wrong_to_right_and_blends() -> None:
    masks = torch.from_numpy(random_masks(7)).float()
    right, wrong = (masks * 2 - 1) * 6, (1 - masks * 2) * 6
    for weight in (0.0, 0.5, 1.0):
        assert training.segmentation_loss(right, masks, weight) < 0.02 < 0.5 < training.segmentation_loss(wrong, masks, weight)
    logit = torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))
    parts = [training.segmentation_loss(logit, masks, w).item() for w in (0.0, 1.0, 0.25)]
    assert parts[2] == pytest.approx(0.75 * parts[0] + 0.25 * parts[1])
    p = torch.sigmoid(logit)
    assert parts[1] == pytest.approx(1 - (2 * (p * masks).sum() / (p.sum() + masks.sum())).item(), rel=1e-5)


# network


def test_any_image_size_is_padded_and_cut() -> None:
    net = networks.build("tu-regnetx_002", 3, (16, 8, 8), 2).eval()
    assert networks.logits(net, torch.zeros(2, 2, 19, 30), 3).shape == (2, 19, 30)
    x = torch.rand(1, 2, 16, 24)
    torch.testing.assert_close(networks.logits(net, x, 3), net(x)[:, 0])


def test_unknown_encoder_gives_a_hint() -> None:
    with pytest.raises(DataError, match="Did you mean 'resnet18'"):
        networks.build("resnet81", 3, (16, 8, 8), 1)
    with pytest.raises(ValidationError, match="depth=4 needs 4"):
        TrainParams(depth=4)


def test_panel_shows_truth_and_prediction() -> None:
    from fabloom.plugins.blocks.grey import GreyMap

    images, truth = np.full((2, 1, 48, 48), 100, np.uint8), np.zeros((2, 48, 48), np.uint8)
    truth[0, 10:20, 10:20] = 1
    shown = pictures.panel(images, truth, [np.roll(truth, 20, 1) > 0], GreyMap(0, 200))
    assert shown.shape == (2 * 96 + 4, 2 * 96 + 4, 3) and shown.dtype == np.uint8
    colours = {tuple(c) for c in shown[100:].reshape(-1, 3)}
    assert pictures.TRUE in colours and len(colours) == 4  # grey, red over grey, outline, gap


# tasks


@pytest.fixture
def blobs(run_task: Any) -> ImageSet:
    return run_task(Blobs, "simulate", {"with_labels": True})


TINY = {"decoder_channels": (16, 8, 8), "steps": 80, "batch": 16}


def test_a_trained_network_beats_the_untrained_one_on_held_out_images(run_task: Any, blobs: ImageSet) -> None:
    test = run_task(Blobs, "simulate", {"count": 40, "with_labels": True}, seed=1)
    model = run_task(UNet, "train", TINY, images=blobs)
    anchor = run_task(UNet, "train", TINY | {"steps": 0}, images=blobs)
    report: Report = run_task(UNet, "evaluate", {"resamples": 200}, images=test, model=model, baseline=anchor)
    scored = report.metrics
    assert scored["model"]["iou_defect"] > 0.5 > scored["baseline"]["iou_defect"]
    assert scored["nothing"]["iou"] == 0.5 and scored["images"] == 40
    assert scored["difference"]["verdict"] == "helped" and scored["difference"]["iou_ci"][0] > 0
    assert scored["model"]["iou_ci"][0] <= scored["model"]["iou"] <= scored["model"]["iou_ci"][1]
    assert any("helped" in note for note in report.notes) and any("0.500" in note for note in report.notes)
    assert [row[:2] for row in report.tables["By class"].rows] == [["clean", 20], ["disc", 20]]
    assert len(report.pictures) == 4
    swapped = run_task(UNet, "evaluate", {"resamples": 200}, images=test, model=anchor, baseline=model)
    assert swapped.metrics["difference"]["verdict"] == "hurt"
    assert swapped.metrics["difference"]["iou"] == pytest.approx(-scored["difference"]["iou"])
    alone = run_task(UNet, "evaluate", {"resamples": 200, "batch": 7}, images=test, model=model)
    assert "difference" not in alone.metrics and alone.metrics["model"]["iou"] == pytest.approx(scored["model"]["iou"], abs=0.01)


def test_images_that_were_trained_on_are_refused(run_task: Any, blobs: ImageSet) -> None:
    model = run_task(UNet, "train", TINY | {"steps": 0, "limit": 10}, images=blobs)
    with pytest.raises(DataError, match="10 of 64 test images were used to train 'model'"):
        run_task(UNet, "evaluate", {}, images=blobs, model=model)
    assert model.state("train_digest_rows")[""].shape == (10,)


def test_a_stopped_training_goes_on_to_the_same_model(run_task: Any, blobs: ImageSet, tmp_path: Path) -> None:
    from fabloom.storage.store import Store

    small = TINY | {"steps": 6, "batch": 4, "augment": {"noise": 0.1, "shift": 2}}
    whole = run_task(UNet, "train", small, images=blobs)
    other = Store(tmp_path / "other")
    again = run_task(Blobs, "simulate", {"with_labels": True}, store=other)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run_task(UNet, "train", small, images=again, store=other, stop=lambda: next(calls) >= 2)
    resumed: Model = run_task(UNet, "train", small, images=again, store=other)
    assert resumed.digest == whole.digest
    another = run_task(UNet, "train", small, images=blobs, seed=5)
    assert another.digest != whole.digest


@pytest.mark.parametrize(
    ("blob", "given", "message"),
    [
        ({"with_masks": False}, {}, "has no masks"),
        ({"defect_share": 0.0}, {}, "nothing to learn"),
        ({}, {"augment": {"shift": 24}}, "must stay below"),
        ({"size": 8, "defect_share": 1.0}, {"batch": 1}, "raise batch to 2"),
        ({}, {"encoder": "resnet81"}, "Did you mean"),
    ],
)
def test_bad_training_input_is_refused(run_task: Any, blob: dict[str, Any], given: dict[str, Any], message: str) -> None:
    images = run_task(Blobs, "simulate", {"count": 4} | blob)
    with pytest.raises(DataError, match=message):
        run_task(UNet, "train", TINY | given, images=images)


def test_evaluation_refuses_other_channels_and_other_models(run_task: Any, blobs: ImageSet) -> None:
    colour = run_task(Blobs, "simulate", {"count": 4, "channels": 3})
    model = run_task(UNet, "train", TINY | {"steps": 1}, images=colour)
    with pytest.raises(DataError, match=r"takes 3 channels, test set .* has 1"):
        run_task(UNet, "evaluate", EvaluateParams(), images=blobs, model=model)
    bare = run_task(Blobs, "simulate", {"count": 4, "channels": 3, "with_masks": False}, seed=2)
    with pytest.raises(DataError, match="needs exact ones"):
        run_task(UNet, "evaluate", {}, images=bare, model=model)
