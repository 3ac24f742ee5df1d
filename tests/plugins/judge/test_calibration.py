"""The threshold that a model carries: chosen for a rate of false alarms on held-out images, or left alone where they cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from fabloom.plugins.judge.unet.calibration import GRID, HeldOut, overlaps, reach

CLEAN, DEFECTS = 200, 40


def blob(level: float, area: int = 9, ground: float = 0.0) -> np.ndarray:
    """A map [12,12] with one component of this probability."""
    found = np.full((12, 12), ground, np.float32)
    found[:3, : area // 3] = level
    return found


def held(clean: list[float], defects: list[float]) -> tuple[HeldOut, np.ndarray]:
    """Clean images with a false component of these probabilities, then defect images whose defect has those."""
    maps, truth = HeldOut(), np.zeros((len(clean) + len(defects), 12, 12), np.uint8)
    for row, level in enumerate(clean + defects):
        maps.add(row, blob(level))
    truth[len(clean) :, :3, :3] = 1
    return maps, truth


def test_the_threshold_gives_no_more_alarms_than_stated_and_finds_most() -> None:
    clean, defects = np.linspace(0, 0.9, CLEAN).tolist(), np.linspace(0.3, 0.99, DEFECTS).tolist()
    found = {rate: held(clean, defects)[0].choose(held(clean, defects)[1], rate) for rate in (0.01, 0.1, 0.5)}
    for rate, choice in found.items():
        alarms = sum(level > choice.threshold for level in clean)
        assert choice.chosen and choice.facts["alarms"] == alarms <= rate * CLEAN
        assert choice.facts["found"] == sum(level > choice.threshold for level in defects)
        # negative control: a threshold two steps of the grid lower breaks the promise
        assert sum(level > GRID[np.flatnonzero(choice.threshold == GRID)[0] - 2] for level in clean) > rate * CLEAN
    assert found[0.01].threshold > found[0.1].threshold > found[0.5].threshold
    assert sum(level > 0.5 for level in clean) > 0.1 * CLEAN, "0.5 would have kept none of these promises"


def test_of_thresholds_that_find_as_much_the_one_that_fits_best_is_taken() -> None:
    maps, truth = HeldOut(), np.zeros((110, 12, 12), np.uint8)
    for row in range(100):
        maps.add(row, blob(0.0))
    for row in range(100, 110):
        truth[row, :3, :3] = 1
        probability = blob(0.9)
        probability[3:6, :3] = 0.7  # a halo: found at any threshold, but the mask is twice too large below 0.7
        maps.add(row, probability)
    choice = maps.choose(truth, 0.01)
    assert 0.7 <= choice.threshold < 0.9 and choice.facts["iou"] == 1
    assert overlaps(maps.sums[100], truth[100])[GRID == 0.5] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("clean", "defects", "rate", "word"),
    [
        ([0.0] * 99, [0.9], 0.01, "the usual one: choosing it for 1 % false alarms takes 100 held-out clean images, here are 99 ("),
        ([0.0] * 100, [], 0.01, "no held-out image has a defect"),
        ([0.999] * 100, [0.999], 0.01, "none with at most 1 % false alarms on 100 held-out"),
        ([0.0] * 100, [0.001], 0.01, "finds a defect"),
    ],
)
def test_what_cannot_be_chosen_is_said_and_a_half_stays(clean: list[float], defects: list[float], rate: float, word: str) -> None:
    maps, truth = held(clean, defects)
    choice = maps.choose(truth, rate)
    assert (choice.threshold, choice.chosen) == (0.5, False) and word in choice.why
    assert "0.5" not in choice.why, "the log line says it before"
    assert choice.as_dict()["clean_images"] == len(clean) and choice.as_dict()["false_alarms"] == rate


def test_a_hundred_clean_images_can_show_one_in_a_hundred() -> None:
    maps, truth = held([0.0] * 99 + [0.8], [0.6])
    choice = maps.choose(truth, 0.01)
    assert choice.chosen and choice.facts["alarms"] <= 1 and choice.threshold < 0.6


def test_small_components_and_unknown_pixels_raise_no_alarm() -> None:
    nothing, unknown = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    unknown[:3, :3] = 255
    assert reach(blob(0.9, area=3), nothing, 0) == 0 and reach(blob(0.9), unknown, 0) == 0
    assert reach(blob(0.9), nothing, 0) == (GRID < 0.9).sum() > 0 and reach(blob(0.9), nothing, 1) == 0


def test_an_image_is_judged_by_the_trainings_that_did_not_see_it() -> None:
    maps = HeldOut()
    for row, level in ((3, 0.2), (3, 0.6), (5, 0.9)):
        maps.add(row, blob(level))
    assert maps.sums[3].max() / maps.counts[3] == pytest.approx(0.4) and maps.counts == {3: 2, 5: 1}
