"""Scores of generated images: closed forms, anchors, and controls that must be caught and must not."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg

from fabloom.errors import DataError, EnvironmentProblem, Interrupted, PipelineError
from fabloom.flows.report.numbers import headline
from fabloom.kinds import ImageSet, Report, Table
from fabloom.kinds.metric import plain
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks import patches, weights
from fabloom.plugins.blocks.copies import ROUNDING, least_differences
from fabloom.plugins.blocks.frechet import Gaussian, frechet
from fabloom.plugins.judge.leaderboard.scores import read_quality
from fabloom.plugins.judge.quality import ReferencePair, comparison, features, metric_report
from fabloom.plugins.judge.quality.copies import noise_floor
from fabloom.plugins.judge.quality.method import Quality
from fabloom.plugins.judge.quality.scores import Summary

SIDE, PERIOD = 72, 12
HOME = (36.0, 30.0)


def scene(seed: int | None, *defects: tuple[float, float], shift: float = 0) -> np.ndarray:
    """Lines with dark discs across the space between two, and independent noise of one grey level; uint8 [1,H,W]."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    grey = 100 + 15 * np.cos(2 * np.pi * (x - shift) / PERIOD)
    for cy, cx in defects:
        grey -= 25 / (1 + np.exp((np.hypot(y - cy, x - cx) - 6) * 2))
    if seed is not None:
        grey += np.random.default_rng(seed).normal(0, 1, grey.shape)
    return np.rint(grey).astype(np.uint8)[None]


class Pixels(Params):
    which: str = "pair"


class Scenes(Method):
    """Named sets of scenes."""

    name = "scenes"

    @task(version=1)
    def make(self, ctx: Context, params: Pixels) -> ImageSet:
        images, domain = SETS[params.which]
        given = REFERENCES.get(params.which)
        return ImageSet.write(
            ctx, np.stack(images), domain=None if domain is None else np.array(domain, np.int8),
            references=None if given is None else np.stack(given),
        )  # fmt: skip


REFERENCE, CLEAN = scene(0, HOME), scene(1)
NOISE = np.random.default_rng(9).normal(0, 0.3, CLEAN.shape)
COPIES = [REFERENCE, np.roll(REFERENCE, 5, 1), np.roll(REFERENCE, (-3, 4), (1, 2)), np.rint(REFERENCE + NOISE).astype(np.uint8)]
NEW = [CLEAN, scene(2, HOME), scene(None, HOME), scene(3, (36, 30 + 2 * PERIOD)), scene(4, (14, 30 - PERIOD))]
COUNTED = [scene(5), scene(6, (20, 18)), scene(7, (50, 42)), scene(8, (20, 18), (52, 54)), scene(10, (40, 30)), scene(11, shift=3)]
SETS: dict[str, tuple[list[np.ndarray], list[int] | None]] = {
    "pair": ([CLEAN, REFERENCE], [0, 1]),
    "alone": ([REFERENCE], [1]),
    "unsaid": ([CLEAN, REFERENCE], None),
    "two": ([CLEAN, REFERENCE, scene(2, HOME)], [0, 1, 1]),
    "none": ([CLEAN, scene(5)], [0, 0]),
    "clean": ([CLEAN], None),
    "copies": (COPIES, None),
    "new": (NEW, None),
    "counted": (COUNTED, None),
    "apart": ([scene(5, shift=4), scene(6, shift=4), CLEAN, REFERENCE], [0, 0, 0, 1]),
    "own": ([scene(7, (50, 42)), scene(8, (50, 46), shift=4), scene(10, shift=4)], None),
    "large": ([np.pad(CLEAN, ((0, 0), (0, 8), (0, 0)))], None),
    "small": ([CLEAN[:, :24, :24]], None),
    "small pair": ([CLEAN[:, :24, :24], REFERENCE[:, :24, :24]], [0, 1]),
    "triple": ([np.repeat(x, 3, 0) for x in NEW], None),
    "colour": ([np.concatenate([x, x, x[:, ::-1]]) for x in NEW], None),
    "flat": ([CLEAN, np.full_like(CLEAN, 80)], [0, 1]),
}
REFERENCES = {"own": [scene(12), scene(13, shift=4), scene(14, shift=4)]}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is fetched, and weights are only where FABLOOM_WEIGHTS_DIR says."""

    def unreachable(url: str, timeout: float) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(weights.urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def scored(run_task: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`scored("new", "pair", **params)` is the report without any weights at hand."""
    monkeypatch.delenv(weights.VARIABLE, raising=False)

    def run(images: str, reference: str = "pair", *, seed: int = 0, **params: Any) -> Report:
        made = [run_task(Scenes, "make", {"which": name}) for name in (images, reference)]
        found = run_task(Quality, "evaluate", {"resamples": 200, **params}, seed=seed, images=made[0], reference=made[1])
        assert isinstance(found, Report)
        return found

    return run


# SIFID


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    return Gaussian(torch.from_numpy(mean)[None], torch.from_numpy(covariance)[None])


def random_covariance(rank: int, size: int = 8, seed: int = 0) -> np.ndarray:
    factor = np.random.default_rng(seed).normal(size=(size, rank))
    return factor @ factor.T


def test_moments_are_over_positions_and_unbiased() -> None:
    maps = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    found = Gaussian.of(maps)
    for row in range(2):
        values = maps[row].reshape(5, -1).double().numpy()
        np.testing.assert_allclose(found.mean[row], values.mean(1))
        np.testing.assert_allclose(found.covariance[row], np.cov(values))


def test_frechet_of_known_gaussians() -> None:
    a, b, m, n = np.array([1.0, 4, 9]), np.array([4.0, 4, 1]), np.array([0.0, 1, 2]), np.array([1.0, 1, 4])
    found = frechet(gaussian(m, np.diag(a)), gaussian(n, np.diag(b)))
    assert found.tolist() == pytest.approx([(m - n) @ (m - n) + np.square(np.sqrt(a) - np.sqrt(b)).sum()])
    first, second = random_covariance(8), random_covariance(8, seed=1)
    zero = np.zeros(8)
    wanted = np.trace(first + second - 2 * linalg.sqrtm(first @ second).real)
    assert frechet(gaussian(zero, first), gaussian(zero, second)).item() == pytest.approx(wanted)


def test_frechet_is_zero_for_equals_symmetric_and_takes_singular_covariances() -> None:
    zero = np.zeros(8)
    low, other, full = (gaussian(zero, random_covariance(rank, seed=rank)) for rank in (3, 2, 8))
    for one in (low, other, full):
        assert 0 <= frechet(one, one).item() < 1e-6 * one.covariance[0].trace()
    for pair in ((low, other), (low, full)):
        assert frechet(*pair).item() == pytest.approx(frechet(*pair[::-1]).item())
        assert frechet(*pair).item() > 0.1
    assert frechet(low, gaussian(zero, np.zeros((8, 8)))).item() == pytest.approx(float(low.covariance[0].trace()))
    both = Gaussian(torch.cat([low.mean, full.mean]), torch.cat([low.covariance, full.covariance]))
    torch.testing.assert_close(frechet(both, other), torch.cat([frechet(low, other), frechet(full, other)]))


# patches


def image(seed: int, side: int = 16, channels: int = 1) -> torch.Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_sliced_wasserstein_in_closed_form(channels: int) -> None:
    x = image(0, channels=channels)
    assert patches.sliced_wasserstein(x, x).item() == 0
    directions = patches.projections(channels)
    torch.testing.assert_close(directions.flatten(1).norm(dim=1), torch.ones(256))
    wanted = 0.37 * directions.flatten(1).sum(1).abs().mean()
    for sign in (1, -1):
        torch.testing.assert_close(patches.sliced_wasserstein(x + sign * 0.37, x)[0], wanted, rtol=1e-5, atol=1e-5)
    both = torch.cat([image(1, channels=channels), x])
    torch.testing.assert_close(patches.sliced_wasserstein(both, x)[0], patches.sliced_wasserstein(x, both[:1])[0])


def test_nearest_patches_are_found() -> None:
    x, y = image(0), image(1)
    rows = [torch.nn.functional.unfold(z, patches.PATCH)[0].T for z in (x, y)]
    squares = torch.cdist(*rows, compute_mode="donot_use_mm_for_euclid_dist").square().reshape(10, 10, 100) / 49
    coherence, _ = patches.nearest(x, y)
    torch.testing.assert_close(coherence[0], squares[::3, ::3].amin(2).mean())
    torch.testing.assert_close(patches.nearest(y, x)[1], coherence)  # completeness is coherence the other way
    moved = x.roll(5, 3)
    assert patches.nearest(x, x)[0] < 1e-5
    assert patches.nearest(moved[..., 5:], x)[0] < 1e-5 < 1e-2 * patches.nearest(moved[..., 5:], x)[1]  # a crop is coherent, not complete


# copies


def differences(*images: np.ndarray) -> np.ndarray:
    floor = noise_floor(REFERENCE[0].astype(float), CLEAN[0].astype(float))
    return least_differences(np.concatenate(images).astype(float), REFERENCE.astype(float), 7)[:, 0] / floor


def test_the_noise_floor_is_that_of_two_acquisitions_without_the_defect() -> None:
    floor = noise_floor(REFERENCE[0].astype(float), CLEAN[0].astype(float))
    assert floor == pytest.approx(np.sqrt(2 * (1 + 1 / 12)), rel=0.05)  # noise and rounding of both
    assert (REFERENCE[0].astype(float) - CLEAN[0]).std() > 2 * floor  # what a plain deviation would say
    assert noise_floor(CLEAN[0].astype(float), CLEAN[0].astype(float)) == noise_floor(CLEAN[0].astype(float), None) == ROUNDING


def test_copies_lie_below_what_is_new() -> None:
    verbatim, *shifted, noisy = differences(*COPIES)
    assert [verbatim, *shifted] == [0, 0, 0] and noisy < 0.4
    clean, again, noiseless, *moved = differences(*NEW)
    assert noiseless == pytest.approx(1 / np.sqrt(2), rel=0.06)
    assert again == pytest.approx(1, rel=0.05)
    assert min(clean, *moved) > 1.2


def test_a_shift_beyond_reach_is_no_shift() -> None:
    shifted = np.roll(REFERENCE, 5, 1).astype(float)
    four, five = (least_differences(shifted, REFERENCE.astype(float), reach)[0, 0] for reach in (4, 5))
    assert four > 1 > five


def test_copies_are_counted_in_the_report(scored: Any) -> None:
    found = scored("copies").metrics["copies"]
    assert found["copy_share"] == 1 and found["smallest_ratio"] == 0
    fresh = scored("new").metrics["copies"]
    assert fresh["copy_share"] == 0 and fresh["smallest_ratio"] > 0.6
    assert fresh["on_clean_image_share"] == 0.2, "one of them is the clean image itself"
    assert scored("copies", "alone").metrics["copies"]["copy_share"] == 1, "their noise tells without a clean image"


# means and intervals


def test_a_distance_is_raw_times_100_and_a_ratio() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    found = plain(Summary(5, 2000, 0.95).distance(values, 1.5))
    assert found["raw"] == values.mean() and found["sd"] == values.std() and found["pair"] == 1.5
    assert found["x100"] == pytest.approx(100 * found["raw"]) and found["ratio"] == pytest.approx(found["raw"] / 1.5)
    low, high = found["raw_ci"]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)  # of the mean of 400
    assert found["ratio_ci"] == pytest.approx([low / 1.5, high / 1.5]) and found["x100_ci"] == pytest.approx([100 * low, 100 * high])
    assert found == plain(Summary(5, 2000, 0.95).distance(values, 1.5))
    assert "ratio" not in Summary(5, 2000, 0.95).distance(values, None)
    assert Summary(5, 2000, 0.95).interval(values[:1]) is None


# the ring


class Plain:
    """Stands for a network: the pixels are the features."""

    net = "plain"

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]

    def distance(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        return (a[0] - b[0]).abs().mean((1, 2, 3))


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_each_image_is_compared_with_those_before_it(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(comparison, "BATCH", batch)
    count, levels = 7, np.array([0, 1, 3, 7, 15, 31, 63])
    pixels = np.broadcast_to(levels[:, None, None, None], (count, 1, 4, 4)).astype(np.uint8)
    ctx: Any = SimpleNamespace(
        device=torch.device("cpu"), generator=lambda name: torch.Generator().manual_seed(1), stop_requested=lambda: False,
        progress=lambda *a, **k: nullcontext(SimpleNamespace(advance=lambda n: None)),
    )  # fmt: skip
    given = comparison.Comparison(pixels, pixels[2:3], pixels[:1])
    model: Any = Plain()
    distances, among = features.lpips(ctx, model, given, 2)
    np.testing.assert_allclose(distances.values, np.abs(levels - 3) / 127.5, atol=1e-6)
    assert distances.pair == pytest.approx(3 / 127.5)
    ring = torch.randperm(count, generator=torch.Generator().manual_seed(1)).numpy()
    wanted = [np.mean([abs(int(levels[ring[i]]) - int(levels[ring[i - lag]])) for lag in (1, 2)]) for i in range(count)]
    assert among is not None
    np.testing.assert_allclose(among, np.array(wanted) / 127.5, atol=1e-6)
    single = comparison.Comparison(pixels[:1], pixels[2:3], None)
    assert features.lpips(ctx, model, single, 2)[1] is None


# the report


def test_defects_are_counted_and_placed(scored: Any) -> None:
    report = scored("counted")
    found = report.metrics["defects"]
    assert found["count"] == pytest.approx(5 / 6) and found["count_reference"] == 1
    assert (found["share_none"], found["share_one"], found["share_more"]) == pytest.approx((2 / 6, 3 / 6, 1 / 6))
    assert found["lines"] == 4  # columns 18, 30, 42 and 54
    assert found["off_reference_share"] == pytest.approx(1 / 6)
    assert [row[1] for row in report.tables["Defects an image"].rows] == [2, 3, 1]
    assert [row[:2] for row in report.tables["Defects by line"].rows] == [[0, 2], [1, 1], [2, 1], [3, 1]]
    strict = scored("counted", labels={"preset": "published", "min_area": 500})
    assert strict.metrics["defects"]["count"] == 0 and strict.metrics["defects"]["lines"] == 0
    assert any("finds 0 in the reference itself" in note for note in strict.notes)


def test_clean_images_of_several_places_are_refused_or_laid_on_one_another(scored: Any) -> None:
    counted = scored("counted").metrics
    refused = scored("counted", "apart")
    assert "defects" not in refused.metrics
    assert any("defects are left out" in note and "is off by +4" in note.replace("-4", "+4") for note in refused.notes)
    # the pair's clean image is the one that lies where the reference does, not the first
    assert refused.metrics["sliced_wasserstein"] == counted["sliced_wasserstein"]
    assert all(refused.metrics["copies"][same] == counted["copies"][same] for same in ("noise_floor", "median_ratio", "copy_share"))
    laid = scored("counted", "apart", labels={"preset": "calibrated"}).metrics["defects"]
    assert laid["count"] == pytest.approx(5 / 6) and laid["count_reference"] == 1 and laid["judged_share"] == 1
    chosen = scored("counted", "apart", clean_row=2)
    assert chosen.metrics["defects"]["count"] == pytest.approx(5 / 6)
    wrong = scored("counted", "apart", clean_row=0)
    assert any("does not lie where the reference does" in note for note in wrong.notes)
    assert wrong.metrics["copies"]["noise_floor"] == ROUNDING


def test_images_are_held_against_their_own_references(scored: Any) -> None:
    found = scored("own").metrics["defects"]
    assert (found["count"], found["share_one"], found["off_reference_share"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 0)
    assert found["count_reference"] == 1 and found["lines"] is None
    shared = scored("own", clean_row=0).metrics["defects"]
    assert shared["off_reference_share"] == pytest.approx(2 / 3) and shared["count"] == pytest.approx(1 / 3)


def test_the_reference_pair_is_the_unit(scored: Any) -> None:
    found = scored("clean").metrics
    assert found["sliced_wasserstein"]["ratio"] == pytest.approx(1) and "ratio_ci" not in found["sliced_wasserstein"]
    assert found["patches"]["generated"]["coherence"] == pytest.approx(found["patches"]["clean_reference"]["coherence"])


def test_anchors_order_the_scores(scored: Any) -> None:
    beside = scored("new").metrics["patches"]
    for score in ("sliced_wasserstein", "coherence", "completeness"):
        assert 5 * beside["generated"][score] < beside["noise"][score]


def test_the_headline_holds_the_images_against_anchors_of_the_same_score(scored: Any) -> None:
    """Never LPIPS against SIFID: the score that needs no weights, beside what the same run measured of the anchors."""
    found = headline(scored("new").described)
    assert found is not None and found.metric == "sliced_wasserstein" and found.results[0][0] == "generated"
    assert [name for name, _ in found.controls] == ["clean_reference", "mirrored_reference", "noise"]
    assert found.results[0][1].better is None, "0 is a copy, not the best value"


def test_without_weights_scores_are_left_out_and_said_so(scored: Any) -> None:
    report = scored("new")
    assert not [name for name in report.metrics if name.startswith(("lpips", "sifid"))]
    told = " ".join(report.notes)
    for words in ("LPIPS squeeze is left out", "LPIPS alex is left out", "LPIPS vgg is left out", "SIFID is left out", weights.VARIABLE):
        assert words in told
    assert "hub" not in told  # where they were looked for belongs into the log
    assert "LPIPS vgg" not in " ".join(scored("new", nets=["squeeze"]).notes)
    assert set(report.metrics["diversity"]) == {"pixel_sd"}
    assert any("by sliced Wasserstein" in title for title in report.pictures)


def test_damaged_weights_are_an_error(scored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.VARIABLE, str(tmp_path))
    (tmp_path / "alexnet_features.safetensors").write_bytes(b"cut")
    with pytest.raises(EnvironmentProblem, match="damaged"):
        scored("new")


def test_without_a_clean_image_there_are_no_ratios(scored: Any) -> None:
    report = scored("new", "alone")
    assert "defects" not in report.metrics and "ratio" not in report.metrics["sliced_wasserstein"]
    assert "clean_reference" not in report.metrics["patches"]
    assert any("no image as clean" in note for note in report.notes)
    assert not any("Where defects lie" in title for title in report.pictures)


def test_rows_can_be_chosen(scored: Any) -> None:
    chosen = scored("new", "unsaid", reference_row=1, clean_row=0).metrics
    wanted = scored("new").metrics
    assert chosen["sliced_wasserstein"] == wanted["sliced_wasserstein"]
    assert chosen["defects"] == wanted["defects"]
    swapped = scored("new", "two", reference_row=2).metrics
    assert swapped["sliced_wasserstein"]["raw"] != wanted["sliced_wasserstein"]["raw"]


def test_replicated_grey_is_grey(scored: Any) -> None:
    assert scored("triple").metrics == scored("new").metrics


def test_pictures_and_tables_are_there(scored: Any) -> None:
    report = scored("counted", shown=3)
    titles = list(report.pictures)
    assert any("Where defects lie" in t for t in titles) and any("nearest" in t for t in titles)
    (sheet,) = (p for t, p in report.pictures.items() if t.startswith("Reference (first) and generated"))
    assert sheet.shape[0] == SIDE and sheet.shape[2] == 3
    np.testing.assert_array_equal(sheet[:, :SIDE, 0].argmin(), REFERENCE[0].argmin())  # the reference comes first, stretched


@pytest.mark.parametrize(
    ("images", "reference", "params", "told"),
    [
        ("large", "pair", {}, "images are 80 x 72 but the reference is 72 x 72"),
        ("small", "small pair", {}, "24 x 24 are too small"),
        ("new", "two", {}, "holds 3 images, 2 of them with a defect"),
        ("new", "none", {}, "holds 2 images, 0 of them with a defect"),
        ("new", "unsaid", {}, "does not say which have a defect.*reference_row: ROW"),
        ("new", "pair", {"reference_row": 2}, "reference_row: row 2 is not in set"),
        ("new", "pair", {"clean_row": 7}, "clean_row: row 7 is not in set"),
        ("colour", "pair", {}, "images have 3 channels but the reference has 1"),
        ("new", "flat", {}, "row 1 of set .* is constant"),
        ("new", "pair", {"reach": 40}, "reach: 40 is more than half of 72 x 72"),
    ],
)
def test_what_cannot_be_compared_is_refused(scored: Any, images: str, reference: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        scored(images, reference, **params)


def test_a_stop_is_honoured(run_task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    made = [run_task(Scenes, "make", {"which": name}) for name in ("new", "pair")]
    with pytest.raises(Interrupted):
        run_task(Quality, "evaluate", {}, images=made[0], reference=made[1], stop=lambda: True)


# metrics of other plugins


class Told(Params):
    """What the metric `score` says, made up here."""

    name: str = "score"
    values: tuple[float, ...] = (4, 1, 3, 2, 5)
    pair: float | None = 2
    anchors: dict[str, float] = {}
    higher: bool | None = None
    row: int | None = None
    clean_row: int | None = None
    nan: bool = False


class Teller(Method):
    """A metric of another plugin, reports that are none, and one written by hand."""

    name = "teller"

    @task(version=1)
    def score(self, ctx: Context, params: Told, *, images: ImageSet, reference: ImageSet) -> Report:
        values = np.array(params.values)
        if params.nan:
            values[1] = np.nan
        return metric_report(
            ctx, name=params.name, meaning="What was told.", unit="dB", values=values, pair=params.pair, anchors=params.anchors,
            higher_is_better=params.higher, images=images, reference=reference,
            rows=ReferencePair.of(reference, params.row, params.clean_row), tables={"Own": Table(["a"], [[1]])}, notes=["Own note."],
        )  # fmt: skip

    @task(version=1)
    def plain(self, ctx: Context, params: Params) -> Report:
        return Report.write(ctx, {"score": 1})

    @task(version=1)
    def forged(self, ctx: Context, params: Told, *, images: ImageSet, reference: ImageSet) -> Report:
        report = self.score(ctx, params.model_copy(update={"nan": False}), images=images, reference=reference)
        if params.nan:
            ctx.staging.put("values", np.full(len(images), np.nan))
        else:
            ctx.staging.attrs["metric"] |= {"form": 9}
        return report


@pytest.fixture
def joined(run_task: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`joined({"name": "a"}, {"name": "b"}, **params)` is the report of evaluate on "new" with those metrics."""
    monkeypatch.delenv(weights.VARIABLE, raising=False)

    def run(*told: dict[str, Any], task: str = "score", on: tuple[str, str] = ("new", "pair"), **params: Any) -> Report:
        images, reference, *other = [run_task(Scenes, "make", {"which": name}) for name in ("new", params.pop("reference", "pair"), *on)]
        metrics = [run_task(Teller, task, one, images=other[0], reference=other[1]) for one in told]
        given = {"resamples": 200, "nets": [], **params}
        found = run_task(Quality, "evaluate", given, images=images, reference=reference, metrics=metrics or None)
        assert isinstance(found, Report)
        return found

    return run


def test_a_metric_joins_with_the_same_intervals(joined: Any, store: Any) -> None:
    told = np.array([4.0, 1, 3, 2, 5])
    report = joined({"anchors": {"noise": 9}}, {"name": "other", "pair": None, "higher": True})
    seed = store.manifest(report.key)["preimage"]["seed"]
    summary = Summary(seed, 200, 0.95)
    assert report.metrics["score"] == {**plain(summary.score(told, 2)), "anchors": {"noise": 9}}
    assert report.metrics["score"]["ratio"] == 1.5 and report.metrics["score"]["sd"] == pytest.approx(np.sqrt(2))
    # the resamples are those of its own scores: their means move together
    assert report.metrics["score"]["raw_ci"] == list(summary.interval(told) or ()) and "x100" not in report.metrics["score"]
    assert report.metrics["other"] == plain(summary.score(told, None)) and "ratio" not in report.metrics["other"]
    rows = {row[0]: row for row in report.tables["Metrics of other plugins"].rows}
    assert rows["score"] == [
        "score",
        3,
        *summary.interval(told),
        told.std(),
        2,
        1.5,
        "dB",
        "best near the reference pair's",
    ]
    assert rows["other"][5:7] == [None, None] and rows["other"][8] == "higher is better"
    assert any(note.startswith("score: What was told, in dB;") for note in report.notes)


def test_what_joins_changes_nothing_else(joined: Any, store: Any) -> None:
    alone, together = joined(), joined({})
    assert "metrics" not in store.manifest(alone.key)["preimage"]["inputs"] and alone.key != together.key
    seeds = [store.manifest(report.key)["preimage"]["seed"] for report in (alone, together)]
    assert seeds[0] == seeds[1]
    metrics = together.metrics
    assert metrics.pop("score") and metrics == alone.metrics
    assert set(together.tables) - set(alone.tables) == {"Metrics of other plugins"}
    assert read_quality(together) == read_quality(alone), "the leaderboard reads what it read before"


def test_the_report_of_a_metric_stands_alone(run_task: Any) -> None:
    images, reference = (run_task(Scenes, "make", {"which": name}) for name in ("new", "pair"))
    report = run_task(Teller, "score", {"anchors": {"noise": 9}}, images=images, reference=reference)
    assert report.metrics == {"score": {"mean": 3, "sd": pytest.approx(np.sqrt(2)), "pair": 2, "ratio": 1.5, "anchors": {"noise": 9}}}
    found = headline(report.described)
    assert found is not None and [(name, metric.value) for name, metric in found.entries] == [("", 3), ("noise", 9), ("pair", 2)]
    assert list(report.tables) == ["Own"] and report.notes[-1] == "Own note."
    np.testing.assert_array_equal(report.array("values")[...], [4, 1, 3, 2, 5])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"nan": True}, "metric 'score' is nan for image 1; a metric is finite"),
        ({"values": (1, 2)}, r"one value for each of 5 images, shape \(5,\), not \(2,\)"),
        ({"name": "Score"}, "'Score': a name is lower case"),
        ({"name": "../score"}, "a name is lower case"),
        ({"name": "defects"}, "'defects': quality.evaluate has a score of that name"),
        ({"name": "lpips_mine"}, "'lpips_mine': quality.evaluate has a score of that name"),
        ({"row": 7}, "row 7 is not in set"),
    ],
)
def test_a_metric_that_cannot_stand_is_not_written(run_task: Any, told: dict[str, Any], message: str) -> None:
    images, reference = (run_task(Scenes, "make", {"which": name}) for name in ("new", "pair"))
    with pytest.raises(DataError, match=message):
        run_task(Teller, "score", told, images=images, reference=reference)


@pytest.mark.parametrize(
    ("told", "how", "message"),
    [
        ([{"values": [1] * 6}], {"on": ("counted", "pair")}, "'score' .*was computed on images .* the same `images`"),
        ([{"row": 1, "clean_row": 0}], {"on": ("new", "unsaid")}, "'score' .*was computed on reference .* the same `reference`"),
        (
            [{"row": 1}],
            {"on": ("new", "two"), "reference": "two", "reference_row": 2},
            "rows 1 and 0 of .* with 2 and 0; give both the same",
        ),
        ([{}, {"pair": 3}], {}, "'score' .*is given 2 times"),
        ([{"nan": True}], {"task": "forged"}, "metric 'score' is nan for image 0"),
        ([{}], {"task": "forged"}, "another form than fabloom.plugins.quality.metric_report writes .form: "),
    ],
)
def test_a_metric_of_something_else_is_refused(joined: Any, told: list[Any], how: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        joined(*told, **how)


def test_a_report_that_is_no_metric_is_refused(run_task: Any) -> None:
    images, reference = (run_task(Scenes, "make", {"which": name}) for name in ("new", "pair"))
    with pytest.raises(DataError, match="is no metric report; give reports of tasks"):
        run_task(Quality, "evaluate", {"nets": []}, images=images, reference=reference, metrics=[run_task(Teller, "plain")])


@pytest.mark.parametrize(
    ("given", "message"), [([], "steps.q.inputs.metrics: lists no step"), (["a" * 40] * 2, "steps.q.inputs.metrics: .*twice")]
)
def test_lists_that_make_no_sense_are_refused_while_planning(given: list[str], message: str) -> None:
    step: Any = SimpleNamespace(name="q", inputs={"metrics": given})
    with pytest.raises(PipelineError, match=message):
        Quality.check(step, {})


# the real pair


@pytest.fixture
def real(run_task: Any, data_dir: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reports of the real images, by name, with the weights that are at hand."""
    defect, clean = (
        np.asarray(Image.open(data_dir / "line_pair" / f"{name}.png").convert("L"))[None] for name in ("bridge_defect", "no_defect")
    )
    noisy = np.rint(clean + np.random.default_rng(0).normal(0, 1, clean.shape)).astype(np.uint8)
    for name, entry in {
        "real pair": ([defect, clean], [1, 0]), "real clean": ([clean], None), "real mixed": ([defect, clean, noisy, np.roll(defect, 6, 1)], None),
    }.items():  # fmt: skip
        monkeypatch.setitem(SETS, name, entry)

    def run(images: str) -> Report:
        made = [run_task(Scenes, "make", {"which": name}) for name in (images, "real pair")]
        report = run_task(Quality, "evaluate", {}, images=made[0], reference=made[1])
        assert isinstance(report, Report)
        return report

    return run


def test_the_real_pair_has_its_known_scores(real: Any) -> None:
    found = real("real clean").metrics
    assert found["lpips_squeeze"]["raw"] == pytest.approx(0.00844, abs=5e-6)
    score = found.get("sifid_nsfwjs")
    if weights.locate(weights.TABLE["inception_v3"]) is None:
        assert "sifid" not in found and score["raw"] == pytest.approx(0.0090, abs=1e-4)
    for name in ("lpips_squeeze", "lpips_alex", "sliced_wasserstein"):
        assert found[name]["ratio"] == pytest.approx(1)
    assert found["defects"]["count"] == 0 and found["defects"]["count_reference"] == 1
    assert found["copies"]["noise_floor"] == pytest.approx(0.96, abs=0.03)
    assert found["copies"]["copy_share"] == 0


def test_real_copies_score_zero_and_are_named(real: Any) -> None:
    report = real("real mixed")
    found = report.metrics
    assert found["copies"]["copy_share"] == 0.5 and found["copies"]["smallest_ratio"] == pytest.approx(0, abs=1e-5)
    assert found["defects"]["count"] == 0.5  # the defect and its vertical shift; noise raises no alarm
    assert found["diversity"]["lpips"] > 0 and found["diversity"]["lpips_ratio"] > 0
    assert any("by LPIPS squeeze" in title for title in report.pictures)
    again = real("real mixed")
    assert again.metrics == found
