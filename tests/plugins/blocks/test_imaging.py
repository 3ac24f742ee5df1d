"""The optics that simulated structures share: imaging and shapes against closed forms, the camera's noise, the share of defects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabloom.plugins.blocks.imaging.aerial import Domain, Microscope, source_points
from fabloom.plugins.blocks.imaging.camera import Camera
from fabloom.plugins.blocks.imaging.shapes import PARTICLE, capsule, particle, rectangle
from fabloom.plugins.blocks.imaging.stage import BLOCK, has_defect

WAVELENGTH, NA = 193.0, 0.9
DOMAIN = Domain(size=64, pixels=64, supersample=3, pixel_nm=30.0)


def grating(order: int, mean: float = 0.7, swing: float = 0.2) -> np.ndarray:
    """Amplitude mean + swing cos(2 pi order x / L) on the fine samples."""
    phase = 2 * np.pi * order * (np.arange(DOMAIN.fine) + 0.5) / DOMAIN.fine
    return np.broadcast_to(mean + swing * np.cos(phase), (DOMAIN.fine, DOMAIN.fine))


def camera_cosine(order: int) -> np.ndarray:
    """cos(2 pi order x / L) averaged over each camera pixel."""
    return np.sinc(order / DOMAIN.pixels) * np.cos(2 * np.pi * order * (np.arange(DOMAIN.size) + 0.5) / DOMAIN.pixels)


def test_uniform_object_has_unit_intensity() -> None:
    for sigma, inner in ((0.3, 0.0), (0.8, 0.5), (1.0, 0.0)):
        seen = Microscope(DOMAIN, WAVELENGTH, NA, sigma, inner).image(np.ones((DOMAIN.fine, DOMAIN.fine)))
        np.testing.assert_allclose(seen, 1.0, rtol=1e-12)


def test_coherent_grating_is_the_square_of_its_amplitude() -> None:
    order, mean, swing = 7, 0.7, 0.2  # a period of 274 nm: within the pupil of 214 nm
    seen = Microscope(DOMAIN, WAVELENGTH, NA, sigma=1e-6).image(grating(order, mean, swing))
    wanted = mean**2 + swing**2 / 2 + 2 * mean * swing * camera_cosine(order) + swing**2 / 2 * camera_cosine(2 * order)
    np.testing.assert_allclose(seen, np.broadcast_to(wanted, seen.shape), atol=1e-12)


def test_coherent_grating_beyond_the_pupil_is_not_seen() -> None:
    seen = Microscope(DOMAIN, WAVELENGTH, NA, sigma=1e-6).image(grating(10))  # 192 nm < wavelength / NA
    np.testing.assert_allclose(seen, 0.7**2, atol=1e-12)


@pytest.mark.parametrize(("sigma", "inner"), [(0.6, 0.0), (0.9, 0.6)])
def test_partially_coherent_grating_sums_over_the_source(sigma: float, inner: float) -> None:
    order, mean, swing = 10, 0.7, 0.2
    radius = NA / WAVELENGTH * DOMAIN.length_nm
    half = source_points(sigma, inner) * radius
    wanted = np.zeros(DOMAIN.size)
    for sy, sx in np.concatenate([half, -half]):
        low, high = (float(np.hypot(sy, sx + k) <= radius) for k in (-order, order))
        a, b = swing / 2 * low, swing / 2 * high  # amplitudes of the orders -1 and +1
        wanted += mean**2 + a**2 + b**2 + 2 * mean * (a + b) * camera_cosine(order) + 2 * a * b * camera_cosine(2 * order)
    seen = Microscope(DOMAIN, WAVELENGTH, NA, sigma, inner).image(grating(order, mean, swing))
    np.testing.assert_allclose(seen, np.broadcast_to(wanted / (2 * len(half)), seen.shape), atol=1e-12)
    assert np.ptp(seen) > 0.01  # resolved only because the source is not a point


def test_source_points_fill_the_annulus() -> None:
    radius = np.hypot(*source_points(0.9, 0.5).T)
    assert radius.min() > 0.5
    assert radius.max() < 0.9
    assert np.mean(radius**2) == pytest.approx((0.9**2 + 0.5**2) / 2)  # second moment of a uniform annulus


def test_camera_noise_has_the_stated_statistics() -> None:
    camera = Camera(dark=0.0, bright=1.0, low=0.0, high=100.0, noise_std=9.0)
    noise = camera.expose(np.full((600, 600), 128.0), np.random.default_rng(0)).astype(float) - 128
    assert noise.std() / 9.0 == pytest.approx(1, abs=0.02)
    for axis in (0, 1):
        for lag, wanted in ((1, 0.55), (2, 0.20), (3, 0.0)):
            first, second = np.take(noise, range(lag, 600), axis), np.take(noise, range(600 - lag), axis)
            assert np.mean(first * second) / noise.var() == pytest.approx(wanted, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), share=st.floats(0, 1), blocks=st.integers(1, 4))
def test_share_of_defects_is_exact_to_one_image(seed: int, share: float, blocks: int) -> None:
    count = BLOCK * blocks
    drawn = sum(has_defect(seed, index, share) for index in range(count))
    assert abs(drawn - count * share) < 1 + 1e-9


@pytest.mark.parametrize(("start", "end"), [((960, 961), (960, 961)), ((700, 800), (700, 1200)), ((500, 600), (1100, 1050))])
def test_a_disc_and_a_bar_cover_their_area(start: tuple[float, float], end: tuple[float, float]) -> None:
    radius, length = 150.0, float(np.hypot(end[0] - start[0], end[1] - start[1]))
    (rows, columns), inside = capsule(DOMAIN, start, end, radius)
    assert inside.sum() * DOMAIN.step**2 == pytest.approx(np.pi * radius**2 + 2 * radius * length, rel=2e-3)
    back, same = capsule(DOMAIN, end, start, radius)
    assert back == (rows, columns)
    np.testing.assert_allclose(same, inside, atol=1e-9)
    at = (np.arange(DOMAIN.fine) + 0.5) * DOMAIN.step  # its centre is that of the two points
    for part, axis, weight in ((rows, 0, inside.sum(1)), (columns, 1, inside.sum(0))):
        assert np.average(at[part], weights=weight) == pytest.approx((start[axis] + end[axis]) / 2, abs=0.2)


def test_shapes_that_lie_outside_cover_nothing_and_those_on_the_border_what_is_inside() -> None:
    window, inside = capsule(DOMAIN, (-500.0, 300.0), (-500.0, 300.0), 100.0)
    assert not inside.sum() and np.zeros((DOMAIN.fine, DOMAIN.fine))[window].shape == inside.shape
    _, half = capsule(DOMAIN, (0.0, 960.0), (0.0, 960.0), 150.0)
    assert half.sum() * DOMAIN.step**2 == pytest.approx(np.pi * 150**2 / 2, rel=2e-3)
    assert not rectangle(DOMAIN, 5000.0, 5100.0, 0.0, 100.0)[1].sum()


@settings(max_examples=30, deadline=None)
@given(corner=st.tuples(st.floats(-200, 1900), st.floats(-200, 1900)), sides=st.tuples(st.floats(0.1, 700), st.floats(0.1, 700)))
def test_a_rectangle_covers_exactly_its_area(corner: tuple[float, float], sides: tuple[float, float]) -> None:
    (upper, left), (height, width) = corner, sides
    window, inside = rectangle(DOMAIN, upper, upper + height, left, left + width)
    seen = [max(0.0, min(low + side, DOMAIN.length_nm) - max(low, 0.0)) for low, side in zip(corner, sides, strict=True)]
    assert inside.sum() * DOMAIN.step**2 == pytest.approx(seen[0] * seen[1], abs=1e-6)
    assert inside.min(initial=0) >= 0 and inside.max(initial=0) <= 1 + 1e-12
    assert np.zeros((DOMAIN.fine, DOMAIN.fine))[window].shape == inside.shape


def test_a_particle_hides_what_is_below_it_and_nothing_else() -> None:
    ground = np.random.default_rng(0).random((DOMAIN.fine, DOMAIN.fine))
    covered = particle(ground, DOMAIN, (900.0, 1000.0), 200.0)
    at = (np.arange(DOMAIN.fine) + 0.5) * DOMAIN.step
    distance = np.hypot(at[:, None] - 900, at - 1000)
    np.testing.assert_allclose(covered[distance < 100 - DOMAIN.step], PARTICLE, atol=1e-12)
    np.testing.assert_array_equal(covered[distance > 100 + DOMAIN.step], ground[distance > 100 + DOMAIN.step])
    assert ground.min() >= 0, "the object that is given stays as it is"
