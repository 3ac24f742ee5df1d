"""The table of samplers: every trivial sampler is caught by the score named for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.judge.samplers.comparing import nearest_of, told
from fabloom.plugins.judge.samplers.method import Samplers
from fabloom.plugins.judge.samplers.scoring import Judge, Scores

RunTask = Callable[..., Any]


class Kind(Params):
    kind: str = "real"
    count: int = 60
    domain: bool = True


def drawn(kind: str, count: int, seed: int) -> np.ndarray:
    """Lines with a spot in every second image; `seed` 0 are the training images."""
    draw = np.random.default_rng(seed)
    pixels = np.where(np.arange(32) % 8 < 4, 160.0, 90.0) + np.zeros((count, 1, 32, 32))
    for row in range(0, count, 2):
        y, x = draw.integers(4, 24, 2)
        pixels[row, 0, y : y + 5, x : x + 5] = 215
    if kind == "one":
        pixels[:] = pixels[:1]
    pixels += draw.normal(0, 8, pixels.shape)
    if kind == "blurred":
        pixels = ndimage.gaussian_filter(pixels, (0, 0, 1, 1))
    return np.asarray(pixels.clip(0, 255), np.uint8)


class Made(Method):
    """Sets as the test wants them."""

    name = "made"

    @task(version=1)
    def images(self, ctx: Context, params: Kind) -> ImageSet:
        pixels = drawn(params.kind, params.count, ctx.seed)
        domain = (np.arange(params.count) % 2 == 0).astype(np.int8)
        masks = np.zeros((params.count, 32, 32), np.uint8)
        masks[::2, 5:8, 5:8] = 1
        return ImageSet.write(
            ctx, pixels, domain=domain if params.domain else None, masks=masks if params.domain else None, attrs={"operations": 3 * 10**9}
        )

    @task(version=1)
    def report(self, ctx: Context, params: Params) -> Report:
        return Report.write(ctx, {"model": {"iou_defect": 0.6}, "baseline": {"iou_defect": 0.9}})


@pytest.fixture
def sets(run_task: RunTask) -> dict[str, ImageSet]:
    """Training images, real ones of another seed, and what samplers drew."""
    kinds = {"training": ("real", 0), "real": ("real", 1), "honest": ("real", 2), "blurred": ("blurred", 3), "one": ("one", 4)}
    return {name: run_task(Made, "images", {"kind": kind}, seed=seed) for name, (kind, seed) in kinds.items()}


def test_each_trivial_sampler_fails_the_score_that_is_named_for_it(sets: dict[str, ImageSet]) -> None:
    judge = Judge(sets["training"], sets["real"], 0.5)
    found = {name: judge.scores(sets[name].images[...], sets[name], sets[name].attrs, None) for name in ("honest", "blurred", "one")}
    copied = judge.scores(sets["training"].images[...], sets["training"], {}, None)
    assert found["honest"].copies < 0.1 < copied.copies == 1
    assert 0.9 < found["honest"].high_band < 1.1 and found["blurred"].high_band < 0.3
    assert 0.8 < found["honest"].variety < 1.25 and found["one"].variety < 0.6
    assert found["honest"].distance < 0.5 * min(found["blurred"].distance, found["one"].distance)
    assert found["honest"].defects == pytest.approx(1) and found["honest"].told == 1
    assert found["honest"].image_operations == pytest.approx(3) and found["honest"].training_operations is None


def test_trainings_of_one_title_stand_in_one_row(run_task: RunTask, sets: dict[str, ImageSet]) -> None:
    entries = [{"title": title, "evaluations": count} for title, count in (("good", 1), ("bad", 4), ("good", 1))]
    given = [sets["honest"], sets["blurred"], sets["honest"]]
    report = run_task(Made, "report")
    made = run_task(
        Samplers, "compare", {"entries": entries}, reference=sets["training"], real=sets["real"], samples=given, labelled=given,
        segmentation=[report] * 3,
    )  # fmt: skip
    table = made.tables["samplers"]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["good", "bad", "training images, drawn again", "training images, blurred"]
    assert rows["good"]["evaluations"] == 1 and "±" in rows["good"]["variety"] and "±" not in rows["bad"]["variety"]
    assert rows["good"]["IoU of a segmenter"] == "0.6 ± 0" and rows["training images, blurred"]["IoU of a segmenter"] is None
    assert made.metrics["iou_of_the_training_images"] == 0.9
    assert made.described["good"]["distance"].role == "headline" and made.metrics["good"]["distance"] < made.metrics["bad"]["distance"]
    assert len(made.pictures) == 1
    assert made.verdict.startswith("Nearest to real images comes 'good' (") and made.verdict.endswith("of 1 training, so it may be chance.")


def test_what_cannot_be_compared_is_refused(run_task: RunTask, sets: dict[str, ImageSet]) -> None:
    unlabelled = run_task(Made, "images", {"domain": False}, seed=0)
    given = {"real": sets["real"], "samples": [sets["honest"]], "labelled": [sets["honest"]]}
    entries = {"entries": [{"title": "good", "evaluations": 1}]}
    with pytest.raises(DataError, match="do not say which have a defect"):
        run_task(Samplers, "compare", entries, reference=unlabelled, **given)


def test_lists_of_other_lengths_are_refused_while_planning(store: Any) -> None:
    from fabloom.pipeline import Pipeline
    from fabloom.planning.plan import make_plan
    from fabloom.registry import Origin, Registry

    registry = Registry()
    for method in (Made, Samplers):
        registry._add_method(method, Origin("test", "test", "1"))
    inputs = {"reference": "images", "real": "images", "samples": ["images"] * 2, "labelled": ["images"]}
    steps = {
        "images": {"task": "made.images"},
        "table": {"task": "samplers.compare", "inputs": inputs, "params": {"entries": [{"title": "good", "evaluations": 1}]}},
    }
    with pytest.raises(PipelineError, match=r"steps\.table\.inputs\.samples: lists 2 steps, but params\.entries names 1"):
        make_plan(Pipeline.parse({"name": "table", "steps": steps}), registry, store)


def test_the_verdict_tells_one_step_from_many_and_says_when_it_may_be_chance() -> None:
    def of(*distances: float) -> list[Scores]:
        return [Scores(None, None, 1, 1, 1, distance, 1, 0) for distance in distances]

    steps = {"many": 50, "one": 1, "other": 1}
    found = nearest_of(steps, {"many": of(1, 1, 1), "one": of(2, 2, 2), "other": of(3, 3, 3)})
    assert found == "Of one step 'one' comes nearest to real images (2 grey levels), of all 'many' (1)."
    assert nearest_of(steps, {"many": of(4, 4), "one": of(2, 2)}).endswith(
        "comes 'one' (2 grey levels); of 2 trainings, so it may be chance."
    )


def test_a_mean_and_its_deviation() -> None:
    def of(value: float) -> Scores:
        return Scores(None, None, 1, 1, 1, value, 1, 0)

    assert told([of(1.0), of(3.0)], "distance") == "2 ± 1.4" and told([of(2.5)], "distance") == "2.5" and told([of(1.0)], "defects") is None
