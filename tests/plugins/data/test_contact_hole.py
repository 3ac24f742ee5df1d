"""Simulated contact holes: the array and its defects against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage, signal
from skimage.feature import peak_local_max

from fabloom.plugins.blocks.imaging.scene import Scene
from fabloom.plugins.data.contact_hole.params import SimulateParams
from fabloom.plugins.data.contact_hole.structure import HoleArray, Holes

PITCH, PIXEL, DIAMETER = 480.0, 30.0, 240.0
PERIOD = PITCH / PIXEL


def scene(**params: Any) -> Scene:
    given = SimulateParams.model_validate(params)
    return Scene.build(given, HoleArray(given))


def holes(grey: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected dark regions of an image, and their number."""
    labels, number = ndimage.label(grey < 125)
    return labels, int(number)


def ideal(**params: Any) -> np.ndarray:
    shared = scene(**params)
    return shared.grey(shared.structure.ideal(shared.domain))


@pytest.mark.parametrize(("array", "nearest", "row"), [("square", 4, 1.0), ("hexagonal", 6, np.sqrt(3) / 2)])
def test_the_autocorrelation_has_the_pitch_that_was_asked_for(array: str, nearest: int, row: float) -> None:
    grey = ideal(array=array, size=128)
    grey = grey - grey.mean()
    overlap = signal.correlate(np.ones_like(grey), np.ones_like(grey), method="fft")
    likeness = signal.correlate(grey, grey, method="fft") / overlap
    lags = peak_local_max(likeness[64:-64, 64:-64], min_distance=5) - 63
    distance = np.hypot(*lags.T)
    around = lags[(distance > 0) & (distance < 1.3 * PERIOD)]
    assert len(around) == nearest
    np.testing.assert_allclose(np.hypot(*around.T), PERIOD, atol=0.5)
    assert np.abs(around[:, 0]).max() == pytest.approx(row * PERIOD, abs=0.5)


def test_there_are_as_many_holes_as_the_pitch_says() -> None:
    labels, number = holes(ideal())
    assert number == (64 / PERIOD) ** 2 == 16
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, number + 1)))
    steps = (np.arange(4) + 0.5) * PERIOD - 0.5
    np.testing.assert_allclose(np.sort(centres[:, 0]), np.repeat(steps, 4), atol=0.1)
    np.testing.assert_allclose(np.sort(centres[:, 1]), np.repeat(steps, 4), atol=0.1)


def test_whole_holes_of_a_hexagonal_array() -> None:
    labels, number = holes(ideal(array="hexagonal"))
    cut = set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])))
    whole = [label for label in range(1, number + 1) if label not in cut]
    assert len(whole) == 4 + 3 + 4 + 3  # the fifth row is cut by the lower border, every second row by those at the sides
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, whole))
    row = PERIOD * np.sqrt(3) / 2
    wanted = [(k + 0.5, j + 0.5 + k % 2 / 2) for k in range(4) for j in range(4 - k % 2)]
    np.testing.assert_allclose(sorted(map(tuple, centres.round())), np.rint(np.array(wanted) * (row, PERIOD) - 0.5), atol=1.0)


def test_sizes_and_places_vary_as_they_are_told() -> None:
    shared = scene(cd_std_nm=12.0, placement_std_nm=7.0, size=512)
    drawn = shared.structure.draw(shared.domain, np.random.default_rng(0))
    assert isinstance(drawn, Holes) and len(drawn.radii) > 1000
    assert 2 * drawn.radii.mean() == pytest.approx(DIAMETER, abs=1.5) and 2 * drawn.radii.std() == pytest.approx(12, rel=0.1)
    np.testing.assert_allclose((drawn.centres - drawn.sites).std(0), 7, rtol=0.1)


@pytest.mark.parametrize("array", ["square", "hexagonal"])
def test_a_missing_hole_is_a_site_of_the_lattice_that_is_bright(array: str) -> None:
    shared = scene(array=array, defects=["missing"], defect_share=1.0, noise_std=0.0)
    sites = (shared.structure.sites(shared.domain) - shared.domain.span_nm[0]) / PIXEL - 0.5
    found = set()
    for index in range(12):
        picture = shared.draw(1, index)
        centre = np.argwhere(picture.mask).mean(0)
        distance = np.hypot(*(sites - centre).T)
        assert distance.min() < 1.0 < np.hypot(*(sites + PERIOD / 2 - centre).T).min(), "at a hole, and not between holes"
        y, x = np.rint(centre).astype(int)
        assert picture.clean[y, x] < 90 and picture.image[y, x] > 160
        assert 0.9 < 2 * np.sqrt(picture.mask.sum() / np.pi) * PIXEL / DIAMETER < 1.35, "as large as a hole, blurred"
        found.add(int(distance.argmin()))
    assert len(found) > 4


def at_amplitude(kind: str, extent: float, index: int, **params: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The domain, and how much of each sample holes cover, without and with a defect of one size."""
    still = {"cd_std_nm": 0.0, "placement_std_nm": 0.0, "hole_reflectance": 0.0}
    shared = scene(defects=[kind], defect_low=extent, defect_high=extent, **still, **params)
    rng = np.random.default_rng(index)
    pattern = shared.structure.draw(shared.domain, rng)
    return shared.domain, 1 - pattern.clean(), 1 - pattern.spoilt(kind, rng)


@pytest.mark.parametrize("array", ["square", "hexagonal"])
@pytest.mark.parametrize("extent", [0.3, 0.6])
def test_defects_have_the_size_that_is_told(array: str, extent: float) -> None:
    radius = DIAMETER / 2
    for index in range(3):
        for kind, lost in (
            ("missing", np.pi * radius**2),
            ("shrunk", np.pi * (radius**2 - (radius * (1 - extent)) ** 2)),
            ("displaced", 0.0),
        ):
            domain, clean, spoilt = at_amplitude(kind, extent, index, array=array)
            change = (clean - spoilt) * domain.step**2
            assert change.sum() == pytest.approx(lost, abs=0.01 * np.pi * radius**2), kind
            if kind == "displaced":  # as much area at another place: the first moment tells how far
                y, x = ((np.arange(domain.fine) - place) * domain.step for place in ndimage.center_of_mass(np.abs(change)))
                moved = np.hypot((change.sum(1) * y).sum(), (change.sum(0) * x).sum()) / (np.pi * radius**2)
                assert moved == pytest.approx(extent * DIAMETER, rel=0.02)


@pytest.mark.parametrize(("array", "number"), [("square", 2), ("hexagonal", 3)])
def test_a_bridge_joins_two_neighbours_in_every_direction(array: str, number: int) -> None:
    directions = set()
    for index in range(20):
        domain, clean, spoilt = at_amplitude("bridged", 0.5, index, array=array)
        assert (spoilt >= clean).all()
        assert ndimage.label(spoilt > 0.5)[1] == ndimage.label(clean > 0.5)[1] - 1
        bar = np.argwhere(spoilt - clean > 0.5) * domain.step
        covariance = np.cov(bar.T)
        angle = np.degrees(np.arctan2(2 * covariance[0, 1], covariance[0, 0] - covariance[1, 1]) / 2)
        directions.add(round(float(angle) / 15) * 15 % 180)
        gap = PITCH - DIAMETER
        assert len(bar) * domain.step**2 == pytest.approx(gap * 0.5 * DIAMETER, rel=0.15)
    assert len(directions) == number, directions


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pitch_nm": 120.0, "diameter_nm": 60.0}, "not resolved"),
        ({"pitch_nm": 150.0, "diameter_nm": 60.0, "array": "hexagonal"}, r"must exceed 154.8 nm"),
        ({"pixel_nm": 60.0}, "aliases"),
        ({"size": 31}, "less than two periods: raise size to 32"),
        ({"diameter_nm": 480.0}, "holes would touch"),
        ({"defect_high": 1.5}, "less than or equal to 1"),
        ({"defect_low": 0.9}, "above defect_high"),
        ({"defects": ["bridge"]}, "'missing', 'bridged', 'shrunk', 'displaced' or 'particle'"),
        ({"array": "triangular"}, "'square' or 'hexagonal'"),
    ],
)
def test_impossible_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulateParams.model_validate(params)
    assert SimulateParams.model_validate({"pitch_nm": 150.0, "diameter_nm": 60.0}), "a control: a square array of this pitch is resolved"
