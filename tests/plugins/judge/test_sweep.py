"""Single defects, thresholds and the images of a report, against what is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fabloom.kinds import ImageSet
from fabloom.kinds.gallery import spread
from fabloom.plugins.blocks.defects import Defects, levels_of
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.intervals import Interval, difference, interval, resampled, unanimous
from fabloom.plugins.blocks.metrics import Ratio
from fabloom.plugins.judge.unet import cases, prediction, sweep
from fabloom.plugins.judge.unet.prediction import logit, logit_maps
from fabloom.testing import write_artifact

LEVELS = levels_of(0.5)


def truth_of() -> np.ndarray:
    """Four images: two defects (of classes 1 and 2), one, one at the far edge, none."""
    truth = np.zeros((4, 14, 14), np.uint8)
    truth[0, 1:4, 1:4], truth[0, 8:11, 8:11] = 1, 2
    truth[1, 5:8, 5:8] = 1
    truth[2, 11:, 11:] = 1
    return truth


def maps_of(found: dict[tuple[int, int, int], float]) -> np.ndarray:
    """Logits of squares of 3 x 3 pixels at (image, y, x) with their probabilities, nothing elsewhere."""
    maps = np.full((4, 14, 14), -20.0, np.float32)
    for (row, y, x), probability in found.items():
        maps[row, y : y + 3, x : x + 3] = logit(probability)
    return maps


HITS = {(0, 1, 1): 0.95, (0, 8, 8): 0.35, (1, 5, 5): 0.65, (2, 11, 11): 0.05}
ALARMS = {(1, 10, 0): 0.25, (3, 2, 2): 0.75, (3, 8, 8): 0.02}


def curve_of(maps: np.ndarray, truth: np.ndarray) -> sweep.Curve:
    defects = Defects.of(truth)
    swept = sweep.Sweep.stacked([sweep.Sweep.of(maps, LEVELS, truth, defects, 4)])
    ratios = sweep.ratios(swept, defects, (truth > 0).reshape(len(truth), -1).sum(1).astype(float))
    samples = resampled(ratios, np.arange(len(truth)), 200, torch.Generator().manual_seed(0))
    return sweep.Curve(0.5, swept, {name: interval(r.value, samples[name], 0.95, (0, np.inf)) for name, r in ratios.items()})


def test_defects_are_told_apart_and_never_across_images() -> None:
    truth = truth_of()
    truth[1, 13], truth[2, 0] = 1, 1  # the last line of one image and the first of the next
    truth[3, 4, 4] = 255
    defects = Defects.of(truth)
    assert defects.image.tolist() == [0, 0, 1, 1, 2, 2] and defects.kind.tolist() == [1, 2, 1, 1, 1, 1]
    assert defects.area.tolist() == [9, 9, 9, 14, 14, 9] and not defects.known[3, 4, 4]
    assert defects.per_image(np.ones((2, 6))).tolist() == [[2, 2, 2, 0]] * 2
    none = Defects.of(np.zeros((2, 5, 5), np.uint8))
    hit, alarms = none.met(np.ones((2, 5, 5), bool), 4)
    assert len(none) == 0 and len(hit) == 0 and alarms.tolist() == [1, 1] and none.per_image(np.ones(0)).tolist() == [0, 0]


def test_froc_is_that_of_a_hand_made_example() -> None:
    curve = curve_of(maps_of(HITS | ALARMS), truth_of())
    for level in LEVELS:
        assert curve.value("sensitivity", level) == sum(p > level for p in HITS.values()) / 4, level
        assert curve.value("false alarms", level) == sum(p > level for p in ALARMS.values()) / 4, level
    # 0.25 false alarms an image are had from 0.3 up, where three of four are found; none from 0.75 up, where one is
    assert curve.at_rate(0.3) == 0.3 and curve.value("sensitivity", 0.3) == 0.75
    assert curve.at_rate(0.1) == 0.9 and curve.value("sensitivity", 0.9) == 0.25
    assert curve.at_rate(1) == 0.03 and curve.value("sensitivity", 0.03) == 1


def test_scores_of_other_images_find_nothing() -> None:
    """A control: the same maps, each on the image two further on."""
    curve = curve_of(np.roll(maps_of(HITS | ALARMS), 2, 0), truth_of())
    assert all(curve.value("sensitivity", level) == 0 for level in LEVELS)
    assert curve.value("false alarms", 0.01) == 7 / 4 and curve.value("precision", 0.01) == 0


def test_what_is_small_or_cannot_be_judged_is_no_alarm() -> None:
    truth = truth_of()
    truth[3, :6] = 255
    maps = maps_of({(3, 2, 2): 0.9})
    maps[0, 13, :3] = 5.0  # three pixels
    assert curve_of(maps, truth).value("false alarms", 0.5) == 0
    maps[0, 12, 0] = 5.0
    assert curve_of(maps, truth).value("false alarms", 0.5) == 0.25


def test_recall_and_area_only_rise_as_the_threshold_falls() -> None:
    draw = np.random.default_rng(0)
    truth = (draw.random((12, 9, 9)) < 0.2).astype(np.uint8)
    truth[:3] = 0
    maps = (draw.normal(-1, 2, truth.shape) + 2.0 * truth).astype(np.float32)
    curve = curve_of(maps, truth)
    recall = [curve.value("recall", level) or 0 for level in LEVELS]
    assert recall == sorted(recall, reverse=True) and len(set(recall)) > 10
    area = curve.sweep.found.sum((0, 2))
    assert (np.diff(area) <= 0).all()
    by_hand = [(maps > logit(level)) for level in LEVELS]
    for level, found in zip(LEVELS, by_hand, strict=True):
        wanted = (found & (truth > 0)).sum() / found.sum() if found.any() else None
        assert curve.value("precision", level) == (wanted if wanted is None else pytest.approx(wanted))
    drawn = [r for r, level in zip(recall, LEVELS, strict=True) if curve.value("precision", level) is not None]
    assert [p[0] for p in curve.points("recall", "precision")] == pytest.approx(drawn[::-1], abs=1e-5) and len(drawn) > 10


def test_unanimous_events_are_no_certainty() -> None:
    """20 of 20: the exact interval ends at 0.832; two images of each source say no more than its 10 sources."""
    every, none = Ratio(np.ones((1, 20)), np.ones((1, 20))), Ratio(np.zeros((1, 20)), np.ones((1, 20)))
    full, empty = Interval(1.0, 1.0, 1.0), Interval(0.0, 0.0, 0.0)
    assert unanimous(full, every, np.arange(20), 0.95).bounds == (pytest.approx(0.8316, abs=1e-4), 1)
    assert unanimous(empty, none, np.arange(20), 0.95).bounds == (0, pytest.approx(0.1684, abs=1e-4))
    assert unanimous(full, every, np.arange(20) // 2, 0.95).bounds == (pytest.approx(0.6915, abs=1e-4), 1)
    half = Interval(0.5, 0.5, 0.5)
    assert unanimous(half, Ratio(np.ones((1, 2)), np.full((1, 2), 2.0)), np.arange(2), 0.95) == half


def gap_of(model: np.ndarray, baseline: np.ndarray, groups: np.ndarray, name: str = "false_alarm_rate") -> Interval:
    """The paired difference of two rates of events, 0 or 1 for each image."""
    ratios = [{name: Ratio(events[None], np.ones((1, len(events))))} for events in (model, baseline)]
    samples = [resampled(one, groups, 400, torch.Generator().manual_seed(0)) for one in ratios]
    return difference(*ratios, tuple(samples), 0.95, groups)[name]


@pytest.mark.parametrize("name", ["false_alarm_rate", "false_alarms_per_image"])
def test_a_difference_that_no_source_shows_is_no_certainty(name: str) -> None:
    """Six sources without an alarm say of the difference that it is below 0.46; 183 of them, that it is below 0.02."""
    none, some = np.zeros(6), np.array([0.0, 0, 1, 1, 0, 1])
    for events in (none, some):
        assert gap_of(events, events, np.arange(6), name).bounds == pytest.approx((-0.4593, 0.4593), abs=1e-4)
    assert (
        gap_of(np.zeros(182), np.zeros(182), np.arange(182), name).high > 0.02 > gap_of(np.zeros(183), np.zeros(183), np.arange(183)).high
    )
    assert gap_of(np.zeros(20), np.zeros(20), np.arange(20) // 2, name).high == pytest.approx(0.3085, abs=1e-4), "two images a source"
    assert gap_of(none, none, np.arange(6), "iou").bounds == (0, 0), "the control: no score of events"


def test_one_alarm_less_does_not_show_that_there_is_never_one_more() -> None:
    """Resamples of [-1, 0, 0, ...] cannot leave 0 upwards; of all -1 they cannot leave -1."""
    fewer = np.zeros(20)
    fewer[0] = 1
    found = gap_of(np.zeros(20), fewer, np.arange(20))
    assert found.low < found.value < 0.1 < found.high < 0.1684
    turned = gap_of(fewer, np.zeros(20), np.arange(20))
    assert turned.bounds == pytest.approx((-found.high, -found.low))
    assert gap_of(np.zeros(20), np.ones(20), np.arange(20)).bounds == pytest.approx((-1, -1 + 2 * 0.1684), abs=1e-4)
    mixed = np.zeros(20), np.zeros(20)
    mixed[0][:5], mixed[1][5:10] = 1, 1
    plain = interval(0.0, resampled({"d": Ratio((mixed[0] - mixed[1])[None], np.ones((1, 20)))}, np.arange(20), 400,
                     torch.Generator().manual_seed(0))["d"], 0.95, (-1, 1))  # fmt: skip
    assert gap_of(*mixed, np.arange(20)).bounds == pytest.approx(plain.bounds), "where both happened, resamples say it"


def test_of_many_images_the_worst_are_shown_first_and_good_ones_too() -> None:
    badness = [float(row % 7) for row in range(1000)]
    few = spread(badness, [row % 100 == 0 for row in range(1000)], 50)
    assert len(few) == len(set(few)) == 50 and sorted(few[:10]) == list(range(0, 1000, 100))
    assert [badness[row] for row in few[:10]] == sorted((badness[row] for row in few[:10]), reverse=True)
    assert len({badness[row] for row in few[10:]}) == 7, "evenly from bad to good"
    bad = spread(badness, [True] * 900 + [False] * 100, 50)
    assert len(bad) == 50 and sum(row < 900 for row in bad) == 25
    assert spread([1.0, 2.0], [True, False]) == [0, 1] and spread([], []) == []


def test_a_gallery_goes_by_the_names_of_the_files(store: Any) -> None:
    truth = truth_of()
    found, sure = maps_of(HITS | ALARMS) > 0, np.zeros(truth.shape, np.uint8)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 1, 14, 14), dtype=np.uint8)
    source = {"source": np.array([0, 1, 1, 2], np.int32), "source_names": ["a.png", "b c.tif", "ordner/ü.bmp"]}
    images = write_artifact(store, lambda ctx: ImageSet.write(ctx, pixels, masks=(truth > 0).astype(np.uint8), **source))
    assert isinstance(images, ImageSet)
    made = cases.gallery(images, pixels, (truth > 0).astype(np.uint8), Defects.of(truth), found, sure, 4)
    told = dict(zip(made.names, zip(made.outcomes, made.values["missed"], made.values["false alarms"], strict=True), strict=True))
    assert told == {
        "a.png": ("partly found", 1, 0), "b c.tif (row 1)": ("found", 0, 0), "b c.tif (row 2)": ("missed", 1, 0), "ordner/ü.bmp": ("false alarm", 0, 1),
    }  # fmt: skip
    assert made.names[0] == "b c.tif (row 2)" and made.names[-1] == "b c.tif (row 1)", "worst first: all of its defects are missed"
    assert cases.outcome(1, 0, 1) == "found with false alarm" and cases.outcome(2, 1, 1) == "partly found", (
        "no false alarm of a clean image"
    )
    large = np.repeat(np.repeat(pixels, 40, 2), 40, 3)
    wide = np.repeat(np.repeat(truth, 40, 1), 40, 2)
    drawn = cases.gallery(images, large, wide, Defects.of(wide), wide > 0, np.zeros(wide.shape, np.uint8), 4)
    assert drawn.images.shape == (4, 1, 187, 187) and drawn.shrunk == 3 and drawn.outcomes.count("found") == 3


def test_large_images_are_predicted_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Brightness(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x

    images = np.arange(5, dtype=np.uint8).repeat(16 * 16).reshape(5, 1, 16, 16)
    monkeypatch.setattr(prediction, "PIXELS", 2 * 16 * 16)
    maps = np.concatenate(list(logit_maps(Brightness(), images, GreyMap(-1.0, 1.0), 3, torch.device("cpu"), batch=4)))
    assert seen == [2, 2, 1] and (maps[:, 3, 3] == [0, 1, 2, 3, 4]).all()
    seen.clear()
    assert len(list(logit_maps(Brightness(), images[..., :8, :8], GreyMap(-1.0, 1.0), 3, torch.device("cpu"), batch=4))) == 2
    assert seen == [4, 1]
