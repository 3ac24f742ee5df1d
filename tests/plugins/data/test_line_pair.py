"""Simulated line/space patterns: the imaging against closed forms, the set against its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fabloom.errors import DataError
from fabloom.plugins.data.line_pair import simulate
from fabloom.plugins.data.line_pair.aerial import Domain, Microscope, source_points
from fabloom.plugins.data.line_pair.camera import Camera
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.data.line_pair.params import CLASS_NAMES, SimulateParams
from fabloom.plugins.data.line_pair.pattern import coverage, roughness, straight

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


def test_coverage_keeps_the_area_of_lines() -> None:
    lines = straight(DOMAIN, 240.0, 0.4, 0.13)
    inside = np.clip(lines.right, 0, DOMAIN.length_nm) - np.clip(lines.left, 0, DOMAIN.length_nm)
    np.testing.assert_allclose(coverage(lines, DOMAIN).sum(1) * DOMAIN.step, np.broadcast_to(inside.sum(0), DOMAIN.fine))


def test_coverage_of_lines_that_touch_is_their_union() -> None:
    lines = straight(DOMAIN, 240.0, 0.5, 0.0)
    lines.right += 240.0
    assert coverage(lines, DOMAIN)[:, DOMAIN.supersample * 12 :].min() == 1.0


def test_roughness_has_its_variance_and_correlation() -> None:
    step, correlation, sigma = 5.0, 100.0, 2.0
    rough = roughness(np.random.default_rng(0), (400, 2048), step, sigma=sigma, correlation=correlation, hurst=0.5)
    assert rough.std() / sigma == pytest.approx(1, abs=0.03)
    for lag in (10, 20, 40):  # a Hurst exponent of 1/2 is the exponential correlation
        measured = np.mean(rough[:, lag:] * rough[:, :-lag]) / sigma**2
        assert measured == pytest.approx(np.exp(-lag * step / correlation), abs=0.03)


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
    count = simulate.BLOCK * blocks
    drawn = sum(simulate.has_defect(seed, index, share) for index in range(count))
    assert abs(drawn - count * share) < 1 + 1e-9


def scene(**params: Any) -> simulate.Scene:
    return simulate.Scene.build(SimulateParams.model_validate({"size": 32, **params}))


def test_every_kind_has_a_mask_inside_the_image() -> None:
    shared = scene(defect_share=1.0)
    pictures = [simulate.draw(shared, 3, index) for index in range(80)]
    assert {p.label for p in pictures} == {1, 2, 3, 4}
    for picture in pictures:
        assert picture.mask.sum() >= simulate.MIN_AREA
        assert picture.mask[1:-1, 1:-1].sum() == picture.mask.sum()
    places = {tuple(np.argwhere(p.mask).mean(0).round(0)) for p in pictures}
    assert len(places) > len(pictures) / 2  # varied in position ...
    assert np.ptp([p.mask.sum() for p in pictures]) > 16  # ... and in size


@pytest.mark.parametrize("kind", CLASS_NAMES[1:])
def test_mask_is_where_the_noise_free_image_changes(kind: str) -> None:
    spoilt, clean = (scene(defects=[kind], defect_share=share, noise_std=0.0) for share in (1.0, 0.0))
    threshold = 0.3 * (180 - 70)
    for index in range(6):
        picture, without = simulate.draw(spoilt, 1, index), simulate.draw(clean, 1, index)
        change = np.abs(picture.image.astype(float) - without.image)
        clipped = (picture.image == 0) | (picture.image == 255)
        assert not without.mask.any()
        assert picture.mask[change > threshold + 1].all()  # two roundings of half a grey level
        assert not picture.mask[(change < threshold - 1) & ~clipped].any()


def test_bridge_darkens_and_break_brightens() -> None:
    for kind, sign in (("bridge", -1), ("break", 1), ("necking", 1)):
        spoilt, clean = (scene(defects=[kind], defect_share=share) for share in (1.0, 0.0))
        picture, without = simulate.draw(spoilt, 2, 0), simulate.draw(clean, 2, 0)
        assert sign * (picture.image.astype(float) - without.image)[picture.mask > 0].mean() > 20


def test_fixed_phase_registers_images_and_random_phase_does_not() -> None:
    def spread(**params: Any) -> float:
        shared = scene(defect_share=0.0, **params)
        profiles = [simulate.draw(shared, 0, index).image.mean(0) for index in range(12)]
        return float(np.std(profiles, axis=0).mean())

    assert spread(random_phase=True) > 8 * spread()


def test_settings_of_the_published_pair() -> None:
    published = {
        "size": 96,
        "pixel_nm": 13.33,
        "line_reflectance": 0.1,
        "ler_nm": 0.5,
        "grey_low": 60.7,
        "grey_high": 77.3,
        "noise_std": 0.6,
    }
    shared = scene(**published, defects=["bridge"])
    pictures = [simulate.draw(shared, 5, index) for index in range(20)]
    clean = np.stack([p.image for p in pictures if not p.label])
    spoilt = np.stack([p.image for p in pictures if p.label])
    assert 57 <= clean.min() <= 60
    assert 78 <= clean.max() <= 80
    assert clean.mean() == pytest.approx(68.9, abs=0.5)
    assert clean.std() == pytest.approx(5.99, abs=0.4)
    assert 54 <= spoilt.min() < clean.min()  # a bridge is darker than any line
    profile = clean.mean((0, 1)) - clean.mean()
    assert np.abs(np.fft.rfft(profile)).argmax() == round(96 / 18)  # a period of 18 pixels


def test_unresolved_defect_says_what_to_raise() -> None:
    with pytest.raises(DataError, match="raise defect_high"):
        simulate.draw(scene(defects=["necking"], defect_low=0.01, defect_high=0.02, defect_share=1.0), 0, 0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pitch_nm": 120.0}, "not resolved"),
        ({"pixel_nm": 60.0}, "aliases"),
        ({"size": 15}, "greater than or equal to 16"),
        ({"size": 1025}, "less than or equal to 1024"),
        ({"size": 16, "pixel_nm": 13.0}, "less than two periods"),
        ({"sigma_inner": 0.7}, "must be below sigma"),
        ({"grey_low": 200.0}, "must be below grey_high"),
        ({"defect_low": 0.9}, "above defect_high"),
        ({"defects": []}, "at least 1 item"),
        ({"defects": ["scratch"]}, "'bridge', 'break', 'necking' or 'particle'"),
    ],
)
def test_impossible_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulateParams.model_validate(params)


@pytest.mark.parametrize("size", [16, 96])
def test_smallest_and_larger_sizes(size: int) -> None:
    picture = simulate.draw(scene(size=size, defect_share=1.0), 0, 0)
    assert picture.image.shape == picture.mask.shape == (size, size)
    assert picture.mask.any()


def test_task_writes_a_labelled_set(run_task: Any) -> None:
    made = run_task(LinePair, "simulate", {"count": 40, "size": 32})
    assert made.images.shape == (40, 1, 32, 32)
    assert made.images.dtype == np.uint8
    assert made.class_names == list(CLASS_NAMES)
    domain, labels, masks = made.domain[:], made.labels[:], made.masks[:]
    assert domain.sum() == made.attrs["defects"] == 20
    np.testing.assert_array_equal(domain, labels > 0)
    np.testing.assert_array_equal(domain, masks.any((1, 2)))
    assert made.attrs["settings"]["pitch_nm"] == 240.0
    assert len(np.unique(domain[:20])) == len(np.unique(domain[20:])) == 2


def test_larger_count_keeps_the_earlier_images(run_task: Any) -> None:
    few, many = (run_task(LinePair, "simulate", {"count": count, "size": 32}) for count in (7, 25))
    np.testing.assert_array_equal(few.images[:], many.images[:7])
    np.testing.assert_array_equal(few.masks[:], many.masks[:7])


def test_two_seeds_share_no_image(run_task: Any) -> None:
    one, two = (run_task(LinePair, "simulate", {"count": 60, "size": 32}, seed=seed) for seed in (0, 1))
    seen = [{image.tobytes() for image in made.images[:]} for made in (one, two)]
    assert len(seen[0]) == len(seen[1]) == 60
    assert not seen[0] & seen[1]


def test_equal_requests_have_equal_digests(run_task: Any, tmp_path: Any) -> None:
    from fabloom.storage.backends.local import LocalStore

    made = [run_task(LinePair, "simulate", {"count": 5, "size": 32}, store=LocalStore(tmp_path / name)) for name in ("a", "b")]
    assert made[0].digest == made[1].digest


def test_stop_is_prompt(run_task: Any) -> None:
    from fabloom.errors import Interrupted

    with pytest.raises(Interrupted):
        run_task(LinePair, "simulate", {"count": 5, "size": 32}, stop=lambda: True)
