"""Where an image lies against a reference: shifts that are known, periods, lines, noise, and pictures of something else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fabloom.plugins.blocks.difference import blur
from fabloom.plugins.blocks.registration import Placement, Register, moved

SIDE = 64


def pattern(kind: str, down: float = 0, right: float = 0) -> np.ndarray:
    """A structure that lies so many pixels off."""
    y, x = np.mgrid[:SIDE, :SIDE] - np.reshape([down, right], (2, 1, 1))
    if kind == "lines":
        return 100 + 40 * np.cos(2 * np.pi * x / 9)
    if kind == "slanted":
        return 100 + 40 * np.cos(2 * np.pi * (0.8 * x + 0.6 * y) / 11)
    if kind == "holes":
        return 100 + 60 * (np.cos(2 * np.pi * x / 16) * np.cos(2 * np.pi * y / 16))
    rough = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(3 * SIDE, 3 * SIDE)), 4) * 400
    return 100 + ndimage.shift(rough, (down, right))[SIDE : 2 * SIDE, SIDE : 2 * SIDE]


def place(kind: str, down: float, right: float, noise: float = 3) -> Placement:
    rng = np.random.default_rng(1)
    one, other = (image + rng.normal(0, noise, image.shape) for image in (pattern(kind), pattern(kind, down, right)))
    return Register.of(blur(one), one).place(blur(other))


@pytest.mark.parametrize("kind", ["holes", "island"])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (0.4, 0), (1, -1), (-3.5, 2.2), (0, 6), (7, 7)])
def test_a_shift_is_measured_to_a_fraction_of_a_pixel(kind: str, down: float, right: float) -> None:
    found = place(kind, down, right)
    nearest = [s if kind != "holes" or abs(down) != abs(right) or abs(s) < 7 else s - 8 for s in (down, right)]
    assert found.shift == pytest.approx(nearest, abs=0.1)
    assert found.verdict == ("shifted" if np.hypot(*nearest) > 0.5 else "in place")


def test_lines_are_off_across_themselves_alone_and_by_less_than_half_a_period() -> None:
    assert place("lines", 5, 1).shift == pytest.approx((0, 1), abs=0.05)
    assert place("lines", -4, 7).shift == pytest.approx((0, -2), abs=0.05)
    assert place("lines", 3, 0).verdict == "in place"
    across = np.array((0.6, 0.8))
    assert across @ place("slanted", 2, 1).shift == pytest.approx(across @ (2, 1), abs=0.1)


def test_nothing_is_off_where_there_is_no_structure_and_something_else_is_unlike() -> None:
    rng = np.random.default_rng(2)
    flat = rng.normal(100, 3, (2, SIDE, SIDE))
    assert Register.of(blur(flat[0]), flat[0]).place(blur(flat[1])).verdict == "in place"
    assert Register.of(blur(np.full((9, 9), 7.0)), np.full((9, 9), 7.0)).place(np.zeros((9, 9))).verdict == "in place"
    island = pattern("island")
    other = Register.of(blur(island), island).place(blur(pattern("holes")))
    assert other.verdict == "unlike" and other.distance == float("inf") and "something else" in str(other)
    noise = Register.of(blur(island), island).place(blur(flat[0]))
    assert noise.verdict == "unlike"


def test_a_defect_is_no_shift() -> None:
    island = pattern("island") + np.random.default_rng(3).normal(0, 2, (SIDE, SIDE))
    spoilt = island.copy()
    spoilt[20:32, 30:40] = 250
    assert Register.of(blur(island), island).place(blur(spoilt)).distance < 0.1


def test_what_a_moved_picture_does_not_show_is_not_known() -> None:
    island = pattern("island")
    there = moved(island, (2.0, -3.4))
    assert np.isnan(there[:2]).all() and np.isnan(there[:, -3:]).all() and np.isfinite(there[2:, :-3]).all()
    assert np.abs(there[2:, :-6] - pattern("island", 2.0, -3.4)[2:, :-6]).max() < 1, "but for the border, where the spline mirrors"
    assert moved(island, (0.0, 0.0)) is island
