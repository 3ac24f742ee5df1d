"""Simulated line/space patterns: the edges against closed forms, the set against its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fabloom.errors import DataError
from fabloom.plugins.blocks.imaging.aerial import Domain
from fabloom.plugins.blocks.imaging.scene import Scene
from fabloom.plugins.blocks.imaging.stage import MIN_AREA
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.data.line_pair.params import CLASS_NAMES, SimulateParams
from fabloom.plugins.data.line_pair.pattern import coverage, roughness, straight
from fabloom.plugins.data.line_pair.structure import LineSpace

DOMAIN = Domain(size=64, pixels=64, supersample=3, pixel_nm=30.0)


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


def scene(**params: Any) -> Scene:
    given = SimulateParams.model_validate({"size": 32, **params})
    return Scene.build(given, LineSpace(given))


def test_every_kind_has_a_mask_inside_the_image() -> None:
    shared = scene(defect_share=1.0)
    pictures = [shared.draw(3, index) for index in range(80)]
    assert {p.label for p in pictures} == {1, 2, 3, 4}
    for picture in pictures:
        assert picture.mask.sum() >= MIN_AREA
        assert picture.mask[1:-1, 1:-1].sum() == picture.mask.sum()
    places = {tuple(np.argwhere(p.mask).mean(0).round(0)) for p in pictures}
    assert len(places) > len(pictures) / 2  # varied in position ...
    assert np.ptp([p.mask.sum() for p in pictures]) > 16  # ... and in size


@pytest.mark.parametrize("kind", CLASS_NAMES[1:])
def test_mask_is_where_the_noise_free_image_changes(kind: str) -> None:
    spoilt, clean = (scene(defects=[kind], defect_share=share, noise_std=0.0) for share in (1.0, 0.0))
    threshold = 0.3 * (180 - 70)
    for index in range(6):
        picture, without = spoilt.draw(1, index), clean.draw(1, index)
        change = np.abs(picture.image.astype(float) - without.image)
        clipped = (picture.image == 0) | (picture.image == 255)
        assert not without.mask.any()
        assert picture.mask[change > threshold + 1].all()  # two roundings of half a grey level
        assert not picture.mask[(change < threshold - 1) & ~clipped].any()


def test_bridge_darkens_and_break_brightens() -> None:
    for kind, sign in (("bridge", -1), ("break", 1), ("necking", 1)):
        spoilt, clean = (scene(defects=[kind], defect_share=share) for share in (1.0, 0.0))
        picture, without = spoilt.draw(2, 0), clean.draw(2, 0)
        assert sign * (picture.image.astype(float) - without.image)[picture.mask > 0].mean() > 20


def test_fixed_phase_registers_images_and_random_phase_does_not() -> None:
    def spread(**params: Any) -> float:
        shared = scene(defect_share=0.0, **params)
        profiles = [shared.draw(0, index).image.mean(0) for index in range(12)]
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
    pictures = [shared.draw(5, index) for index in range(20)]
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
        scene(defects=["necking"], defect_low=0.01, defect_high=0.02, defect_share=1.0).draw(0, 0)


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
    picture = scene(size=size, defect_share=1.0).draw(0, 0)
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
