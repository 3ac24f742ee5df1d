"""`unet.segment`: masks and scores of new images, by tiles that do not show, from all trainings of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.metrics import image_iou
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.unet import networks
from fabloom.plugins.judge.unet.cropping import Windows
from fabloom.plugins.judge.unet.fitting import CLASS_WEIGHT, class_loss, segmentation_loss
from fabloom.plugins.judge.unet.method import UNet
from fabloom.plugins.judge.unet.params import SegmentParams, TrainParams
from fabloom.plugins.judge.unet.segmentation import cleaned
from fabloom.plugins.judge.unet.tiling import places, tiled
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task as run

TINY = {"decoder_channels": (16, 8, 8), "steps": 120, "batch": 16}


class Frames(Method):
    """Images that nobody has drawn on."""

    name = "frames"

    @task(version=1)
    def make(self, ctx: Context, params: Params, *, images: ImageSet) -> ImageSet:
        """The images alone, with names."""
        names = [f"wafer {row}.png" for row in range(len(images))]
        return ImageSet.write(ctx, np.asarray(images.images), source=np.arange(len(images), dtype=np.int32), source_names=names)

    @task(version=1)
    def colour(self, ctx: Context, params: Params) -> ImageSet:
        """Colour images."""
        return ImageSet.write(ctx, np.zeros((4, 3, 32, 32), np.uint8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """One for all tests of this file."""
    return LocalStore(tmp_path_factory.mktemp("segment"))


@pytest.fixture(scope="module")
def trained(store: LocalStore) -> tuple[ImageSet, ImageSet, Model]:
    """New images with their truth, the same without it, and a model of two trainings on others."""
    learned = run(store, LinePair, "simulate", {"count": 64, "size": 32}, seed=1)
    truth = run(store, LinePair, "simulate", {"count": 24, "size": 32}, seed=2)
    model = run(store, UNet, "train", TINY | {"repeats": 2}, inputs={"images": learned})
    return truth, run(store, Frames, "make", inputs={"images": truth}), model  # type: ignore[return-value]


def test_masks_of_new_images_meet_their_truth_and_keep_their_names(trained: Any, run_task: Any) -> None:
    truth, frames, model = trained
    found = run_task(UNet, "segment", {}, images=frames, model=model)
    drawn, exact = np.asarray(found.masks), np.asarray(truth.masks)
    shuffled = exact[np.random.default_rng(0).permutation(len(exact))]
    ours, control = image_iou(drawn, exact).mean(), image_iou(drawn, shuffled).mean()
    assert ours > 0.75 > 0.65 > control
    np.testing.assert_array_equal(found.images[...], truth.images[...])
    assert found.source_names == frames.source_names and found.origins()["source"].tolist() == list(range(24))
    assert found.domain is not None and found.domain[...].tolist() == (drawn.max((1, 2)) > 0).tolist()


def test_scores_are_the_mean_probability_of_all_trainings_and_masks_follow_from_them(trained: Any, run_task: Any) -> None:
    _, frames, model = trained
    found = run_task(UNet, "segment", {"threshold": 0.3, "min_area": 1}, images=frames, model=model)
    grey = model.config["grey"]
    x = (torch.from_numpy(np.asarray(frames.images)).float() - grey[0]) / (grey[1] - grey[0]) * 2 - 1
    each = [networks.logits(net, x, model.config["depth"]).sigmoid() for net in networks.load(model, torch.device("cpu"))]
    assert len(each) == 2 and not torch.allclose(*each, atol=0.01)
    assert found.scores is not None
    np.testing.assert_allclose(found.scores[...], sum(each).numpy() / 2, atol=1e-3)
    sure = np.abs(np.asarray(found.scores, np.float32) - 0.3) > 1e-3
    np.testing.assert_array_equal(np.asarray(found.masks)[sure], (np.asarray(found.scores) > 0.3)[sure])


def test_tiles_do_not_show(trained: Any) -> None:
    """What tiles give is what the whole gives, as far from their edges as the network sees; without overlap the seams are there."""
    truth, _, model = trained
    net = next(networks.load(model, torch.device("cpu")))
    x = torch.from_numpy(np.asarray(truth.images)).float().reshape(6, 4, 32, 32).permute(0, 2, 1, 3).reshape(1, 1, 192, 128) / 127.5 - 1

    def predict(part: torch.Tensor) -> torch.Tensor:
        return networks.logits(net, part, model.config["depth"]).sigmoid()

    with torch.inference_mode():
        whole = predict(x)
        seams = {overlap: float((tiled(predict, x, 64, overlap) - whole).abs().mean()) for overlap in (0, 32)}
    assert seams[32] < 0.5 * seams[0]
    assert torch.equal(tiled(predict, x, 192, 0), whole)


def test_tiles_cover_every_pixel_and_weigh_to_one() -> None:
    for height, width, tile, overlap in [(64, 64, 64, 16), (65, 64, 64, 32), (200, 130, 64, 0), (64, 500, 64, 31)]:
        corners = list(places(height, width, tile, overlap))
        seen = np.zeros((height, width), int)
        for top, left in corners:
            assert 0 <= top <= max(height - tile, 0) and 0 <= left <= max(width - tile, 0)
            seen[top : top + tile, left : left + tile] += 1
        assert seen.min() >= 1 and len(set(corners)) == len(corners)
        x = torch.rand(2, 1, height, width)
        assert torch.allclose(tiled(lambda part: part[:, 0], x, tile, overlap), x[:, 0], atol=1e-6)


def test_small_components_go_and_pixels_that_touch_at_corners_are_one() -> None:
    mask = np.zeros((8, 8), bool)
    mask[[0, 1, 2], [0, 1, 2]] = True
    mask[6, 5:7] = True
    assert cleaned(mask, 1).sum() == 5
    assert cleaned(mask, 3).tolist() == (mask & (np.arange(8) < 4)[:, None]).astype(int).tolist()
    assert cleaned(mask, 4).sum() == 0 and cleaned(mask, 4).dtype == np.uint8


class Shapes(Method):
    """Two kinds of defects on noise: bright squares and dark bars; of nine images, three of each and three clean ones."""

    name = "shapes"

    @task(version=1)
    def make(self, ctx: Context, params: Params) -> ImageSet:
        """27 images with classes and references."""
        draw = np.random.default_rng(ctx.seed)
        grey, masks = draw.normal(120, 6, (27, 1, 40, 36)), np.zeros((27, 40, 36), np.uint8)
        clean = grey.copy()
        for row in range(27):
            y, x = draw.integers(2, 24, 2)
            box = (slice(y, y + 7), slice(x, x + 7)) if row % 3 == 1 else (slice(y, y + 4), slice(x, x + 10))
            if row % 3:
                masks[row][box] = row % 3
                grey[row, 0][box] += 70 if row % 3 == 1 else -70
        names = ["clean", "square", "bar"]
        pixels, references = (values.clip(0, 255).astype(np.uint8) for values in (grey, clean))
        return ImageSet.write(ctx, pixels, masks=masks, references=references, class_names=names)

    @task(version=1)
    def plain(self, ctx: Context, params: Params, *, images: ImageSet) -> ImageSet:
        """The same with masks of 0 and 1."""
        masks = (np.asarray(images.masks) > 0).astype(np.uint8)
        return ImageSet.write(ctx, np.asarray(images.images), masks=masks)


@pytest.fixture(scope="module")
def told(store: LocalStore) -> tuple[ImageSet, Model]:
    """New images of two kinds of defects, and a model of others; their odd size is padded."""
    params = TINY | {"steps": 180, "crop": 32, "validation": 0.4, "false_alarms": 0.4}
    model = run(store, UNet, "train", params, inputs={"images": run(store, Shapes, "make", seed=1)})
    return run(store, Shapes, "make", seed=2), model  # type: ignore[return-value]


def test_classes_are_told_apart_and_named(told: Any, run_task: Any) -> None:
    images, model = told
    found = run_task(UNet, "segment", {}, images=images, model=model)
    drawn, exact = np.asarray(found.masks), np.asarray(images.masks)
    both = (drawn > 0) & (exact > 0)
    assert found.class_names == found.mask_names == ["clean", "square", "bar"] and set(np.unique(drawn)) == {0, 1, 2}
    assert image_iou(drawn > 0, exact).mean() > 0.8 > 0.6 > image_iou(drawn > 0, np.roll(exact, 3, 0)).mean()
    right, swapped = (drawn == exact)[both].mean(), (drawn == 3 - exact.astype(int))[both].mean()
    assert right > 0.95 and swapped < 0.05
    np.testing.assert_array_equal(found.references[...], images.references[...])


def test_a_model_of_classes_is_evaluated_and_computes_in_the_precision_that_is_asked_for(told: Any, store: LocalStore) -> None:
    images, model = told
    given = {"images": images, "model": model}
    report: Any = run(store, UNet, "evaluate", {"resamples": 100, "shifts": []}, inputs=given)
    assert report.metrics["model"]["iou_defect"] > 0.7 > report.metrics["nothing"]["iou_defect"] == 0
    exact, rough = (np.asarray(run(store, UNet, "segment", {"precision": p}, inputs=given).scores, np.float32) for p in ("fp32", "bf16"))  # type: ignore[attr-defined]
    assert 0 < np.abs(exact - rough).mean() < 0.02
    short = TINY | {"steps": 1}
    digests = {run(store, UNet, "train", short | {"precision": p}, inputs={"images": images}).digest for p in ("fp32", "bf16")}
    assert len(digests) == 2 and TrainParams(preset="published").precision == "fp32" and TrainParams().precision == "auto"


def test_one_class_is_learned_on_request_and_is_another_network(told: Any, store: LocalStore) -> None:
    images, model = told
    short = TINY | {"steps": 2}
    plain = run(store, UNet, "train", short | {"classes": "one"}, inputs={"images": images})
    heads = {m.state("net.0.")["segmentation_head.0.weight"].shape[0] for m in (plain, model)}  # type: ignore[attr-defined]
    assert heads == {1, 3} and plain.config["class_names"] == ["clean", "defect"]  # type: ignore[attr-defined]
    without = run(store, Shapes, "plain", inputs={"images": images})
    assert run(store, UNet, "train", short, inputs={"images": without}).digest == plain.digest, "masks without classes, the same bits"


def test_the_model_brings_its_threshold_and_another_one_overrides_it(told: Any, run_task: Any) -> None:
    images, model = told
    config = model.config
    choice = config["threshold_choice"]
    assert choice["chosen"] and choice["alarms"] <= 0.4 * choice["clean_images"] and choice["false_alarms"] == 0.4
    assert choice["clean_images"] + choice["defect_images"] == config["images"]["validation"]
    used = {given: run_task(UNet, "segment", {"threshold": given}, images=images, model=model) for given in (None, 0.9)}
    assert used[None].attrs["threshold"] == config["threshold"] != used[0.9].attrs["threshold"] == 0.9
    scores = np.asarray(used[None].scores, np.float32)
    sure = np.abs(scores - config["threshold"]) > 1e-3
    loose = run_task(UNet, "segment", {"min_area": 1}, images=images, model=model)
    np.testing.assert_array_equal((np.asarray(loose.masks) > 0)[sure], (scores > config["threshold"])[sure])


def test_a_model_from_before_thresholds_keeps_a_half(trained: Any, run_task: Any) -> None:
    _, frames, model = trained

    class Older(Method):
        name = "older"

        @task(version=1)
        def copy(self, ctx: Context, params: Params, *, model: Model) -> Model:
            """The same weights without what was not kept then."""
            new = ("threshold", "threshold_choice", "class_names")
            return Model.write(ctx, model.state(), {name: value for name, value in model.config.items() if name not in new})

    older = run_task(Older, "copy", model=model)
    found, asked = (run_task(UNet, "segment", given, images=frames, model=m) for given, m in (({}, older), ({"threshold": 0.5}, model)))
    assert found.attrs["threshold"] == 0.5
    np.testing.assert_array_equal(found.masks[...], asked.masks[...])


def test_a_small_part_of_another_class_belongs_to_the_defect_around_it() -> None:
    mask, values = np.zeros((8, 8), bool), np.ones((8, 8), int)
    mask[1:4, 1:6] = True
    values[1, 1], values[1:4, 4:6] = 2, 2
    assert cleaned(mask, 4, values)[1:4, 1:6].tolist() == [[1, 1, 1, 2, 2]] * 3
    assert cleaned(mask, 1, values)[1, 1] == 2 and not cleaned(mask, 20, values).any()


def test_windows_hold_defects_half_of_the_time_and_small_images_stay_whole() -> None:
    masks = torch.zeros(2, 96, 80, dtype=torch.uint8)
    masks[0, 90:94, 3:6], masks[1, 50, 50] = 1, 255
    images = torch.arange(2 * 96 * 80, dtype=torch.int32).reshape(2, 1, 96, 80)
    windows, draw = Windows(images, masks, 32), torch.Generator().manual_seed(0)
    pixels, taken = windows.take(torch.tensor([0] * 300 + [1] * 300), draw)
    assert pixels.shape == (600, 1, 32, 32) and taken.shape == (600, 32, 32)
    hits = (taken == 1).flatten(1).any(1).float()
    blind = 32 / 65 * 6 / 49  # rows 59..64 of 0..64, columns 0..5 of 0..48 hold a pixel of it; about
    assert 0.5 < hits[:300].mean() < 0.5 + 4 * blind and hits[300:].sum() == 0
    first = int(pixels[0, 0, 0, 0])
    assert torch.equal(pixels[0, 0], images[0, 0, first // 80 : first // 80 + 32, first % 80 : first % 80 + 32])
    assert len(pixels[:300, 0, 0, 0].unique()) > 100, "windows differ"
    state = draw.get_state()
    assert torch.equal(Windows(images, masks, 96).take(torch.tensor([1]), draw)[0], images[1:]) and torch.equal(state, draw.get_state())


def test_the_loss_of_classes_falls_from_wrong_to_right_and_leaves_unknown_pixels_out() -> None:
    masks = torch.zeros(2, 8, 8, dtype=torch.uint8)
    masks[0, :4], masks[1, 4:], masks[:, 0] = 1, 2, 255
    right = torch.nn.functional.one_hot(masks.long().clamp(max=2), 3).permute(0, 3, 1, 2).float() * 20 - 10
    for dice in (0.0, 0.5, 1.0):
        losses = [float(segmentation_loss(out, masks, dice)) for out in (right, right[:, [0, 2, 1]], right[:, [1, 0, 2]])]
        assert losses[0] < 0.01 < 0.2 < min(losses[1:])
        changed = right.clone()
        changed[:, :, 0] = 5 * torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
        assert float(segmentation_loss(changed, masks, dice)) == pytest.approx(losses[0], abs=1e-6)
    assert segmentation_loss(right, torch.full_like(masks, 255), 0.5) == 0


def three_classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [4,4,12,10] of clean and three classes, and masks with few pixels of each, of the third the fewest."""
    masks = torch.zeros(4, 12, 10, dtype=torch.uint8)
    masks[0, 2:6, 2:6], masks[1, 1:4, 5:8], masks[2, 7, 7:9] = 1, 2, 3
    return torch.randn(4, 4, 12, 10, generator=torch.Generator().manual_seed(1)), masks


def test_the_loss_of_one_class_is_what_it_was() -> None:
    out, masks = three_classes()
    out, masks = out[:, 0], (masks > 0).to(torch.uint8)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(out, masks.float())
    dice = smp.losses.DiceLoss("binary", ignore_index=255)(out[:, None], masks[:, None].float())
    for weight, wanted in ((0.0, entropy), (0.5, 0.5 * dice + 0.5 * entropy), (1.0, 1.0 * dice + 0.0 * entropy)):
        assert torch.equal(segmentation_loss(out, masks, weight), wanted)


def test_classes_learn_where_a_defect_is_as_one_class_does() -> None:
    out, masks = three_classes()
    out.requires_grad_()
    any_of_them = networks.any_defect(out)
    defects = (masks > 0).to(torch.uint8)
    for weight in (0.0, 0.5):
        loss = segmentation_loss(out, masks, weight)
        torch.testing.assert_close(loss - CLASS_WEIGHT * class_loss(out, masks), segmentation_loss(any_of_them, defects, weight))
    # the chain rule: what is left of the cross-entropy of all classes is that of the class within defects
    logits, classes = out[:, 1:].movedim(1, -1)[masks > 0], masks[masks > 0].long() - 1
    within = torch.nn.functional.cross_entropy(logits, classes, reduction="sum") / masks.numel()
    torch.testing.assert_close(segmentation_loss(any_of_them, defects, 0.0) + within, torch.nn.functional.cross_entropy(out, masks.long()))
    # the second part says nothing of clean pixels, and moves the logits of the classes against each other
    (slope,) = torch.autograd.grad(class_loss(out, masks), out)
    assert not slope[:, 0].any() and slope[:, 1:].sum(1).abs().max() < 1e-6 and not slope.movedim(1, -1)[masks == 0].any()


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    out, masks = three_classes()
    means = [
        torch.nn.functional.cross_entropy(out[:, 1:].movedim(1, -1)[masks == value], torch.full((int((masks == value).sum()),), value - 1))
        for value in (1, 2, 3)
    ]
    torch.testing.assert_close(class_loss(out, masks), torch.stack(means).mean())
    torch.testing.assert_close(class_loss(out[:2], masks[:2]), torch.stack(means[:2]).mean(), msg="over the classes that are there")
    assert class_loss(out, torch.zeros_like(masks)) == 0


def test_what_cannot_be_segmented_is_refused(trained: Any, run_task: Any) -> None:
    _, _, model = trained
    colour = run_task(Frames, "colour")
    with pytest.raises(DataError, match=r"takes 1 channel, images .* have 3; load them with colour: grey"):
        run_task(UNet, "segment", {}, images=colour, model=model)
    with pytest.raises(ValueError, match="at most half"):
        SegmentParams(tile=64, overlap=40)
