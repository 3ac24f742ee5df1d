"""The gate on hand-made reports: what is promoted is better, whatever cannot be judged is not."""

from __future__ import annotations

from typing import Any

import pytest

from fabloom.flows.production.gate import FEWEST, headline_of, judge, judge_first
from fabloom.flows.production.spec import Condition
from fabloom.kinds import Metric

GAIN = Condition(metric="iou", better="up", by=0.01)
SAFE = Condition(metric="alarms", better="down", no_worse_than=0.02)


def report(
    low: float, high: float, *, name: str = "iou", value: Any = "middle", sources: Any = 12, better: str | None = None
) -> dict[str, Any]:
    """A report with one paired difference and the challenger's own score of that name."""
    middle = (low + high) / 2 if value == "middle" else value
    return {
        "sources": Metric(sources),
        "model": {name: Metric(0.5, better=better)},  # type: ignore[arg-type]
        "difference": {name: Metric(middle, (low, high)), "verdict": Metric("helped")},
    }


@pytest.mark.parametrize(
    ("asked", "low", "high", "passed"),
    [
        (GAIN, 0.02, 0.06, True),  # better
        (GAIN, -0.02, 0.02, False),  # the same
        (GAIN, -0.06, -0.02, False),  # worse
        (GAIN, 0.0, 0.08, False),  # better by the value, but it may be chance
        (GAIN, 0.01, 0.08, False),  # touches the margin
        (GAIN, 0.010001, 0.08, True),
        (Condition(metric="iou", better="up", by=0), 1e-9, 0.08, True),
        (Condition(metric="iou", better="up", by=0), 0.0, 0.08, False),
        (Condition(metric="iou", better="up", no_worse_than=0.02), -0.01, 0.03, True),
        (Condition(metric="iou", better="up", no_worse_than=0.02), -0.02, 0.03, False),
        (Condition(metric="iou", better="down", by=0.01), -0.06, -0.02, True),
        (Condition(metric="iou", better="down", by=0.01), -0.06, -0.01, False),
    ],
)  # fmt: skip
def test_the_whole_interval_must_lie_beyond_the_margin(asked: Condition, low: float, high: float, passed: bool) -> None:
    verdict = judge([asked], report(low, high))[0]
    assert verdict.passed is passed and verdict.interval == (low, high) and ("does not lie" in verdict.why) is not passed


@pytest.mark.parametrize(("high", "passed"), [(0.019, True), (0.02, False), (0.3, False)])
def test_a_loss_that_must_be_ruled_out(high: float, passed: bool) -> None:
    assert judge([SAFE], report(-0.01, high, name="alarms"))[0].passed is passed


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (report(0.1, 0.2, name="iuo"), "no iou. Did you mean 'iuo'?"),
        ({"sources": Metric(12), "model": {}}, "no iou"),
        (report(0.1, 0.2, value=None), "undefined"),
        (report(0.1, 0.2, value=float("nan")), "undefined"),
        (report(0.1, 0.2, value="0.15"), "undefined"),
        ({"sources": Metric(12), "difference": {"iou": Metric(0.15)}}, "no interval"),
        (report(0.1, 0.2, sources=FEWEST - 1), "fewer than 6"),
        (report(0.1, 0.2, sources=1), "1 source,"),
        ({**report(0.1, 0.2, sources=40), "defect_sources": Metric(FEWEST - 1)}, "fewer than 6"),
        (report(0.1, 0.2, sources=None), "independent sources"),
        (report(0.1, 0.2, sources=True), "independent sources"),
        (report(0.1, 0.2, better="down"), "for better up, the report for better down"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_not_promoted(given: dict[str, Any], why: str) -> None:
    verdict = judge([GAIN], given)[0]
    assert not verdict.passed and why in verdict.why
    assert judge([GAIN], report(0.1, 0.2, sources=FEWEST))[0].passed, "the control"


def test_the_direction_may_be_left_to_the_report() -> None:
    asked = Condition(metric="iou", by=0.01)
    assert judge([asked], report(-0.2, -0.1, better="down"))[0].passed
    assert not judge([asked], report(0.1, 0.2, better="down"))[0].passed
    assert "neither the gate nor the report" in judge([asked], report(0.1, 0.2))[0].why


PIXELS = Condition(metric="alarm_pixels", better="down", no_worse_than=0.001)
BY_EVENTS = PIXELS.model_copy(update={"events": "alarms"})


@pytest.mark.parametrize(
    ("asked", "events", "passed", "words"),
    [
        (PIXELS, (-0.01, 0.01), False, "has no width: every source gave the same"),
        (BY_EVENTS, (-0.01, 0.01), True, "so alarms decides: alarms 0 [-0.01, 0.01] lies below 0.02"),
        (BY_EVENTS, (-0.31, 0.31), False, "so alarms decides: alarms 0 [-0.31, 0.31] does not lie below 0.02"),
        (BY_EVENTS, (0.0, 0.0), False, "so alarms decides: alarms 0 [0, 0] has no width"),
    ],
)
def test_a_difference_that_is_the_same_in_every_source_was_not_measured(
    asked: Condition, events: tuple[float, float], passed: bool, words: str
) -> None:
    """Of 8 clean files without a marked pixel the interval is [0, 0], and of 8,000: it holds any margin. That of events does not."""
    given = report(0.0, 0.0, name="alarm_pixels")
    given["difference"]["alarms"] = Metric(0.0, events)
    verdict = judge([asked, SAFE], given)[0]
    assert verdict.passed is passed and words in verdict.why and verdict.interval == (0.0, 0.0)
    given["difference"]["alarm_pixels"] = Metric(1e-5, (0.0, 2e-5))
    assert judge([asked, SAFE], given)[0].passed, "with a width it decides by itself"


def test_rounding_is_no_width_and_a_first_bound_needs_one_too() -> None:
    given = {"sources": Metric(9), "model": {"alarm_pixels": Metric(1e-17, (0.0, 2e-17), better="down")}}
    assert "has no width" in judge_first({"alarm_pixels": 0.1}, given)[0].why


def test_the_evaluation_of_segmenters_has_rates_of_events_that_can_decide_where_no_pixel_is_marked() -> None:
    """On its own numbers: two networks, 40 clean sources, not one false alarm."""
    import numpy as np

    from fabloom.plugins.blocks.intervals import difference
    from fabloom.plugins.blocks.metrics import Ratio

    nothing = {name: Ratio(np.zeros(40), np.ones(40)) for name in ("false_alarm_pixels", "false_alarm_rate")}
    samples = {name: np.zeros(200) for name in nothing}
    gaps = difference(nothing, nothing, (samples, samples), 0.95, np.arange(40))
    given = {"sources": 40, "difference": {name: Metric(gap.value, gap.bounds) for name, gap in gaps.items()}, "model": {}}
    rate = Condition(metric="false_alarm_rate", better="down", no_worse_than=0.1)
    pixels = Condition(metric="false_alarm_pixels", better="down", no_worse_than=0.001)
    assert [one.passed for one in judge([rate, pixels], given)] == [True, False]
    decided = pixels.model_copy(update={"events": "false_alarm_rate"})
    assert [one.passed for one in judge([rate, decided], given)] == [True, True]
    strict = rate.model_copy(update={"no_worse_than": 0.05})
    assert [one.passed for one in judge([strict, decided], given)] == [False, False], "40 files do not rule 5 % out"


def test_every_condition_has_a_verdict_of_its_own() -> None:
    given = report(0.02, 0.06)
    given["difference"]["alarms"] = Metric(0.1, (0.05, 0.15))
    assert [(one.metric, one.passed) for one in judge([GAIN, SAFE], given)] == [("iou", True), ("alarms", False)]


@pytest.mark.parametrize(
    ("better", "interval", "bound", "passed"),
    [("up", (0.3, 0.5), 0.25, True), ("up", (0.2, 0.5), 0.25, False), ("down", (0.0, 0.1), 0.2, True), ("down", (0.0, 0.2), 0.2, False)],
)
def test_bounds_of_the_first_challenger_are_on_its_own_score(
    better: Any, interval: tuple[float, float], bound: float, passed: bool
) -> None:
    given = {"sources": Metric(9), "model": {"iou": Metric(sum(interval) / 2, interval, better=better)}}
    assert judge_first({"iou": bound}, given)[0].passed is passed
    assert not judge_first({"iou": bound}, {**given, "sources": Metric(3)})[0].passed
    assert "no dice" in judge_first({"dice": bound}, given)[0].why


def test_the_headline_is_the_reports_else_the_first_of_the_gate() -> None:
    ours = {"a": Metric(0.1), "b": Metric(0.2, (0.1, 0.3), better="up", role="headline")}
    given = {"model": ours, "baseline": {"b": Metric(0.15)}}
    found = headline_of(given, "model", "baseline", "a")
    assert found["metric"] == "b" and found["challenger"] == {"value": 0.2, "interval": [0.1, 0.3]} and found["champion"]["value"] == 0.15
    assert headline_of({"model": {"a": Metric(float("nan"))}}, "model", "baseline", "a")["challenger"]["value"] is None
    assert headline_of({}, "model", "baseline", "a") == {}
