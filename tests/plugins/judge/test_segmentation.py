"""`unet.segment`: masks and scores of new images, by tiles that do not show, from all trainings of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.unet import networks
from fabloom.plugins.judge.unet.method import UNet
from fabloom.plugins.judge.unet.metrics import image_iou
from fabloom.plugins.judge.unet.params import SegmentParams
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


def test_what_cannot_be_segmented_is_refused(trained: Any, run_task: Any) -> None:
    _, _, model = trained
    colour = run_task(Frames, "colour")
    with pytest.raises(DataError, match=r"takes 1 channel, images .* have 3; load them with colour: grey"):
        run_task(UNet, "segment", {}, images=colour, model=model)
    with pytest.raises(ValueError, match="at most half"):
        SegmentParams(tile=64, overlap=40)
