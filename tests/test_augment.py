"""Variations keep image and mask together, use every source image, and depend on (seed, index) only."""

from __future__ import annotations

import numpy as np
import pytest

from fabloom.artifacts import ImageSet
from fabloom.context import Context
from fabloom.errors import DataError
from fabloom.method import Method, task
from fabloom.params import Params
from fabloom.plugins.images.method import Images


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


def test_a_shift_beyond_half_the_image_is_refused(run_task) -> None:
    with pytest.raises(DataError, match="at most half"):
        run_task(Images, "augment", {"shift_x_step": 9}, images=run_task(Pair, "make"))
