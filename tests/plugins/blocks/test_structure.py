"""Lattice, registration and symmetry of images that are drawn here with known ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.plugins.blocks.structure import look

Y, X = np.mgrid[:64, :64]
HOLES = (np.hypot(Y % 16 - 8, X % 16 - 8) < 4.5) * 100.0
LINES = (X % 19 < 9) * 100.0
SLANTED = ((X + 2 * Y) % 24 < 8) * 100.0


def noisy(image: NDArray[np.float64], count: int = 6, shift: int = 0, seed: int = 0) -> list[NDArray[np.float64]]:
    """Copies with noise of their own, each rolled by up to `shift` pixels both ways."""
    draw = np.random.default_rng(seed)
    return [
        ndimage.gaussian_filter(np.roll(image, draw.integers(-shift, shift + 1, 2), (0, 1)), 1) + draw.normal(0, 5, image.shape)
        for _ in range(count)
    ]


def marks(seed: int) -> NDArray[np.float64]:
    """Twelve L shapes, all of one orientation, at random places."""
    draw, image = np.random.default_rng(seed), np.zeros((64, 64))
    for y, x in draw.integers(2, 50, (12, 2)):
        image[y : y + 10, x : x + 2] = 100
        image[y + 8 : y + 10, x : x + 8] = 100
        image[y : y + 10, x - 1] = 50  # a shaded side, on the left alone
    return image


def test_an_array_that_is_registered_repeats_by_its_pitch() -> None:
    found = look(noisy(HOLES))
    assert found.registered and found.directions == 2 and found.period == pytest.approx(16, abs=0.2)
    assert (found.repeat_x, found.repeat_y) == (16, 16) and found.mirrors_x and found.mirrors_y


def test_lines_repeat_along_themselves_and_not_across_a_broken_period() -> None:
    found = look(noisy(LINES))
    assert found.directions == 1 and found.period == pytest.approx(19, abs=0.3)
    assert (found.repeat_x, found.repeat_y) == (0, 1), "64 px hold no whole number of 19 px periods"


def test_a_slanted_structure_looks_otherwise_when_mirrored() -> None:
    for shift in (0, 5):
        found = look(noisy(SLANTED, shift=shift))
        assert found.alike and not found.mirrors_x and not found.mirrors_y, shift


def test_shifted_images_are_alike_and_not_registered() -> None:
    draw = np.random.default_rng(1)
    place = ndimage.gaussian_filter(draw.normal(0, 1, (64, 64)), 2) * 300
    still, moved = look(noisy(place)), look(noisy(place, shift=7))
    assert still.registered and moved.alike and not moved.registered and moved.shift > 2
    assert (still.repeat_x, still.repeat_y) == (0, 0)


def test_light_that_falls_off_makes_no_images_alike() -> None:
    light = np.linspace(0, 200, 64)[None]
    found = look([ndimage.gaussian_filter(np.random.default_rng(s).normal(0, 60, (64, 64)), 1.5) * 3 + light for s in range(5)])
    assert not found.alike and found.mirrors_x


def test_unrelated_images_of_one_orientation_are_told_from_those_of_all() -> None:
    same = look([marks(seed) for seed in range(8)])
    turned = look([np.flip(marks(seed), tuple(axis for axis in (0, 1) if seed >> axis & 1)) for seed in range(16)])
    assert not same.alike and not same.mirrors_x and not same.mirrors_y
    assert turned.flip_x > same.flip_x


def test_images_are_held_against_their_own_references() -> None:
    places = [ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (64, 64)), 2) * 300 for seed in range(4)]
    assert not look(places).alike
    assert look(places, [one + 3 for one in places]).registered
    off = look(places, [np.roll(one, 4, 1) for one in places])
    assert off.alike and not off.registered and off.shift == pytest.approx(4, abs=0.5)


def test_one_image_is_compared_with_nothing() -> None:
    found = look(noisy(HOLES, count=1))
    assert found.likeness is None and not found.registered and found.directions == 2


def board(seed: int, wander: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(image, reference): bars whose edges lie up to `wander` px elsewhere in the image, which has bright spots besides."""
    draw, reference = np.random.default_rng(seed), np.zeros((96, 96))
    image = reference.copy()
    for left in (10, 40, 70):
        reference[:, left : left + 14] = 200
        for row in range(0, 96, 4):
            one, other = draw.integers(-wander, wander + 1, 2)
            image[row : row + 4, left + one : left + 14 + other] = 200
    for y, x in draw.integers(0, 90, (2, 2)):
        image[y : y + 5, 26 + x % 8 : 31 + x % 8] = 200
    return image, reference


def test_edges_that_wander_all_over_are_told_from_defects() -> None:
    for way, wanted in ((0, {0}), (3, {2, 3})):
        images, references = zip(*(board(seed, way) for seed in range(6)), strict=True)
        assert look(images, references).edge in wanted, way
