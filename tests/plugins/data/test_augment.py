"""Variations keep image and mask together, use every source image, and depend on (seed, index) only."""

from __future__ import annotations

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.images.params import AugmentParams


class Pair(Method):
    name = "pair"

    @task(version=1)
    def make(self, ctx: Context, params: Params) -> ImageSet:
        pixels = np.full((2, 1, 12, 16), 50, np.uint8)
        pixels[..., ::4] = 90
        pixels[1, 0, 2:5, 5:7] = 200
        masks = (pixels[:, 0] == 200).astype(np.uint8)
        return ImageSet.write(ctx, pixels, masks=masks, domain=np.array([0, 1], np.int8))


def test_masks_follow_images_and_lines_stay(run_task) -> None:
    pair = run_task(Pair, "make")
    varied = run_task(Images, "augment", {"count": 40, "flip_y": True, "shift_y_step": 1, "shift_x_step": 4}, images=pair)
    pixels, masks = varied.images[...][:, 0], varied.masks[...]
    assert ((pixels == 200) == masks.astype(bool)).all()
    assert varied.domain[...].sum() == 20
    clean = pixels[varied.domain[...] == 0]
    assert (clean == pair.images[0, 0]).all(), "a shift by the period moved the lines"
    assert len({p.tobytes() for p in pixels}) > 10
    longer = run_task(Images, "augment", {"count": 60, "flip_y": True, "shift_y_step": 1, "shift_x_step": 4}, images=pair)
    assert (longer.images[:40, 0] == pixels).all()


def test_other_seeds_share_no_noisy_image(run_task) -> None:
    pair = run_task(Pair, "make")
    one, two = (run_task(Images, "augment", {"count": 30, "noise": 1.0}, seed=s, images=pair).images[...] for s in (0, 1))
    assert not {a.tobytes() for a in one} & {b.tobytes() for b in two}


def test_a_shift_that_moves_the_structure_is_told(run_task) -> None:
    class Holes(Method):
        name = "holes"

        @task(version=1)
        def make(self, ctx: Context, params: Params) -> ImageSet:
            y, x = np.mgrid[:32, :48]
            pixels = np.rint(120 + 60 * np.cos(2 * np.pi * x / 8) * np.cos(2 * np.pi * y / 8)).astype(np.uint8)
            return ImageSet.write(ctx, pixels[None, None])

    holes, pair = run_task(Holes, "make"), run_task(Pair, "make")
    moved = {
        step: run_task(Images, "augment", {"count": 2, "shift_y_step": step}, images=holes).attrs.get("moved_by") for step in (0, 1, 8)
    }
    assert moved == {0: None, 1: ["shift_y_step"], 8: None}
    both = run_task(Images, "augment", {"count": 2, "shift_y_step": 1, "shift_x_step": 2}, images=pair)
    assert both.attrs["moved_by"] == ["shift_x_step"], "lines along y, every 4 pixels"


def test_a_shift_beyond_half_the_image_is_refused(run_task) -> None:
    with pytest.raises(DataError, match="at most half"):
        run_task(Images, "augment", {"shift_x_step": 9}, images=run_task(Pair, "make"))


PAPER = {"flip_x": True, "flip_y": True, "paired": True, "noise": 1.0, "noise_low": 0, "noise_share": 0.7, "rounding": "truncate"}


def test_the_papers_test_set_is_of_mirrored_pairs_with_their_own_noise(run_task) -> None:
    pair = run_task(Pair, "make")
    made = run_task(Images, "augment", {"count": 400} | PAPER, images=pair)
    pixels, masks = made.images[...][:, 0].astype(float), made.masks[...]
    source = pair.images[:, 0].astype(float)
    turned = [np.stack([np.flip(image, axes) for image in source]) for axes in ((), (-1,), (-2,), (-2, -1))]
    views, quiet, offsets, spreads = [], 0, [], []
    for clean, defect, mask in zip(pixels[::2], pixels[1::2], masks[1::2], strict=True):
        # the view that explains the pair: both images in the same one, the mask with them
        view = int(np.argmin([abs(clean - t[0]).sum() + abs(defect - t[1]).sum() for t in turned]))
        views.append(view)
        assert np.array_equal(mask, turned[view][1] == 200)
        for found, wanted in ((clean, turned[view][0]), (defect, turned[view][1])):
            rest = found - wanted
            quiet += not rest.any()
            if rest.any():
                offsets.append(rest.mean())
                spreads.append(rest.std())
    assert min(np.bincount(views, minlength=4)) > 25
    # 120 of 400 without noise, and some whose noise is too small to leave a level is below it half the time all the same
    assert 90 < quiet < 150
    assert np.mean(offsets) == pytest.approx(-0.5, abs=0.03)
    assert 0.4 < np.min(spreads) < 0.6 and 0.9 < np.max(spreads) < 1.3
    assert made.attrs["distinct_images"] == len({image.tobytes() for image in made.images[...]}) < 400


def test_rounding_to_the_nearest_level_keeps_the_mean_and_unpaired_images_turn_alone(run_task) -> None:
    pair = run_task(Pair, "make")
    nearest = run_task(Images, "augment", {"count": 200, "noise": 1.0}, images=pair)
    assert (nearest.images[...].astype(float) - pair.images[...][np.arange(200) % 2]).mean() == pytest.approx(0, abs=0.02)
    plain = run_task(Images, "augment", {"count": 60, "flip_y": True}, images=pair)
    assert plain.attrs["distinct_images"] == 3


def test_a_noise_range_that_is_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_low=2.0 is above noise=1.0"):
        AugmentParams(noise=1, noise_low=2)


def test_variations_know_where_they_come_from(run_task) -> None:
    pair = run_task(Pair, "make")
    rows = run_task(Images, "augment", {"count": 5}, images=pair)
    assert rows.source[...].tolist() == [0, 1, 0, 1, 0] and rows.source_names == ["row 0", "row 1"]
    again = run_task(Images, "augment", {"count": 4}, images=rows)
    assert again.source[...].tolist() == [0, 1, 0, 1] and again.source_names == ["row 0", "row 1"], "rows 0 to 3 of the first"


class Rich(Method):
    name = "rich"

    @task(version=1)
    def make(self, ctx: Context, params: Params) -> ImageSet:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 200, (3, 3, 10, 14), dtype=np.uint8)
        masks = np.zeros((3, 10, 14), np.uint8)
        masks[1, 2:4, 3:9], masks[2, 5:8, 1:3], masks[2, 0, :] = 1, 2, 255
        spoilt = np.where(masks[:, None] > 0, 255, pixels).astype(np.uint8)
        return ImageSet.write(
            ctx, spoilt, masks=masks, references=pixels, scores=(masks / 255).astype(np.float16), labels=np.array([0, 1, 2], np.int16),
            class_names=["clean", "bridge", "break"], source=np.array([1, 1, 0], np.int32), source_names=["one.png", "two.png"],
        )  # fmt: skip


def test_everything_that_belongs_to_a_pixel_moves_with_it(run_task) -> None:
    rich = run_task(Rich, "make")
    moves = {"count": 60, "flip_x": True, "flip_y": True, "shift_x_step": 1, "shift_y_step": 1}
    made = run_task(Images, "augment", moves, images=rich)
    pixels, masks, twins, scores = (column[...] for column in (made.images, made.masks, made.references, made.scores))
    assert set(np.unique(masks)) == {0, 1, 2, 255} and made.mask_names == ["clean", "bridge", "break"]
    np.testing.assert_array_equal(pixels, np.where(masks[:, None] > 0, 255, twins))
    np.testing.assert_array_equal(scores, (masks / 255).astype(np.float16))
    assert len({twin.tobytes() for twin in twins[::3]}) > 10, "references move"
    for value in (1, 2, 255):
        assert ((masks == value).sum((1, 2)) == (rich.masks[...] == value).sum((1, 2))[np.arange(60) % 3]).all()
    assert made.labels[...].tolist() == [0, 1, 2] * 20 and made.domain[...].tolist() == [0, 1, 1] * 20
    assert made.source[...].tolist() == [1, 1, 0] * 20 and made.source_names == ["one.png", "two.png"]
    loud = run_task(Images, "augment", {"count": 6, "noise": 9.0}, images=rich)
    np.testing.assert_array_equal(loud.references[...], rich.references[...][np.arange(6) % 3])
    assert (loud.images[...] != rich.images[...][np.arange(6) % 3]).mean() > 0.5
