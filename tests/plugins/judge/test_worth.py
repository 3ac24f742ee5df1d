"""What a recipe is worth in real images: the arithmetic against closed forms, and the task on networks that are all but untrained."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError
from fabloom.flows.report.numbers import comparisons
from fabloom.kinds import ImageSet, Model, Report
from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.blocks.intervals import Interval
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.unet import nuisance
from fabloom.plugins.judge.unet.learning import monotone, size_of, spelled, worth
from fabloom.plugins.judge.unet.method import UNet
from fabloom.plugins.judge.unet.params import WorthParams
from fabloom.plugins.judge.unet.worth_report import CALLED
from fabloom.storage.backends.local import LocalStore

SIZES = (1, 4, 16)


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


def test_a_curve_is_read_in_the_logarithm_of_the_images() -> None:
    curve = np.array([0.2, 0.4, 0.8])
    assert [size_of(score, SIZES, curve) for score in (0.2, 0.4, 0.8)] == [1, 4, 16]
    assert size_of(0.3, SIZES, curve) == pytest.approx(2), "half-way between 1 and 4 by their logarithm"
    assert size_of(0.6, SIZES, curve) == pytest.approx(8)
    assert size_of(0.1, SIZES, curve) == -math.inf and size_of(0.9, SIZES, curve) == math.inf
    assert math.isnan(size_of(math.nan, SIZES, curve))


def test_where_a_curve_is_flat_the_fewest_images_count() -> None:
    assert size_of(0.5, SIZES, np.array([0.2, 0.5, 0.5])) == 4


def test_a_curve_that_falls_is_made_monotone_by_the_mean_of_what_contradicts() -> None:
    assert monotone(np.array([0.2, 0.6, 0.4])).tolist() == pytest.approx([0.2, 0.5, 0.5])


def worth_of(score: float, size: int = 1, scatter: float = 0.0) -> Any:
    draw = np.random.default_rng(0)
    curve = [0.2, 0.4, 0.8]
    samples = score + scatter * draw.normal(size=2000)
    return worth(score, samples, size, SIZES, curve, np.tile(curve, (2000, 1)), 0.95)


def test_worth_is_images_more_than_the_recipe_had_and_its_interval_that_of_its_score() -> None:
    sure, unsure = worth_of(0.6), worth_of(0.6, scatter=0.02)
    assert (sure.value, sure.low, sure.high) == pytest.approx((7, 7, 7))
    assert unsure.value == pytest.approx(7)
    # the score 0.6 -+ 1.96 * 0.02 lies at 4 * 4^((s - 0.4) / 0.4) images
    assert unsure.low == pytest.approx(4 ** (1 + (0.2 - 0.0392) / 0.4) - 1, rel=0.05)
    assert unsure.high == pytest.approx(4 ** (1 + (0.2 + 0.0392) / 0.4) - 1, rel=0.05)
    assert worth_of(0.6, size=16).value == pytest.approx(-8), "a recipe can be worth less than what it had"


def test_what_lies_outside_the_curve_is_said_and_never_a_number() -> None:
    assert spelled(worth_of(0.9), 1, SIZES) == "> 15 [> 15, > 15]"
    assert spelled(worth_of(0.1), 1, SIZES) == "none [none, none]"
    assert spelled(worth_of(0.1, size=4), 4, SIZES) == "< -3 [< -3, < -3]"
    assert spelled(worth_of(0.8, scatter=0.05), 1, SIZES).endswith("> 15]")
    assert spelled(worth_of(0.9, size=16), 16, SIZES) == "off the curve [off the curve, off the curve]", "not '> 0', which reads as a gain"
    flat = worth(0.5, np.full(9, 0.5), 1, SIZES, [0.5, 0.5, 0.5], np.full((9, 3), 0.5), 0.95)
    assert spelled(flat, 1, SIZES) == "undefined", "more images give nothing, so nothing is worth images"
    assert spelled(worth(None, np.zeros(3), 1, SIZES, [0.1, 0.2, 0.3], np.zeros((3, 3)), 0.95), 1, SIZES) == "undefined"


def surfaces() -> tuple[Any, Any, Defects]:
    """(maps, clean, defects): 2 images with a defect, one sure and one faint, and 10 clean ones of heights 0.0 to -4.5."""
    truth = np.zeros((12, 8, 8), np.uint8)
    truth[0, 1:4, 1:4] = truth[1, 1:4, 1:4] = 1
    maps = np.full(truth.shape, -9.0, np.float32)
    maps[0][truth[0] > 0], maps[1][truth[1] > 0] = 3.0, -1.2
    for number in range(10):
        maps[2 + number, 4:7, 4:7] = -0.5 * number  # 9 pixels
        maps[2 + number, 0, 0] = 8.0  # higher, and smaller than what counts
    return maps, truth.max((1, 2)) == 0, Defects.of(truth)


def test_thresholds_are_set_by_the_clean_images_to_the_last_alarm_that_is_allowed() -> None:
    maps, clean, defects = surfaces()
    assert nuisance.thresholds(maps, clean, (0.01, 0.1, 0.25, 0.3, 1.0), 4) == [0.0, -0.5, -1.0, -1.5, -np.inf]
    hits = nuisance.found(maps, clean, defects, (0.01, 0.2, 0.3), 4)
    assert hits.tolist() == [[1, 0], [1, 0], [1, 1]], "the faint one lies between the third and the fourth clean image"
    for rate in (0.01, 0.1, 0.25, 0.3):
        (level,) = nuisance.thresholds(maps, clean, (rate,), 4)
        alarms = [
            defects.met(maps > each, 4)[1][clean].astype(bool).mean() for each in (level, np.nextafter(np.float32(level), np.float32(-99)))
        ]
        assert alarms[0] <= rate < alarms[1], "one step lower is one alarm too many"


def test_no_alarm_at_all_is_allowed_where_few_clean_images_are_there() -> None:
    maps, clean, _ = surfaces()
    some = clean & (np.cumsum(clean) <= 3)
    assert nuisance.thresholds(maps, some, (0.01, 0.3), 4) == [0.0, 0.0]


def test_a_difference_turned_round_is_its_mirror() -> None:
    gap = Interval(0.1, -0.2, 0.5)
    assert gap.turned() == Interval(-0.1, -0.5, 0.2) and gap.turned().turned() == gap
    assert Interval(None, None, None).turned() == Interval(None, None, None)


@pytest.fixture
def test_set(run_task: Any) -> ImageSet:
    found: ImageSet = run_task(LinePair, "simulate", {"count": 24, "size": 32}, seed=1)
    return found


def networks(run_task: Any, sizes: tuple[int, ...] = (1, 3), draws: int = 2, **params: Any) -> list[Model]:
    pool = run_task(LinePair, "simulate", {"count": 20, "size": 32})
    made = []
    for size in sizes:
        for draw in range(draws):
            real = run_task(Images, "draw", {"defects": size, "clean": 4}, seed=draw, images=pool)
            made.append(run_task(UNet, "train", {"steps": 3, "batch": 4, **params}, seed=draw, images=real))
    return made


def cells(*recipes: str) -> list[dict[str, Any]]:
    return [{"recipe": recipe, "size": size, "draw": draw} for recipe in recipes for size in (1, 3) for draw in (0, 1)]


def compared(run_task: Any, images: ImageSet, models: list[Model], rows: list[dict[str, Any]], **params: Any) -> Report:
    found: Report = run_task(UNet, "worth", {"cells": rows, "resamples": 200, "rate": 0.1, **params}, images=images, models=models)
    return found


def test_a_recipe_that_is_the_baseline_again_is_worth_nothing_and_differs_by_nothing(run_task: Any, test_set: ImageSet) -> None:
    models = networks(run_task)
    report = compared(run_task, test_set, [*models, *models], cells("augmented", "copy-paste"))
    for size in ("1 real", "3 real"):
        ours, theirs = report.metrics[size]["copy-paste"], report.metrics[size]["augmented"]
        assert {k: v for k, v in ours.items() if not k.endswith("_ci")} == {k: v for k, v in theirs.items() if not k.endswith("_ci")}
    rows = report.tables["Minus augmented with the same real images (paired)"].rows
    assert [row[4] for row in rows] == ["0.000 [0.000, 0.000]"] * 2 and {row[-1] for row in rows} == {"not told apart"}
    assert (
        re.search(r"with 1 and 3 real images no recipe is shown to find more than augmented \(\d+% and \d+%\)\.", report.verdict)
        and "Beside the rivals" not in report.verdict
    ), "nobody trained anything"
    other = compared(run_task, test_set, [*models, *models, *models], cells("augmented", "copy-paste", "loom"))
    assert re.search(
        r"Beside the rivals that train nothing: with 1 real image, loom minus copy-paste 0\.000 \[.*not told apart", other.verdict
    )
    assert "Minus copy-paste with the same real images (paired)" in other.tables


def test_the_curves_stand_first_and_the_fewest_images_in_the_first_column(run_task: Any, test_set: ImageSet) -> None:
    rows = [{"recipe": recipe, "size": size} for recipe in ("augmented", "loom") for size in (3, 20)]
    report = compared(run_task, test_set, networks(run_task), rows)
    shown = list(report.exhibits())
    assert shown[0].chart is not None and next(one for one in shown if one.metrics).verdict == report.verdict
    assert comparisons(report.described)[0].columns == ("3 real", "20 real"), "not by their first letters"
    one = compared(run_task, test_set, networks(run_task)[:2], [{"recipe": recipe, "size": 3} for recipe in ("augmented", "loom")])
    assert {metric.label for metric in one.described["3 real"]["loom"].values()} == set(CALLED.values()), "a column says whose it is"


def test_draws_that_scatter_widen_the_interval(run_task: Any, test_set: ImageSet) -> None:
    models = networks(run_task, sizes=(1,), draws=2, steps=0)  # untrained: they mark much, each in its way
    rows = [{"recipe": "augmented", "size": 1, "draw": draw} for draw in (0, 1)]
    both = compared(run_task, test_set, models, rows).metrics["1 real"]["augmented"]
    alone = [compared(run_task, test_set, [m], rows[:1]).metrics["1 real"]["augmented"] for m in models]
    mean = np.mean([one["iou_defect"] for one in alone])
    assert both["iou_defect"] == pytest.approx(mean) and alone[0]["iou_defect"] != alone[1]["iou_defect"]
    width = [np.ptp(one["iou_defect_ci"]) for one in (both, *alone)]
    assert width[0] > min(width[1:])


def test_controls_are_called_so_and_give_no_advice(run_task: Any, test_set: ImageSet) -> None:
    report = compared(run_task, test_set, networks(run_task) * 2, cells("augmented", "untrained"), controls=["untrained"])
    assert {metric.role for metric in report.described["1 real"]["untrained"].values()} == {"control"}
    assert "Nothing stands beside augmented" in report.verdict


def test_the_first_picture_holds_what_the_answer_is_about_and_the_second_all(run_task: Any, test_set: ImageSet) -> None:
    recipes = ("augmented", "copy-paste", "noise-paste", "better", "loom")
    good, bad = networks(run_task, steps=30), networks(run_task, steps=0)
    told = {"rivals": ["copy-paste", "noise-paste", "absent"], "controls": ["absent"]}
    charts = compared(run_task, test_set, [*bad, *good, *bad, *good, *bad], cells(*recipes), **told).charts
    scores = ["Defects found where 10% of clean images may have an alarm", "IoU on images with a defect"]
    rates = [f"Defects found by the rate of nuisance alarms, {told}" for told in ("1 real image", "3 real images")]
    assert list(charts) == [*scores, *(f"{score}, every recipe" for score in scores), *rates]
    assert all(list(charts[score].series) == ["augmented", "better", "copy-paste"] for score in scores)
    assert all(tuple(charts[f"{score}, every recipe"].series) == recipes for score in scores)
    few = compared(run_task, test_set, bad * 2, cells("augmented", "loom")).charts
    assert list(few) == [*scores, *rates], "where these are all, one picture of them is enough"


def test_no_answer_is_given_where_none_can_be(run_task: Any, test_set: ImageSet) -> None:
    models = networks(run_task, steps=0) * 2
    few = compared(run_task, test_set, models, cells("augmented", "loom"), rate=0.01)
    assert re.match(r"No answer: \d+ clean test images cannot show an alarm on 1% of them.* Test on 100 clean images or more", few.verdict)
    blind = compared(run_task, test_set, models, cells("augmented", "loom"), min_area=32 * 32 + 1)
    assert blind.metrics["1 real"]["loom"]["defect_sensitivity"] == 0 and "no recipe finds more than 0% of the defects" in blind.verdict


def test_more_is_found_the_more_alarms_are_allowed_and_every_rate_stands_in_the_table(run_task: Any, test_set: ImageSet) -> None:
    report = compared(run_task, test_set, networks(run_task, steps=30) * 2, cells("augmented", "loom"))
    rows = report.tables["Defects found by the rate of nuisance alarms"].rows
    assert [row[:2] for row in rows] == [[1, "augmented"], [1, "loom"], [3, "augmented"], [3, "loom"]]
    for row in rows:
        shares = [float(cell.split()[0]) for cell in row[2:]]
        assert shares == sorted(shares) and len(shares) == len(nuisance.RATES)
    curve = report.charts["Defects found by the rate of nuisance alarms, 3 real images"].series["loom"]
    assert [point[0] for point in curve] == list(nuisance.RATES)


def test_what_cannot_be_compared_is_refused(run_task: Any, test_set: ImageSet) -> None:
    models = networks(run_task)
    with pytest.raises(DataError, match=r"4 models are given, and params\.cells names 8"):
        compared(run_task, test_set, models, cells("augmented", "other"))
    with pytest.raises(DataError, match="needs images with a defect and clean ones"):
        clean = run_task(LinePair, "simulate", {"count": 8, "size": 32, "defect_share": 0}, seed=2)
        compared(run_task, clean, models, cells("augmented"))
    for rows, words in ((cells("augmented") * 2, "two of the cells"), (cells("other"), "baseline 'augmented' is the recipe of no cell")):
        with pytest.raises(ValueError, match=words):
            WorthParams.model_validate({"cells": rows})


def test_a_test_image_that_was_trained_on_is_refused(run_task: Any) -> None:
    pool = run_task(LinePair, "simulate", {"count": 20, "size": 32})
    with pytest.raises(DataError, match="would be memory, not skill"):
        compared(run_task, pool, networks(run_task), cells("augmented"))
