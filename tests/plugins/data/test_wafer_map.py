"""Simulated wafer maps: dies, fails and patterns against closed forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import hypot, isqrt, pi
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from fabloom import ImageSet
from fabloom.errors import DataError
from fabloom.plugins.data.wafer_map.encoding import decoded, encoded
from fabloom.plugins.data.wafer_map.method import WaferMap
from fabloom.plugins.data.wafer_map.params import SimulateParams
from fabloom.plugins.data.wafer_map.simulating import Drawn, draw
from fabloom.plugins.data.wafer_map.types import CODES, TYPES
from fabloom.plugins.data.wafer_map.wafer import Wafer
from fabloom.plugins.data.wafer_map.zones import DENSITIES

SIZE = 96
FINE = Wafer(SIZE)


def drawn(pattern: str, number: int = 12, **params: Any) -> list[Drawn]:
    """Wafers with this pattern alone, whose zone fails as a whole unless `density_low` says otherwise."""
    given = {"size": SIZE, "defect_share": 1, "patterns": [pattern], "mixed_share": 0, "density_low": 1, "density_high": 1} | params
    settings = SimulateParams.model_validate(given)
    return [draw(settings, Wafer(settings.size), 5, index) for index in range(number)]


def test_there_are_the_38_types_of_mixedwm38() -> None:
    assert Counter(map(len, TYPES.values())) == {0: 1, 1: 8, 2: 13, 3: 12, 4: 4}
    assert list(TYPES)[:9] == ["none", *CODES]
    assert "C+EL" in TYPES and TYPES["D+ER+L+S"] == ("Donut", "Edge-Ring", "Loc", "Scratch")
    assert not [members for members in TYPES.values() if {"Center", "Donut"} <= {*members} or {"Edge-Loc", "Edge-Ring"} <= {*members}]


@pytest.mark.parametrize("size", [16, 32, 52, 96])
def test_dies_are_the_whole_squares_in_a_circle(size: int) -> None:
    radius = size // 2
    assert Wafer(size).dies.sum() == 4 * sum(isqrt(radius**2 - k**2) for k in range(1, radius + 1))
    assert abs(Wafer(size).dies.mean() - pi / 4) < 2.5 / size  # the rim's loss is a perimeter times a share of a die


def test_random_fails_are_as_many_as_was_asked_for_and_lie_on_dies() -> None:
    params = SimulateParams(size=SIZE, defect_share=0, fail_low=0.05, fail_high=0.05)
    shares = []
    for index in range(40):
        found = draw(params, FINE, 1, index)
        assert found.type == "none" and not found.caused.any() and np.array_equal(found.codes, found.without)
        assert np.array_equal(found.codes > 0, FINE.dies)
        shares.append((found.codes == 2).sum() / FINE.dies.sum())
    error = np.sqrt(0.05 * 0.95 / FINE.dies.sum() / 40)
    assert abs(np.mean(shares) - 0.05) < 4 * error
    spread = [draw(SimulateParams(size=SIZE, defect_share=0), FINE, 1, index).codes for index in range(60)]
    rates = np.array([(codes == 2).sum() / FINE.dies.sum() for codes in spread])
    assert 0.015 < rates.min() < 0.03 and 0.07 < rates.max() < 0.085


def middle(mask: np.ndarray) -> float:
    """Distance of a mask's centroid from the wafer's centre, in radii."""
    y, x = FINE.middles
    return hypot(float(y[mask].mean()), float(x[mask].mean()))


def covered(mask: np.ndarray, low: float, high: float) -> float:
    """Share of the dies between two radii that are in a mask."""
    distance, _ = FINE.around(0, 0)
    ring = FINE.dies & (distance >= low) & (distance < high)
    return float(mask[ring].mean())


def width(mask: np.ndarray) -> float:
    """Twice the largest distance of a die in a mask from the nearest one outside, in dies."""
    return 2 * float(ndimage.distance_transform_edt(mask).max())


def pieces(mask: np.ndarray) -> int:
    return int(ndimage.label(mask, np.ones((3, 3)))[1])


LOOKS: dict[str, Callable[[np.ndarray], bool]] = {
    "Center": lambda m: covered(m, 0, 0.05) == 1 and covered(m, 0.6, 1) == 0,
    "Donut": lambda m: covered(m, 0, 0.1) == 0 and covered(m, 0.8, 1) == 0 and covered(m, 0.3, 0.6) > 0.3 and middle(m) < 0.15,
    "Edge-Loc": lambda m: 0 < covered(m, 0.96, 1) < 0.5 and covered(m, 0, 0.7) == 0 and pieces(m) == 1 and width(m) > 3,
    "Edge-Ring": lambda m: covered(m, 0.96, 1) == 1 and covered(m, 0, 0.8) == 0,
    "Loc": lambda m: covered(m, 0, 0.05) == 0 and 0.35 < middle(m) < 0.7 and m.sum() < 0.15 * FINE.dies.sum() and width(m) > 3,
    "Near-full": lambda m: covered(m, 0, 1) > 0.8,
    "Scratch": lambda m: width(m) <= 2.9 and pieces(m) == 1 and m.sum() >= 0.3 * SIZE / 2,
    "Random": lambda m: 0.18 < covered(m, 0, 1) < 0.47 and all(0.1 < covered(m, low, low + 0.2) < 0.6 for low in (0.2, 0.4, 0.6, 0.78)),
}


@pytest.mark.parametrize("pattern", CODES)
def test_a_pattern_lies_where_its_name_says_and_looks_like_no_other(pattern: str) -> None:
    for found in drawn(pattern):
        assert {name for name, looks in LOOKS.items() if looks(found.caused)} == {pattern}


def test_density_is_the_share_of_a_zone_that_fails() -> None:
    zones = [found.caused for found in drawn("Edge-Ring", 30)]
    thinned = drawn("Edge-Ring", 30, density_low=0.7, density_high=0.7)
    assert all(not (found.caused & ~zone).any() for found, zone in zip(thinned, zones, strict=True))
    wanted, dies = sum(found.caused.sum() for found in thinned), sum(zone.sum() for zone in zones)
    assert abs(wanted / dies - 0.7) < 4 * np.sqrt(0.7 * 0.3 / dies)
    for pattern, (low, high) in DENSITIES.items():
        shares = [found.caused.sum() / FINE.dies.sum() for found in drawn(pattern)]
        assert low - 0.02 < min(shares) and max(shares) < high + 0.02


def test_a_mask_is_what_the_pattern_did_and_nothing_else_differs() -> None:
    both = 0
    for found in drawn("Center", density_low=0.6, density_high=0.8, fail_low=0.3, fail_high=0.3):
        assert (found.codes[found.caused] == 2).all()
        assert np.array_equal(found.codes != found.without, found.caused & (found.without == 1))
        both += int((found.caused & (found.without == 2)).sum())
    assert both > 20  # dies that would have failed anyway are in the mask too


def test_mixed_wafers_have_all_their_patterns() -> None:
    params = SimulateParams(size=SIZE, defect_share=1, mixed_share=1, patterns=("Donut", "Edge-Ring"), density_low=1, density_high=1)
    for index in range(6):
        found = draw(params, FINE, 2, index)
        ring = FINE.around(0, 0)[0] > 0.8
        assert found.type == "D+ER"
        assert LOOKS["Donut"](found.caused & ~ring) and LOOKS["Edge-Ring"](found.caused & ring)


def test_types_are_drawn_as_often_as_their_share_says() -> None:
    params = SimulateParams(size=16, defect_share=1, mixed_share=0.3, most_mixed=2)
    counts = Counter(len(params.types()[draw(params, Wafer(16), 0, index).type]) for index in range(600))
    assert abs(counts[2] / 600 - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 600) and counts.keys() == {1, 2}


def test_a_set_says_what_its_images_are(run_task: Any) -> None:
    params = {"count": 40, "size": 20, "references": True}
    images: ImageSet = run_task(WaferMap, "simulate", params, seed=3)
    assert images.images.shape == images.references.shape == (40, 2, 20, 20)
    names = [images.class_names[label] for label in images.labels[...]]
    assert images.class_names[:9] == ["none", *CODES] and len(images.class_names) == 1 + 8 + 13 + 12
    assert images.attrs["patterns"]["C+EL"] == ["Center", "Edge-Loc"] and images.attrs["encoding"].keys() == {"channel 0", "channel 1"}
    assert (images.domain[...] == [name != "none" for name in names]).all() and images.domain[...].sum() == 20
    changed = images.images[...] != images.references[...]
    assert not changed[:, 1].any() and np.array_equal(changed[:, 0] | (images.masks[...] == 1), images.masks[...] == 1)
    fewer = run_task(WaferMap, "simulate", params | {"count": 25, "references": False}, seed=3)
    assert np.array_equal(fewer.images[...], images.images[:25]) and fewer.references is None
    assert not np.array_equal(run_task(WaferMap, "simulate", params | {"count": 25}, seed=4).images[...], fewer.images[...])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fail_low": 0.2}, "fail_low=0.2 is above fail_high=0.08"),
        ({"density_low": 0.99}, "density_low=0.99 is above"),
        ({"patterns": ["Center", "Donut"]}, "no two of Center, Donut go together"),
        ({"patterns": ["Center", "Center"]}, "once each"),
        ({"patterns": ["Centre"]}, "'Center', 'Donut'"),
        ({"size": 15}, "greater than or equal to 16"),
    ],
)
def test_what_cannot_be_drawn_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulateParams.model_validate(params)


def test_a_pattern_that_nobody_could_see_is_refused() -> None:
    with pytest.raises(DataError, match=r"no Scratch at size=16 makes 5 dies fail; raise size, density_low"):
        drawn("Scratch", size=16, density_low=0.02, density_high=0.02)


def test_codes_survive_the_two_channels() -> None:
    codes = np.random.default_rng(0).integers(0, 3, (5, 7, 9)).astype(np.uint8)
    images = encoded(codes)
    assert images.shape == (5, 2, 7, 9) and {*np.unique(images)} == {0, 255}
    assert np.array_equal(decoded(images), codes)
    assert not np.array_equal(decoded(images[:, ::-1]), codes)
    generated = np.array([[[90, 200, 200]], [[250, 250, 10]]], np.uint8)  # grey levels of a generator; the last is no die
    assert decoded(generated).tolist() == [[1, 2, 0]]
