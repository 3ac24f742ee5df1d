"""Frames in which a defect is a small part: the coarsest scale shows it, and the clean image anchors it rather than a lattice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.anchor import Anchor
from fabloom.plugins.blocks.one_shot import pick
from fabloom.plugins.blocks.pyramid import scale_sizes
from fabloom.plugins.blocks.scale_params import LARGE, ScaleTraining
from fabloom.plugins.blocks.scale_training import coarsest_side, defects_of
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_shot.sinsemi.method import SinSemi

METHODS = [SinSemi, SinDdm]
TINY = {"steps": 1, "width": 8, "batch": 1, "precision": "fp32", "copies": 1}


class LinesParams(Params):
    """Lines with a period of 12 pixels and a bridge, and the clean image beside it where there is one."""

    side: int = 96
    bridge: int = 6
    clean: bool = True


class Lines(Method):
    """A frame of lines with one bridge."""

    name = "bridged"

    @task(version=1)
    def make(self, ctx: Context, params: LinesParams) -> ImageSet:
        draw = np.random.default_rng(0)
        clean = np.where(np.arange(params.side) % 12 < 6, 60.0, 160.0) * np.ones((params.side, 1))
        defect = clean.copy()
        defect[30 : 30 + params.bridge, 24 : 24 + params.bridge] = 230
        frames = [defect, clean] if params.clean else [defect]
        pixels = np.stack([(frame + draw.normal(0, 1, frame.shape)).round().clip(0, 255) for frame in frames]).astype(np.uint8)
        return ImageSet.write(ctx, pixels[:, None], domain=np.array([1, 0][: len(frames)], np.int8))


def masked(height: int, width: int, *squares: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    for top, left, tall, wide in squares:
        mask[top : top + tall, left : left + wide] = True
    return mask


def test_half_of_the_defects_are_as_thick_as_wanted_at_the_coarsest_scale() -> None:
    params = ScaleTraining(defect_pixels=3)
    scratch = masked(300, 500, (40, 20, 5, 400))
    assert coarsest_side(params, scratch) == 180, "a scratch is as thick as it is wide across: 5 of 300 pixels become 3 of 180"
    assert coarsest_side(params, masked(300, 500, (0, 0, 15, 15))) == 60, "a defect that is cut by the edge of the image ends there"
    three = masked(300, 500, (20, 20, 3, 3), (60, 60, 9, 9), (120, 120, 15, 15))
    assert coarsest_side(params, three) == 100, "the middle one"
    assert coarsest_side(params, None) == 0 == coarsest_side(ScaleTraining(defect_pixels=None), scratch)


def test_a_coarsest_scale_that_must_show_more_is_larger_and_never_above_the_image() -> None:
    usual, larger = scale_sizes((1024, 1024), 3000, 1.4), scale_sizes((1024, 1024), 3000, 1.4, 256)
    assert usual[0] == (55, 55) and larger[0] == (256, 256) and usual[-1] == larger[-1] == (1024, 1024) and len(larger) < len(usual)
    assert scale_sizes((96, 96), 3000, 1.4, 40) == scale_sizes((96, 96), 3000, 1.4), "what is seen already changes nothing"
    assert scale_sizes((96, 128), 3000, 1.4, 500) == [(96, 128)]


@pytest.mark.parametrize("method", METHODS)
def test_training_sees_the_defect_at_every_scale_and_as_published_does_not(run_task: Any, method: type[Method]) -> None:
    images = run_task(Lines, "make", {"side": 264})
    mask = defects_of(pick(images, None), Anchor.find(pick(images, None), images, (264, 264), "auto", None), images)
    assert mask is not None
    wanted = coarsest_side(ScaleTraining(), mask)
    assert 100 < wanted < 264
    sizes = {}
    for pixels in (3.0, None):
        model: Model = run_task(method, "train", {**TINY, "defect_pixels": pixels}, images=images)
        assert model.config["anchor"] == "reference"
        sizes[pixels] = model.config["sizes"]
    assert sizes[3.0][0] == [wanted, wanted] and sizes[None][0] == [55, 55]


def test_a_large_frame_is_anchored_to_its_clean_image_before_a_lattice(run_task: Any) -> None:
    large, small = LARGE + 8, 96
    for side, clean, anchored in ((small, True, False), (large, True, True), (large, False, False)):
        images = run_task(Lines, "make", {"side": side, "clean": clean})
        anchor = Anchor.find(pick(images, 0), images, (side, side), "auto", None)
        assert (anchor.clean is not None) == anchored and bool(anchor.lattice.frequencies) != anchored
    images = run_task(Lines, "make", {"side": large})
    assert Anchor.find(pick(images, 0), images, (large, large), "lattice", None).clean is None, "what is asked for is done"
