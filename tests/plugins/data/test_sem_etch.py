"""Simulated SEM images of etched patterns: brightness, roughness, scan and noise against closed forms, and defects against their masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage, special

from fabloom.plugins.blocks.imaging.stage import MIN_AREA
from fabloom.plugins.data.sem_etch import edges
from fabloom.plugins.data.sem_etch.beam import counted
from fabloom.plugins.data.sem_etch.params import CLASS_NAMES, KINDS, SimulateParams
from fabloom.plugins.data.sem_etch.stage import Etched, EtchStage

LOW, HIGH = 60.0, 150.0
QUIET: dict[str, Any] = {"dose": None, "noise_std": 0.0}
STILL: dict[str, Any] = {**QUIET, "jitter": 0.0, "charging": 0.0, "ler": [0.0, 0.0], "random_phase": False, "turned": False}
PAIRS = [(pattern, kind) for pattern, kinds in KINDS.items() for kind in kinds]


def stage(**params: Any) -> EtchStage:
    return EtchStage(SimulateParams.model_validate(params))


def share(grey: np.ndarray) -> np.ndarray:
    """Grey levels as shares of the contrast: 0 is ground, 1 is material."""
    return (grey - LOW) / (HIGH - LOW)


@pytest.mark.parametrize("blur", [0.0, 0.5, 0.8])
def test_a_straight_edge_is_as_bright_as_told(blur: float) -> None:
    """A step and RISE exp(-(d / WIDTH)^2), both through the spot; edges lie 8 pixels apart on borders of pixels."""
    seen = share(stage(**STILL, patterns=["lines"], pitch=[16, 16], duty=[0.5, 0.5], blur=blur, size=64).draw(0, 1).clean)
    assert np.ptp(seen, axis=0).max() < 1e-12, "a straight vertical edge"
    from_edge = 4 - np.abs((np.arange(64) + 0.5) % 16 - 8)
    step = (from_edge > 0) if blur == 0 else special.ndtr(from_edge / blur)
    spread = 0.9**2 + 2 * blur**2
    rise = 0.35 * 0.9 / np.sqrt(spread) * np.exp(-(from_edge**2) / spread)
    tolerance = 1e-9 if blur == 0 else 0.02  # the spot is summed over pixels
    np.testing.assert_allclose(seen[0], step + rise, atol=tolerance)
    assert np.abs(seen[0] - step).max() > 0.15 > 5 * tolerance, "a control: without the bright edge"


def test_roughness_has_the_spread_and_the_correlation_that_are_told() -> None:
    drawn = edges.rough(np.random.default_rng(0), (400, 96), 0.8, 4.0)
    assert drawn.std() == pytest.approx(0.8, rel=0.03)
    along = [(drawn * np.roll(drawn, lag, -1)).mean() / 0.64 for lag in (0, 2, 4, 8)]
    np.testing.assert_allclose(along, np.exp(-np.square([0, 0.5, 1.0, 2.0])), atol=0.04)
    across = (drawn[1:] * drawn[:-1]).mean() / 0.64
    assert abs(across) < 0.04, "edges are independent"


def test_scan_lines_jitter_independently() -> None:
    straight = {**STILL, "patterns": ["lines"], "pitch": [10, 10], "duty": [0.5, 0.5], "size": 64, "blur": 0.8, "defect_share": 0.0}
    still = stage(**straight).draw(0, 0).clean[0]
    slope = np.gradient(still)[1:-1]

    def shifts(jitter: float) -> np.ndarray:
        shaken = stage(**{**straight, "jitter": jitter})
        lines = np.stack([shaken.draw(0, index).clean for index in range(20)])[..., 1:-1]
        return (lines - still[1:-1]) @ slope / (slope @ slope)

    found = shifts(0.2)
    assert found.std() == pytest.approx(0.2, rel=0.1) and abs(found.mean()) < 0.02
    assert abs((found[:, 1:] * found[:, :-1]).mean()) < 0.1 * found.var()
    assert not shifts(0.0).any(), "a control"


def test_charge_is_a_slope_in_any_direction() -> None:
    y, x = (np.mgrid[:32, :32] + 0.5) / 32 - 0.5
    plane = np.stack([y.ravel(), x.ravel()], 1)
    found = []
    for index in range(200):
        charged, flat = (stage(**QUIET, charging=charging, defect_share=0.0).draw(0, index).clean for charging in (0.4, 0.0))
        rise = share(charged) - share(flat)
        slopes, *_ = np.linalg.lstsq(plane, rise.ravel(), rcond=None)
        np.testing.assert_allclose(plane @ slopes, rise.ravel(), atol=1e-9)
        found.append(slopes)
    slopes = np.array(found)
    steepest = np.hypot(*slopes.T)
    assert steepest.max() <= 0.4 and steepest.mean() == pytest.approx(0.2, abs=0.02)
    assert (np.abs(slopes.mean(0)) < 0.04).all(), "in every direction alike"


@pytest.mark.parametrize("level", [60.0, 150.0])
def test_noise_is_that_of_counted_electrons_and_of_the_detector(level: float) -> None:
    params = SimulateParams(dose=300.0, noise_std=3.0)
    seen = counted(np.full((200, 200), level), params, np.random.default_rng(0)).astype(float)
    wanted = level * 150 / 300 + 3.0**2 + 1 / 12
    assert seen.mean() == pytest.approx(level, abs=0.2) and seen.var() == pytest.approx(wanted, rel=0.03)


def test_a_missing_hole_is_masked_where_its_closed_form_says() -> None:
    """Discs of diameter 6 at a pitch of 10, without blur: the mask is where filling one changes more than 0.15."""
    shared = stage(**STILL, patterns=["holes"], pitch=[10, 10], hole=[0.6, 0.6], blur=0.0, defects=["missing"], defect_share=1.0,
                   strength=[1, 1], size=40)  # fmt: skip
    y, x = np.mgrid[:40, :40] + 0.5
    from_rim = np.hypot(y % 10 - 5, x % 10 - 5) - 3
    brightness = np.clip(from_rim + 0.5, 0, 1) + 0.35 * np.exp(-((from_rim / 0.9) ** 2))
    places = set()
    for index in range(12):
        picture = shared.draw(0, index)
        np.testing.assert_allclose(share(picture.clean), brightness, atol=1e-9)
        row, column = (int(place) // 10 for place in np.argwhere(picture.mask).mean(0))
        cell = (y // 10 == row) & (x // 10 == column)
        np.testing.assert_array_equal(picture.mask, cell & (np.abs(1 - brightness) > 0.15))
        np.testing.assert_allclose(picture.image, np.rint(np.where(cell, HIGH, picture.clean)))
        places.add((row, column))
    assert len(places) > 4


@pytest.mark.parametrize(("pattern", "kind"), PAIRS)
def test_each_defect_changes_what_its_name_says_and_no_more(pattern: Any, kind: Any) -> None:
    """The twin is the same image of a set without defects: nothing but the mask tells that the two differ."""
    told = {**QUIET, "patterns": [pattern], "defects": [kind]}
    spoilt, clean = stage(**told, defect_share=1.0), stage(**told, defect_share=0.0)
    signs = []
    for index in range(12):
        one, twin = spoilt.draw(4, index), clean.draw(4, index)
        np.testing.assert_array_equal(np.rint(one.clean), twin.image)
        change = (one.image - one.clean) / (HIGH - LOW)
        assert (np.abs(change) > 0.15 + 1 / 90)[one.mask == 0].sum() == 0 and (np.abs(change) > 0.15 - 1 / 90)[one.mask == 1].all()
        assert one.mask.sum() >= MIN_AREA and one.mask[1:-1, 1:-1].sum() == one.mask.sum()
        assert CLASS_NAMES[one.label] == kind and not twin.label
        assert np.abs(change).max() < 1.4, "nothing beside which all else is dark"
        signs.append(np.sign(change[one.mask == 1].mean()))
    darker = kind in ("gap", "necking") or (pattern, kind) == ("holes", "bridge")
    assert set(signs) == {-1.0 if darker else 1.0}


@pytest.mark.parametrize(
    ("pattern", "kind", "more"), [("lines", "bridge", -1), ("lines", "gap", 1), ("holes", "bridge", -1), ("holes", "missing", -1)]
)
def test_connectivity_changes_as_it_should(pattern: Any, kind: Any, more: int) -> None:
    """A bridge joins two lines or two holes, a gap parts a line, a missing hole is one hole fewer."""
    params = {**STILL, "patterns": [pattern], "pitch": [10, 10], "defects": [kind], "defect_low": 0.6, "strength": [1, 1], "size": 40}
    for index in range(8):
        picture = stage(**params, defect_share=1.0).draw(0, index)
        clean, spoilt = (share(grey) > 0.5 for grey in (picture.clean, picture.image))
        counts = [int(ndimage.label(~seen if pattern == "holes" else seen)[1]) for seen in (clean, spoilt)]
        assert counts[1] - counts[0] == more, (index, counts)


def test_a_necking_is_narrow_and_does_not_part_the_line() -> None:
    params = {**STILL, "patterns": ["lines"], "pitch": [12, 12], "duty": [0.5, 0.5], "defects": ["necking"], "strength": [1, 1], "size": 48}
    for index in range(8):
        view = stage(**params).view(rng := np.random.default_rng(index))
        clean, spoilt = view.clean(), view.spoilt("necking", rng)
        lost = (share(clean - spoilt + LOW)).sum(1)
        # 60 to 85 % of 6 pixels, at the row where it is narrowest; bright edges come nearer to each other there
        assert 0.6 * 6 * 0.8 < lost.max() < 0.85 * 6 * 1.2
        assert share(spoilt).max(0).max() < 1.7


def test_defects_come_only_where_a_pattern_has_them() -> None:
    shared = stage(defect_share=1.0)
    seen = set()
    for index in range(200):
        view = shared.view(np.random.default_rng((0, 0, index)))
        assert isinstance(view, Etched)
        name = type(view.pattern).__name__
        kind = CLASS_NAMES[shared.draw(0, index).label]
        assert kind in view.kinds
        seen.add((name, kind))
    assert {kind for name, kind in seen if name == "Holes"} == set(KINDS["holes"])
    assert {kind for name, kind in seen if name == "Stripes"} == set(KINDS["lines"]) == set(KINDS["bends"])
    assert stage(patterns=["lines"], defects=["gap", "missing"]).view(np.random.default_rng(0)).kinds == ("gap",)


def test_defects_take_a_few_pixels_in_a_hundred() -> None:
    shared = stage(defect_share=1.0)
    areas = [shared.draw(1, index).mask.mean() for index in range(300)]
    assert 0.025 < np.mean(areas) < 0.045 and np.max(areas) < 0.15


def found_by_median(**params: Any) -> tuple[float, float]:
    """Average precision of |image - median image of the clean ones| per pixel, and the share of pixels in the masks."""
    shared = stage(**params)
    pictures = [shared.draw(2, index) for index in range(160)]
    middle = np.median([picture.image for picture in pictures if not picture.label], axis=0)
    spoilt = [picture for picture in pictures if picture.label]
    scores = np.concatenate([np.abs(picture.image - middle).ravel() for picture in spoilt])
    truth = np.concatenate([picture.mask.ravel() for picture in spoilt])
    hits = truth[np.argsort(-scores, kind="stable")] > 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean()), float(truth.mean())


def test_images_are_not_registered_so_that_a_median_image_finds_nothing() -> None:
    as_drawn, prevalence = found_by_median()
    assert as_drawn < 3 * prevalence
    narrow = {"patterns": ["lines"], "pitch": [10, 10], "duty": [0.5, 0.5], "random_phase": False, "turned": False, "ler": [0.1, 0.1]}
    registered, _ = found_by_median(**narrow)
    assert registered > 0.6 > 5 * as_drawn, "a control: where everything that moves them is off, it does"


@pytest.mark.parametrize("pattern", KINDS)
def test_the_position_alone_moves_every_pattern(pattern: Any) -> None:
    """All else fixed, images are equal where the phase is, and each grey level varies over the image's own spread where it is drawn."""
    fixed = {**STILL, "patterns": [pattern], "pitch": [10, 10], "duty": [0.5, 0.5], "hole": [0.6, 0.6], "defect_share": 0.0}

    def spread(random_phase: bool) -> float:
        shared = stage(**{**fixed, "random_phase": random_phase})
        seen = np.stack([shared.draw(0, index).clean for index in range(40)])
        return float(seen.std(0).mean() / seen.std())

    assert spread(False) < 1e-9 and spread(True) > 0.8


def test_quarter_turns_reach_all_directions() -> None:
    def steep(index: int, **params: Any) -> float:
        seen = stage(patterns=["lines"], defect_share=0.0, **QUIET, **params).draw(0, index).clean
        return float(np.abs(np.diff(seen, axis=1)).mean() / np.abs(np.diff(seen, axis=0)).mean())

    turned = [steep(index) for index in range(20)]
    assert min(turned) < 0.8 and max(turned) > 1.25
    assert min(steep(index, turned=False) for index in range(20)) > 1.25


@pytest.mark.parametrize("size", [16, 64])
def test_other_sizes_are_the_same_physics(size: int) -> None:
    picture = stage(size=size, pitch=[8, 8] if size == 16 else [16, 24], defect_share=1.0).draw(0, 0)
    assert picture.image.shape == (size, size) and picture.mask.any() and np.ptp(picture.image) > 60


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pitch": [12, 8]}, "lowest and a highest"),
        ({"pitch": [4, 8]}, "5 pixels or more"),
        ({"size": 16}, "less than two periods: raise size to 24"),
        ({"duty": [0.1, 0.5]}, r"duty=\[0.1, 0.5\] must lie within"),
        ({"hole": [0.5, 0.9]}, r"hole=\[0.5, 0.9\] must lie within"),
        ({"correlation": [0.1, 1]}, "half a pixel or more"),
        ({"strength": [0.5, 1.5]}, "within 0..1"),
        ({"patterns": ["lines", "holes"], "defects": ["gap"]}, "none that holes may have; they are bridge, missing, particle, residue"),
        ({"defect_low": 0.9}, "above defect_high"),
        ({"grey_low": 200}, "must be below grey_high"),
        ({"defects": ["break"]}, "'bridge', 'gap', 'necking', 'missing', 'particle' or 'residue'"),
    ],
)
def test_impossible_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulateParams.model_validate(params)
