"""score-maps: areas that are known by hand, chance, rates, intervals, and who is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.judge.score_maps.curves import Counts, area
from fabloom.plugins.judge.score_maps.events import Events
from fabloom.plugins.judge.score_maps.method import ScoreMaps
from fabloom.plugins.judge.score_maps.params import EvaluateParams
from fabloom.plugins.judge.score_maps.ranking import auroc, image_scores
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

ONE = np.ones((1, 1))


def counted(scores: Any, truth: Any, groups: Any = None) -> Counts:
    scores, truth = np.asarray(scores, np.float32), np.asarray(truth, np.uint8)
    return Counts.of(scores, Defects.of(truth), np.zeros(len(scores), np.int64) if groups is None else np.asarray(groups))


def areas(scores: Any, truth: Any, limit: float = 0.3) -> dict[str, float]:
    return {name: float(values[0]) for name, values in counted(scores, truth).areas(ONE, limit).items()}


def test_areas_are_those_by_hand() -> None:
    # falling scores: true, false, true, false, false -> AP (1/1 + 2/3) / 2; of 6 pairs true over false 5
    row, truth = [[[0.9, 0.8, 0.7, 0.2, 0.1]]], [[[1, 0, 1, 0, 0]]]
    found = areas(row, truth)
    assert found["ap"] == pytest.approx((1 + 2 / 3) / 2) and found["auroc"] == pytest.approx(5 / 6)
    # half of the two defects is covered at no false pixel, all at 1 / 3: the curve to 0.3 rises nowhere before the second level
    assert found["aupro"] == pytest.approx(0.5)
    assert areas(row, truth, limit=1.0)["aupro"] == pytest.approx((1 / 3 * 0.5) + 2 / 3)


def test_aupro_weighs_defects_alike_where_pixels_do_not() -> None:
    """One large defect, found; one of a pixel, missed: pixels say 0.9, AUPRO a half and the way to the rest."""
    truth, scores = np.zeros((1, 10, 20), np.uint8), np.zeros((1, 10, 20))
    truth[0, :3, :3], truth[0, 8, 18] = 1, 1
    scores[0, :3, :3] = 1
    found = areas(scores, truth)
    assert found["ap"] == pytest.approx(0.9 + 0.1 * 10 / 200) and found["aupro"] == pytest.approx((0.5 + 0.65) / 2)
    both = np.zeros((1, 10, 20), np.uint8)
    both[0, :3, :3] = both[0, :3, 2:4] = 1
    assert areas(scores, both)["aupro"] > 0.75, "pixels that touch are one defect"


def test_perfect_inverted_and_constant_maps() -> None:
    truth = np.zeros((4, 16, 16), np.uint8)
    truth[0, 3:6, 3:6], truth[1, 8:12, 8:10], truth[3, 0] = 1, 2, 255
    drawn = (truth > 0) & (truth < 255)
    share = drawn.sum() / (truth != 255).sum()
    assert areas(drawn, truth) == pytest.approx({"ap": 1, "auroc": 1, "aupro": 1})
    assert areas(np.full(truth.shape, 0.4), truth) == pytest.approx({"ap": share, "auroc": 0.5, "aupro": 0.15})
    worst = areas(~drawn, truth)
    assert worst["auroc"] == 0 and worst["aupro"] == 0 and worst["ap"] == pytest.approx(share)
    noise = np.random.default_rng(0).random((40, 64, 64))
    many = np.zeros((40, 64, 64), np.uint8)
    many[:20, 10:20, 10:20] = 1
    chance = areas(noise, many)
    assert chance["ap"] == pytest.approx(0.0122, abs=0.002) and chance["aupro"] == pytest.approx(0.15, abs=0.01)


def test_fewer_levels_and_weights_change_little_and_as_they_must() -> None:
    draw = np.random.default_rng(0)
    truth = (draw.random((6, 24, 24)) < 0.05).astype(np.uint8)
    scores = draw.normal(0, 1, truth.shape) + 1.5 * truth
    counts = counted(scores, truth, np.arange(6))
    whole, few = (one.areas(np.ones((1, 6)), 0.3) for one in (counts, counts.thinned(300)))
    assert len(counts.levels) > 3000 and len(counts.thinned(300).levels) <= 300
    for name in whole:
        assert few[name] == pytest.approx(whole[name], abs=0.01)
    twice = counts.areas(np.array([[2.0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]), 0.3)
    chosen = [0, 0, 2, 3, 4, 5]
    by_hand = counted(scores[chosen], truth[chosen]).areas(ONE, 0.3)
    for name in whole:
        assert twice[name][0] == pytest.approx(by_hand[name][0]) and twice[name][1] == pytest.approx(whole[name][0])


def test_the_area_under_lines_is_cut_at_the_limit() -> None:
    x, y = np.array([[0.2, 0.4, 1.0]]), np.array([[0.6, 0.8, 1.0]])
    assert area(x, y, 1.0)[0] == pytest.approx(0.06 + 0.14 + 0.54)
    assert area(x, y, 0.3)[0] == pytest.approx((0.06 + 0.065) / 0.3)
    assert area(np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), 0.3)[0] == 1


def test_the_rate_is_kept_by_the_lowest_threshold_that_keeps_it() -> None:
    """Ten clean images with an alarm at 0.05, 0.10, ... 0.50; four defects at 0.2, 0.4, 0.6 and, too small, 0.9."""
    truth, scores = np.zeros((14, 12, 12), np.uint8), np.zeros((14, 12, 12), np.float32)
    truth[10:, 4:7, 4:7] = 1
    for row in range(10):
        scores[row, 2:4, 2:4] = 0.05 * (row + 1)
    for row, value in enumerate((0.2, 0.4, 0.6)):
        scores[10 + row, 4:7, 4:7] = value
    scores[13, 5, 5] = 0.9
    events = Events.of(scores, Defects.of(truth), np.arange(14) < 10, 4)
    groups, whole = np.arange(14), np.ones((1, 14))
    for rate, found in ((0.01, 0.25), (0.1, 0.25), (0.3, 0.5), (0.7, 0.75), (1.0, 1.0)):
        assert events.at_rate(groups, whole, rate)[0][0] == pytest.approx(found if rate < 1 else 0.75), rate
    without = np.ones((1, 14))
    without[0, 9] = 0  # the loudest clean image is not drawn: the threshold may fall
    assert events.at_rate(groups, without, 0.01)[1][0] < events.at_rate(groups, whole, 0.01)[1][0]
    flat = Events.of(np.full(scores.shape, 0.3, np.float32), Defects.of(truth), np.arange(14) < 10, 4)
    assert flat.at_rate(groups, whole, 0.01)[0][0] == 0
    nothing_clean = Events.of(scores[10:], Defects.of(truth[10:]), np.zeros(4, bool), 4)
    assert np.isnan(nothing_clean.at_rate(np.arange(4), np.ones((1, 4)), 0.01)[0][0])


@pytest.fixture
def held(store: LocalStore) -> Any:
    def write(seed: int, pixels: np.ndarray, **columns: Any) -> ImageSet:
        def task(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, pixels, **columns)

        made = write_artifact(store, task, seed=seed)
        assert isinstance(made, ImageSet)
        return made

    return write


def scene(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, two thirds of them clean, and their masks."""
    draw = np.random.default_rng(0)
    pixels, masks = draw.integers(90, 110, (count, 1, 24, 24)).astype(np.uint8), np.zeros((count, 24, 24), np.uint8)
    for row in range(0, count, 3):
        masks[row, 8:13, 8:13] = 1
    pixels[:, 0][masks > 0] += 60
    return pixels, masks


def test_a_report_of_a_good_map_a_bad_one_and_the_constant(held: Any, run_task: Any) -> None:
    pixels, masks = scene()
    truth = held(0, pixels, masks=masks)
    clean = held(1, np.random.default_rng(9).integers(90, 110, (5, 1, 24, 24)).astype(np.uint8))
    good = run_task(ScoreMaps, "difference", {}, images=truth, clean=clean)
    bad = held(2, pixels, scores=np.random.default_rng(1).random(masks.shape).astype(np.float16), masks=masks * 0)
    params = {"entries": ["difference", "noise"], "resamples": 200}
    report = run_task(ScoreMaps, "evaluate", params, images=truth, maps=[good, bad])
    assert isinstance(report, Report)
    found = report.metrics
    assert found["difference"]["ap"] > 0.9 and found["difference"]["found"] == 1 and found["difference"]["found_ci"][0] < 1
    assert found["difference"]["ap_ci"][0] <= found["difference"]["ap"] <= found["difference"]["ap_ci"][1]
    assert found["constant"]["ap"] == pytest.approx(found["defect_pixels"], abs=1e-5) and found["constant"]["found"] == 0
    assert found["constant"]["aupro"] == pytest.approx(0.15) and found["constant"]["auroc"] == 0.5
    assert abs(found["noise"]["auroc"] - 0.5) < 0.05 and found["noise"]["own_found"] == 0 and "own_found" not in found["difference"]
    assert report.tables["Minus noise (paired)"].rows[0][-1] == "helped"
    assert "difference finds 100%" in report.verdict and next(iter(report.pictures.values())).ndim == 3
    again = run_task(ScoreMaps, "evaluate", {"entries": ["noise"], "resamples": 200}, images=truth, maps=[bad])
    assert again.metrics["noise"]["ap_ci"] == found["noise"]["ap_ci"], "the resamples do not depend on who else is there"


def test_equal_maps_differ_by_nothing_and_sources_are_drawn_whole(held: Any, run_task: Any) -> None:
    pixels, masks = scene()
    noisy = (np.random.default_rng(2).random(masks.shape) + 0.7 * masks).astype(np.float16)
    alone = held(0, pixels, masks=masks)
    alike = held(1, pixels, masks=masks, source=(np.arange(30) // 5).astype(np.int32), source_names=[f"lot {n}" for n in range(6)])
    maps = [held(seed, pixels, scores=noisy) for seed in (3, 4)]
    found = [run_task(ScoreMaps, "evaluate", {"entries": ["a", "b"], "resamples": 300}, images=i, maps=maps) for i in (alone, alike)]
    assert [one.metrics["sources"] for one in found] == [30, 6]
    assert all("0.000 [0.000, 0.000]" in one.tables["Minus b (paired)"].rows[0][2] for one in found)
    assert found[0].metrics["a"]["ap"] == found[1].metrics["a"]["ap"] and found[0].metrics["a"]["ap_ci"] != found[1].metrics["a"]["ap_ci"]


def test_what_cannot_be_judged_is_refused(held: Any, run_task: Any) -> None:
    pixels, masks = scene()
    truth, other = held(0, pixels, masks=masks), held(1, pixels[::-1].copy(), scores=np.zeros(masks.shape, np.float16))
    bare, clean = held(2, pixels), held(3, pixels, masks=masks * 0, scores=np.zeros(masks.shape, np.float16))
    for images, maps, told in (
        (truth, other, "another image 0 than test set .* in their order"), (truth, bare, "'x' .* has no scores"),
        (bare, other, "has no masks"), (clean, clean, "nothing to find"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=told):
            run_task(ScoreMaps, "evaluate", {"entries": ["x"]}, images=images, maps=[maps])
    known = held(4, pixels, scores=np.zeros(masks.shape, np.float16), attrs={"seen": 3})
    with pytest.raises(DataError, match="maps of 3 images that its model was made of: a score of these would be memory, not skill"):
        run_task(ScoreMaps, "evaluate", {"entries": ["x"]}, images=truth, maps=[known])
    with pytest.raises(DataError, match="no references of their own; give the input `clean`"):
        run_task(ScoreMaps, "difference", {}, images=bare)
    with pytest.raises(DataError, match="must have one size"):
        run_task(ScoreMaps, "difference", {}, images=bare, clean=held(5, pixels[:, :, :20]))
    for entries, told in ((["a", "a"], "one name"), (["constant"], "control"), (["a"], "none of the entries")):
        with pytest.raises(ValueError, match=told):
            EvaluateParams.model_validate({"entries": entries, "baseline": "b" if told == "none of the entries" else None})


def test_names_are_counted_while_planning(store: LocalStore) -> None:
    steps = {
        "images": {"task": "line-pair.simulate"},
        "maps": {"task": "score-maps.difference", "inputs": {"images": "images", "clean": "images"}},
        "judged": {"task": "score-maps.evaluate", "inputs": {"images": "images", "maps": ["maps"]}, "params": {"entries": ["a", "b"]}},
    }
    with pytest.raises(PipelineError, match=r"steps\.judged\.inputs\.maps: lists 1 sets of maps, and 2 names"):
        make_plan(Pipeline.model_validate({"name": "p", "steps": steps}), Registry.load(), store)


def test_own_references_are_held_against(held: Any, run_task: Any) -> None:
    pixels, masks = scene(6)
    clean = pixels.copy()
    clean[:, 0][masks > 0] -= 60
    found = run_task(ScoreMaps, "difference", {"smooth": 0.0}, images=held(0, pixels, masks=masks, references=clean))
    assert np.asarray(found.scores).astype(float) == pytest.approx(60 / 255 * masks, abs=1e-3)


# whole images


def test_image_auroc_is_the_one_by_hand_and_follows_the_weights() -> None:
    values, defect = np.array([3.0, 1.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False, False])
    groups = np.arange(5)
    # of six pairs 3 > {2, 1, 0}, 1 > 0, and 1 = 1 counts half
    assert auroc(values, defect, groups, np.ones((1, 5)))[0] == pytest.approx(4.5 / 6)
    twice = auroc(values, defect, groups, np.array([[2.0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 0, 0, 0]]))
    assert twice[:2] == pytest.approx([7.5 / 9, 1.5 / 3]) and np.isnan(twice[2])


def test_an_images_score_is_the_mean_of_its_highest_pixels() -> None:
    maps = np.zeros((2, 20, 20), np.float32)
    maps[0, 0, :2], maps[1, 0, 0] = (0.8, 0.4), 1.0
    assert image_scores(maps) == pytest.approx([0.6, 0.5]), "0.5 % of 400 pixels are two"


def test_dice_of_masks_and_the_best_that_a_threshold_has() -> None:
    truth, scores = np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4))
    truth[0, 0], scores[0, 0], scores[0, 1, :2] = 1, (0.9, 0.9, 0.9, 0.2), 0.5
    # three of four: 2 * 3 / 7; with the two wrong ones and the last right one 2 * 4 / 10
    assert counted(scores, truth).best_dice() == pytest.approx(6 / 7)


class KindParams(Params):
    light: int = 0
    known: float = 0.5
    told: bool = True


class Kinds(Method):
    """Clean and defect images, with maps that know, maps that do not, and light that differs."""

    name = "kinds"

    @task(version=1)
    def make(self, ctx: Context, params: KindParams) -> ImageSet:
        draw = np.random.default_rng(ctx.seed)
        domain = (np.arange(40) % 2).astype(np.int8)
        images = draw.integers(100, 110, (40, 1, 8, 8)) + params.light * domain[:, None, None, None]
        scores = draw.random((40, 8, 8)) * 0.1
        scores[:, 3, 3] += params.known * domain
        columns = {"domain": domain} if params.told else {}
        return ImageSet.write(ctx, images.astype(np.uint8), scores=scores.astype(np.float16), **columns)


def test_rank_tells_maps_that_know_from_light_and_from_chance(run_task: Any) -> None:
    images = run_task(Kinds, "make")
    found = run_task(ScoreMaps, "rank", {"entries": ["maps"], "resamples": 200}, images=images, maps=[images]).metrics
    assert found["maps"]["image_auroc"] == 1 and found["constant"]["image_auroc"] == 0.5 and found["mean brightness"]["image_auroc"] < 0.8
    dark = run_task(Kinds, "make", {"light": -20, "known": 0.0})
    report = run_task(ScoreMaps, "rank", {"entries": ["maps"], "resamples": 200}, images=dark, maps=[dark])
    assert report.metrics["mean brightness"]["image_auroc"] == 1 and report.metrics["maps"]["image_auroc"] < 0.8
    silent = run_task(Kinds, "make", {"told": False})
    with pytest.raises(DataError, match="does not say which images"):
        run_task(ScoreMaps, "rank", {"entries": ["maps"]}, images=silent, maps=[silent])
    with pytest.raises(DataError, match="another image 1"):
        run_task(ScoreMaps, "rank", {"entries": ["maps"]}, images=images, maps=[dark])


def test_density_is_the_share_of_bright_pixels_around_a_bright_one_and_counts_no_place_without_a_die(
    run_task: Any, store: LocalStore
) -> None:
    """Every second die fails around a lone failing one far away, on the left half; on the right half are no dies."""
    pixels = np.zeros((1, 2, 24, 24), np.uint8)
    pixels[0, 1, :, :12] = 255
    pixels[0, 0, :8, :12][(np.add(*np.mgrid[:8, :12]) % 2) == 0] = 255
    pixels[0, 0, 20, 4] = 255

    def maps(ctx: Context) -> ImageSet:
        return ImageSet.write(ctx, pixels, channels=2)

    def fails_alone(ctx: Context) -> ImageSet:
        return ImageSet.write(ctx, pixels[:, :1])

    (found,), (blind,) = (
        np.asarray(run_task(ScoreMaps, "density", {"smooth": 1.5, "given": given}, images=write_artifact(store, write)).scores)
        for write, given in ((maps, 1), (fails_alone, 0))
    )
    fails = pixels[0, 0] > 0
    assert not found[~fails].any() and found[fails].min() == found[20, 4]
    assert found[2, 10] == pytest.approx(0.5, abs=0.03) and found[3, 11] == pytest.approx(0.5, abs=0.03), "up to the edge"
    assert found[20, 4] == pytest.approx(1 / (2 * np.pi * 1.5**2), rel=0.03), "itself alone"
    assert blind[3, 11] < 0.35, "half of it with missing dies for passing ones"
    with pytest.raises(DataError, match="2 channels, and none is left"):
        run_task(ScoreMaps, "density", {"given": 2}, images=write_artifact(store, maps))
