"""Which images to train on: each reason against a closed form, the choice on losses that are given, and the tasks on a small segmenter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model, Report, Table
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.copies import least_differences
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.judge.curate import diversity, ranges
from fabloom.plugins.judge.curate.comparing import Scale, Tried
from fabloom.plugins.judge.curate.hardness import COLUMNS, TABLE, Misses, losses, ranks
from fabloom.plugins.judge.curate.method import Curate
from fabloom.plugins.judge.curate.missing import Seen
from fabloom.plugins.judge.curate.params import CompareParams, MissesParams, SelectParams
from fabloom.plugins.judge.curate.portraits import Portraits
from fabloom.plugins.judge.curate.segmenter import Segmenter
from fabloom.plugins.judge.curate.selecting import COPY, RANGE, REPEAT, REST, UNLABELLED, Judged, Reasons, choose
from fabloom.plugins.judge.unet.method import UNet
from fabloom.storage.backends.local import LocalStore
from fabloom.testing.running import run_task as run

SIZE = 32


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


def scene(count: int, seed: int, noise: float = 3.0) -> Any:
    """Vertical lines with noise, float [N,H,W]."""
    lines = np.where(np.arange(SIZE) % 8 < 4, 160.0, 90.0)
    return lines + np.random.default_rng(seed).normal(0, noise, (count, SIZE, SIZE))


def pixels(images: Any) -> Any:
    return images.round().clip(0, 255).astype(np.uint8)[:, None]


def test_the_least_difference_is_found_at_the_shift_and_is_that_of_the_overlap() -> None:
    draw = np.random.default_rng(0)
    real = draw.normal(100, 20, (3, 24, 20))
    moved = np.roll(real[1], (2, -3), (0, 1))
    found = least_differences(np.stack([moved, real[0] + 5]), real, 3)
    assert found.shape == (2, 3) and found[0, 1] == pytest.approx(0, abs=1e-5) and found[1, 0] == pytest.approx(5)
    assert found[0, 0] > 20 and least_differences(moved[None], real, 2)[0, 1] > 20, "beyond its reach nothing is found"
    wanted = min(
        np.sqrt(np.square(moved[max(dy, 0) : 24 + min(dy, 0)] - real[2][max(-dy, 0) : 24 + min(-dy, 0)]).mean()) for dy in (-1, 0, 1)
    )
    assert least_differences(moved[None], real[2:], 1)[0, 0] <= wanted + 1e-9


def reasons(images: Any, real: Any, masks: Any = None, **params: Any) -> Reasons:
    masks = np.zeros((len(images), SIZE, SIZE), np.uint8) if masks is None else masks
    return Reasons.of(SelectParams(**params), pixels(images), masks, pixels(real))


def test_copies_are_left_out_and_second_acquisitions_kept() -> None:
    real, fresh = scene(4, 0), scene(3, 1)
    shifted = np.roll(real[2], 2, 0)
    dithered = real[1] + np.random.default_rng(5).normal(0, 1, real[1].shape)
    pool = np.stack([*fresh, real[0], shifted, dithered])
    assert reasons(pool, real).rows[COPY].tolist() == [False, False, False, True, True, True]
    assert reasons(pool, real, reach=0).rows[COPY].tolist() == [False, False, False, True, False, True]
    assert not reasons(pool, real, copy_below=None).rows[COPY].any()
    with pytest.raises(DataError, match="copies are looked for among images of one size"):
        reasons(pool, real[:, :16])
    with pytest.raises(DataError, match="reach=32 must stay below"):
        reasons(pool, real, reach=32)


def test_what_is_out_of_range_is_left_out_and_says_by_what() -> None:
    real = scene(3, 0)
    strange = {
        "brightness": scene(1, 2)[0] + 25,
        "contrast": (scene(1, 3)[0] - 125) * 1.8 + 125,
        "gradient": ndimage.gaussian_filter(scene(1, 4)[0], 1.2),
        "correlation": scene(1, 5, noise=14)[0],
        "structure": scene(1, 6)[0].T,
    }
    pool = np.stack([*scene(40, 7), *strange.values()])
    found = reasons(pool, real)
    assert found.rows[RANGE][40:].tolist() == [True] * 5
    by = dict(zip(ranges.NAMES, found.outside.T, strict=True))
    assert (
        by["brightness"][40] and not by["gradient right"][40] and by["contrast"][41] and by["gradient right"][42] and by["correlation"][43]
    )
    assert found.rows[RANGE][:40].mean() <= 0.05, "other images of the same scene are within"
    assert reasons(pool, real[:1]).rows[RANGE][:40].mean() <= 0.1, "and of one real image alone"
    assert not reasons(pool, real, tolerance=None).rows[RANGE].any()
    defect = scene(1, 8)
    defect[0, 8:12, 4:8] = 160
    assert not reasons(defect, real).rows[RANGE].any(), "a defect puts no image out of range"


def test_an_image_has_one_reason_and_repeats_count_once() -> None:
    real, fresh = scene(3, 0), scene(2, 1)
    masks = np.zeros((5, SIZE, SIZE), np.uint8)
    masks[4] = 255
    found = reasons(np.stack([fresh[0], fresh[1], fresh[0], real[0], real[0]]), real, masks)
    assert {reason: np.flatnonzero(rows).tolist() for reason, rows in found.rows.items()} == {
        UNLABELLED: [4],
        REPEAT: [2],
        COPY: [3],
        RANGE: [],
    }
    assert np.flatnonzero(found.fit).tolist() == [0, 1]


def test_a_loss_is_half_dice_and_half_entropy_of_what_is_known() -> None:
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[0, 0] = 1
    masks[2] = 255
    probability = np.full((3, 2, 2), 0.5, np.float32)
    wanted = [(np.log(2) + 1 - 2 * 1 / (2 + 2)) / 2, np.log(2) / 2, 0]
    assert losses(probability, masks).tolist() == pytest.approx(wanted)
    masks[0, 1] = 255
    assert losses(probability, masks)[0] == pytest.approx((np.log(2) + 1 - 2 * 1 / (1 + 2)) / 2), "255 is left out"
    assert ranks(np.array([3.0, 1.0, 3.0])).tolist() == [0.75, 0.0, 0.75] and ranks(np.array([7.0])).tolist() == [1.0]


def judged(hard: Any, at: Any = None, defect: Any = None) -> Judged:
    hard = np.asarray(hard, float)
    at = np.zeros((len(hard), 3)) if at is None else np.asarray(at, float)
    return Judged(hard, hard, at, np.ones(len(hard), bool) if defect is None else np.asarray(defect, bool))


def test_hardness_one_takes_the_hardest_and_zero_follows_the_seed_alone() -> None:
    hard = np.random.default_rng(0).permutation(40)
    hardest = choose(0, SelectParams(count=10, hardness=1, diversity=0), judged(hard))
    assert sorted(hard[hardest].tolist()) == list(range(30, 40))
    random = SelectParams(count=10, hardness=0, diversity=0)
    first = choose(0, random, judged(hard)).tolist()
    assert (
        first
        == choose(0, random, judged(hard[::-1])).tolist()
        == choose(0, random, judged(hard)).tolist()
        != choose(1, random, judged(hard)).tolist()
    )
    means = [
        np.mean([hard[choose(seed, SelectParams(count=10, hardness=h, diversity=0), judged(hard))].mean() for seed in range(20)])
        for h in (0, 0.5, 1)
    ]
    assert means[0] == pytest.approx(19.5, abs=1.5) and means[0] + 4 < means[1] < means[2] - 2


def test_clean_and_defect_images_keep_their_proportion() -> None:
    defect = np.arange(40) < 10
    for hardness in (0, 1):
        found = choose(3, SelectParams(count=20, hardness=hardness), judged(np.arange(40)[::-1], defect=defect))
        assert (len(found), int(defect[found].sum())) == (20, 5)
    assert len(choose(0, SelectParams(count=100), judged(np.arange(40), defect=defect))) == 40
    one = choose(0, SelectParams(count=2), judged(np.arange(40), defect=np.arange(40) < 1))
    assert defect[one].sum() == 1, "a rare sort is not lost"


def test_diversity_spreads_over_places_and_sizes() -> None:
    draw = np.random.default_rng(0)
    crowd = np.c_[draw.uniform(1.9, 2.1, 60), draw.uniform(1.9, 2.1, 60), draw.uniform(4.9, 5.1, 60)]
    others = np.array([[0.2, 0.2, 5], [3.8, 0.2, 5], [0.2, 3.8, 5], [3.8, 3.8, 5], [2, 2, 2], [2, 2, 8]])
    at, quality = np.r_[crowd, others], np.r_[np.linspace(0.5, 1, 60), np.full(6, 0.4)]
    assert {*diversity.chosen(quality, at, 7, 1.0).tolist()} >= {*range(60, 66)}
    assert {*diversity.chosen(quality, at, 7, 0.5).tolist()} >= {*range(60, 66)}
    assert {*diversity.chosen(quality, at, 7, 0.0).tolist()} == {*range(53, 60)}
    twins = diversity.chosen(np.array([1.0, 1.0, 0.2]), np.array([[0.0, 0, 0], [0, 0, 0], [4, 4, 4]]), 3, 0.5)
    assert twins.tolist() == [0, 2, 1], "a twin comes last, and comes"


def test_what_is_new_is_the_ratio_of_determinants() -> None:
    at = np.random.default_rng(1).uniform(0, 3, (6, 3))
    kernel = np.exp(-np.linalg.norm(at[:, None] - at[None], axis=2))
    rows = diversity.chosen(np.zeros(6), at, 6, 1.0)
    for step in range(2, 6):
        ratio = {row: np.linalg.det(kernel[np.ix_([*rows[:step], row], [*rows[:step], row])]) for row in rows[step:]}
        assert rows[step] == max(ratio, key=ratio.__getitem__)


class Missed(Params):
    """How many of 60 defects are missed, of each image of two the first so many; or in another test set."""

    share: float = 0.5
    images: int = 30
    luck: int = 0


class Reports(Method):
    """Reports of defects that were or were not found."""

    name = "reports"

    @task(version=1)
    def missed(self, ctx: Context, params: Missed) -> Report:
        """Two defects an image, missed with that chance."""
        draw = np.random.default_rng(params.luck)
        rows = [[i // 2, f"row {i // 2}", 0.5, 0.5, 9, 30.0, 0.5, int(draw.uniform() > params.share)] for i in range(2 * params.images)]
        return Report.write(ctx, {"false_alarm_rate": 0.01}, tables={TABLE: Table(COLUMNS, rows)})

    @task(version=1)
    def small_missed(self, ctx: Context, params: Params) -> Report:
        """Defects of 4 pixels missed, of 64 found, wherever they are."""
        draw = np.random.default_rng(0)
        rows = [[i, f"row {i}", *draw.uniform(0, 1, 2).tolist(), 4 if i % 2 else 64, 10.0 + i, 0.5, 1 - i % 2] for i in range(40)]
        return Report.write(ctx, {}, tables={TABLE: Table(COLUMNS, rows)})


def test_what_is_like_the_misses_is_hard_whatever_its_own_loss(store: LocalStore) -> None:
    misses = Misses.read(run(store, Reports, "small_missed"))  # type: ignore[arg-type]
    like = misses.like(np.array([[0.5, 0.5, 2, 30.0], [0.5, 0.5, 6, 30.0], [0.5, 0.5, 60, 900.0]]))
    assert like[0] > 0.8 > 0.2 > like[1] and like[2] == pytest.approx(0.5), "where nothing is alike the overall share stands"
    images, masks = scene(4, 0), np.zeros((4, SIZE, SIZE), np.uint8)
    masks[0, 4:6, 4:6] = masks[1, 4:12, 4:12] = masks[2, 20:22, 4:6] = masks[2, 4:12, 20:28] = 1
    sure = np.where(masks > 0, 0.5, 0.01).astype(np.float32)
    sure[1][masks[1] > 0] = 0.1
    plain, led = (Judged.of(images, masks, sure, given) for given in (None, misses))
    assert plain.loss.tolist() == led.loss.tolist() and plain.defect.tolist() == [True, True, True, False]
    assert plain.hard[1] > plain.hard[0] > plain.hard[2], "by loss alone"
    assert led.hard[1] < plain.hard[1] and led.hard[2] > plain.hard[2], "a large one is never missed, a small one always"
    assert led.at[2, 2] == 2, "of several defects the one that is missed most stands for the image"
    with pytest.raises(DataError, match=r"give `misses` a report of curate\.misses"):
        Misses.read(run(store, Empty, "report"))  # type: ignore[arg-type]


def test_an_interval_holds_the_choice_of_images_and_of_draws() -> None:
    draw, groups = np.random.default_rng(0), np.arange(400)
    each = draw.binomial(2, 0.3, (3, 400)).astype(float)
    cells = ({"arm": "closed loop", "round": 1}, {"arm": "control", "round": 1})
    params = CompareParams.model_validate({"cells": cells, "resamples": 4000})
    streams = {"bootstrap": torch.Generator().manual_seed(0)}
    ctx: Any = SimpleNamespace(generator=lambda name: streams.setdefault(name, torch.Generator().manual_seed(1)))
    scale = Scale(ctx, params, streams["bootstrap"].get_state())

    def mean(*missed: Any) -> tuple[float, float]:
        found = scale.mean([Tried(one, np.full(400, 2.0), groups, None) for one in missed], "mean")
        assert (
            found.low is not None and found.high is not None and found.value == pytest.approx(np.mean([one.sum() / 800 for one in missed]))
        )
        return found.low, found.high

    low, high = mean(each[0])
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 800), rel=0.1), "of one draw that of the images"
    apart = mean(each[0], each[0] * 0, np.minimum(each[0] * 3, 2))
    assert apart[0] == 0 and apart[1] > 0.9, "draws that differ by as much tell nothing"
    assert mean(each[0] * 0)[1] == pytest.approx(3.7 / 400, rel=0.02), "none of 400 is no certainty"
    mine, theirs = ({0: Tried(one, np.full(400, 2.0), groups, None)} for one in (np.maximum(each[0] - 1, 0), each[0]))
    gap = scale.gap(mine, theirs, "apart")
    assert gap is not None and gap.high is not None and gap.high < 0 and scale.gap(mine, {1: theirs[0]}, "none in common") is None


def compared(store: LocalStore, cells: dict[tuple[str, int, int], dict[str, Any]]) -> Report:
    reports = [run(store, Reports, "missed", params) for params in cells.values()]
    told = [{"arm": arm, "round": after, "draw": draw} for arm, after, draw in cells]
    found = run(store, Curate, "compare", {"cells": told}, inputs={"misses": reports})
    assert isinstance(found, Report)
    return found


def test_arms_are_held_against_each_other_by_draw_and_round(store: LocalStore) -> None:
    shares = {("closed loop", 0): 0.6, ("control", 0): 0.6, ("closed loop", 2): 0.2, ("control", 2): 0.55}
    cells = {(a, r, d): {"share": s, "images": 300, "luck": d} for (a, r), s in shares.items() for d in range(3)}
    report = compared(store, cells)
    assert report.verdict.startswith("After 2 rounds ") and report.verdict.endswith("the loop helps.")
    low, high = report.metrics["difference"]["missed_share_ci"]
    assert low < report.metrics["closed loop"]["missed_share"] - report.metrics["control"]["missed_share"] < high < 0
    assert [row[:3] for row in report.tables["By round"].rows] == [
        [0, "closed loop", 3],
        [0, "control", 3],
        [2, "closed loop", 3],
        [2, "control", 3],
    ]
    alike = compared(store, {key: {**value, "share": 0.5, "luck": 7 * value["luck"] + len(key[0])} for key, value in cells.items()})
    assert alike.verdict.endswith("not told apart.")
    worse = compared(store, {key: {**value, "share": 0.9 if key[:2] == ("closed loop", 2) else 0.5} for key, value in cells.items()})
    assert worse.verdict.endswith("the loop hurts.")
    with pytest.raises(DataError, match="are not of one test set"):
        compared(store, {key: {**value, "images": 30 + key[2]} for key, value in cells.items()})
    with pytest.raises(DataError, match=r"compare reports of curate\.misses"):
        run(
            store,
            Curate,
            "compare",
            {"cells": [{"arm": a, "round": 1} for a in ("closed loop", "control")]},
            inputs={"misses": [run(store, Empty, "report")] * 2},
        )


@pytest.mark.parametrize(
    ("given", "told"),
    [({"arm": "lop"}, "arm 'lop' is that of no cell"), ({"cells": [{"arm": "control", "round": 1}] * 2}, "two of the cells")],
)
def test_what_is_compared_must_be_there_once(given: dict[str, Any], told: str) -> None:
    cells = [{"arm": "closed loop", "round": 1}, {"arm": "control", "round": 1}]
    with pytest.raises(ValueError, match=told):
        CompareParams.model_validate({"cells": cells, **given})


class Empty(Method):
    """A report of something else."""

    name = "empty"

    @task(version=1)
    def report(self, ctx: Context, params: Params) -> Report:
        """Nothing."""
        return Report.write(ctx, {"score": 1.0})


def test_a_defect_is_described_by_place_size_and_contrast() -> None:
    images = np.full((2, SIZE, SIZE), 100.0)
    masks = np.zeros((2, SIZE, SIZE), np.uint8)
    masks[1, 8:12, 16:24], images[1, 8:12, 16:24] = 1, 130
    masks[1, 20:, 20:] = 255
    sure = np.zeros(images.shape, np.float32)
    sure[1, 9, 17] = 0.75
    one = Portraits.of(images, masks, sure)
    assert (one.image.tolist(), one.area.tolist(), one.contrast.tolist(), one.sure.tolist()) == ([1], [32], [30], [0.75])
    assert (one.y[0], one.x[0]) == (10 / 32, 20 / 32) and one.numbers[0, 2] == 5
    assert len(Portraits.of(images[:1], masks[:1], sure[:1])) == 0


def test_a_threshold_for_a_rate_is_the_one_that_finds_most() -> None:
    masks = np.zeros((12, SIZE, SIZE), np.uint8)
    masks[0, 4:8, 4:8] = masks[1, 4:8, 4:8] = 1
    sure = np.full(masks.shape, 1e-4, np.float32)
    sure[0][masks[0] > 0], sure[1][masks[1] > 0], sure[5, 20:24, 20:24] = 0.95, 0.25, 0.45
    seen, clean = Portraits.of(scene(12, 0), masks, sure), masks.max((1, 2)) == 0
    own = Seen.chosen(MissesParams(), 0.5, sure, seen, clean)
    none, some = (Seen.chosen(MissesParams(rate=rate), 0.5, sure, seen, clean) for rate in (0.01, 0.1))
    assert (own.threshold, own.found.tolist(), int(own.alarms.sum())) == (0.5, [True, False], 1)
    assert (none.threshold, none.found.tolist(), none.alarms[clean].sum()) == (0.9, [True, False], 0)
    assert (some.threshold, some.found.tolist(), some.alarms[clean].sum()) == (0.2, [True, True], 1)


@pytest.fixture(scope="module")
def world(store: LocalStore) -> dict[str, Any]:
    """Real images, a pool, a validation set, and a segmenter of few steps."""
    made: dict[str, Any] = {
        name: run(store, LinePair, "simulate", {"count": count, "size": SIZE, "defect_low": 0.5, "defect_high": 1.0}, seed=seed)
        for name, count, seed in (("real", 24, 0), ("pool", 60, 1), ("validation", 40, 2))
    }
    train = {"decoder_channels": (16, 8, 8), "steps": 40, "batch": 16}
    return made | {"model": run(store, UNet, "train", train, inputs={"images": made["real"]})}


def selected(store: LocalStore, world: dict[str, Any], params: dict[str, Any] | None = None, seed: int = 0, **more: Any) -> ImageSet:
    inputs = {"images": world["pool"], "model": world["model"], "reference": world["real"], **more}
    found = run(store, Curate, "select", params or {}, seed=seed, inputs=inputs)
    assert isinstance(found, ImageSet)
    return found


def test_a_complete_segmenter_gives_what_segment_gives(store: LocalStore, world: dict[str, Any], run_task: Any) -> None:
    found = run(store, UNet, "segment", {"precision": "fp32"}, inputs={"images": world["pool"], "model": world["model"]})
    ctx: Any = SimpleNamespace(device=torch.device("cpu"), progress=Quiet, stop_requested=lambda: False)
    sure = Segmenter.of(world["model"]).probabilities(ctx, world["pool"].images)
    np.testing.assert_allclose(sure, np.asarray(found.scores[...], np.float32), atol=2e-3)  # type: ignore[attr-defined]


class Quiet:
    """Progress that nobody looks at."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: object) -> None: ...
    def advance(self, count: int) -> None: ...


def test_select_keeps_what_the_segmenter_gets_wrong_and_accounts_for_the_rest(store: LocalStore, world: dict[str, Any]) -> None:
    hard = selected(store, world, {"count": 20, "hardness": 1.0, "diversity": 0.0})
    assert len(hard) == 20 and hard.masks is not None and hard.class_names == world["pool"].class_names
    told = hard.attrs["loss of the segmenter"]
    assert told["defect images, kept"] > told["defect images, of all that are fit"]
    left = hard.attrs["left out"]
    assert left[REST] + left[RANGE] + left[COPY] + left[REPEAT] == 40 and left[COPY] == left[REPEAT] == 0 and left[RANGE] <= 4
    by_chance = selected(store, world, {"count": 20, "hardness": 0.0, "diversity": 0.0})
    assert abs(int(np.sum(hard.domain)) - int(np.sum(by_chance.domain))) <= 1, "in the same proportion"
    assert by_chance.attrs["loss of the segmenter"]["defect images, kept"] < told["defect images, kept"]
    assert selected(store, world, {"count": 20}).digest == selected(store, world, {"count": 20}).digest
    assert selected(store, world, {"count": 20}).digest != selected(store, world, {"count": 20}, seed=1).digest


def test_misses_are_a_table_that_select_reads(store: LocalStore, world: dict[str, Any]) -> None:
    report = run(store, Curate, "misses", {}, inputs={"images": world["validation"], "model": world["model"]})
    assert isinstance(report, Report)
    rows, metrics = report.tables[TABLE].rows, report.metrics
    found = [row[COLUMNS.index("found")] for row in rows]
    assert len(rows) == metrics["defects"] and found.count(0) == metrics["missed"] and found == sorted(found)
    assert metrics["missed_share"] == pytest.approx(metrics["missed"] / metrics["defects"]) and metrics["clean_images"] == 20
    assert f"{metrics['missed']} of {metrics['defects']} defects are missed" in report.verdict
    kept = selected(store, world, {"count": 20, "hardness": 1.0}, misses=report)
    assert len(kept) == 20
    assert {*np.asarray(kept.images[...]).tobytes()} and kept.digest != selected(store, world, {"count": 20, "hardness": 1.0}).digest


def test_fewer_are_kept_where_fewer_are_fit_and_none_is_an_error(store: LocalStore, world: dict[str, Any]) -> None:
    few = selected(store, world, {"count": 500})
    assert len(few) == 60 - few.attrs["left out"][RANGE] and few.attrs["left out"][REST] == 0 and few.attrs["count"] == 500
    with pytest.raises(DataError, match=r"none of the 24 images of pool .* can be kept: 24 copy of a real image\. Train the generator"):
        selected(store, world, images=world["real"])
    with pytest.raises(DataError, match="is no segmenter"):
        selected(store, world, model=run(store, Other, "model"))
    with pytest.raises(DataError, match="has no masks"):
        selected(store, world, images=run(store, Other, "bare"))


class Other(Method):
    """What does not fit."""

    name = "other"

    @task(version=1)
    def model(self, ctx: Context, params: Params) -> Model:
        """No segmenter."""
        return Model.write(ctx, {"weight": torch.zeros(1)}, {"role": "nothing"})

    @task(version=1)
    def bare(self, ctx: Context, params: Params) -> ImageSet:
        """Images without masks."""
        return ImageSet.write(ctx, np.zeros((4, 1, SIZE, SIZE), np.uint8))
