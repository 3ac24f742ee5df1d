"""The leaderboard's tables: every figure in its place, published beside ours, and nothing invented."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fabloom.errors import DataError, PipelineError
from fabloom.flows.report.numbers import headline
from fabloom.kinds import ImageSet, Report, Table
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.judge.leaderboard import published, tables
from fabloom.plugins.judge.leaderboard.method import Leaderboard
from fabloom.plugins.judge.leaderboard.pictures import locations
from fabloom.plugins.judge.leaderboard.pictures import samples as sample_panel
from fabloom.testing import MemoryStore, write_artifact

RunTask = Callable[..., Any]


class Numbers(Params):
    metrics: dict[str, Any]


class Pixels(Params):
    level: int = 60
    place: int | None = 4
    channels: int = 1


class Given(Method):
    """Reports and images as the test wants them."""

    name = "given"

    @task(version=1)
    def report(self, ctx: Context, params: Numbers) -> Report:
        return Report.write(ctx, params.metrics)

    @task(version=1)
    def images(self, ctx: Context, params: Pixels) -> ImageSet:
        """A defect image and a clean one; the mask is a square at `place`."""
        pixels = np.full((2, params.channels, 12, 12), params.level, np.uint8)
        pixels[0, :, 5:7, 5:7] = 80
        masks = np.zeros((2, 12, 12), np.uint8)
        if params.place is not None:
            masks[0, 4:6, params.place : params.place + 2] = 1
        return ImageSet.write(ctx, pixels, masks=masks)


def distance(raw: float, pair: float) -> dict[str, Any]:
    return {
        "raw": raw,
        "raw_ci": [raw - 0.001, raw + 0.001],
        "sd": raw / 4,
        "ratio": raw / pair,
        "pair": pair,
        "ratio_ci": [raw / pair - 0.1, raw / pair + 0.1],
    }


def quality(lpips: float = 0.0084, **more: Any) -> dict[str, Any]:
    return {
        "lpips_squeeze": distance(lpips, 0.0084),
        "lpips_vgg": distance(lpips * 1.5, 0.02),
        "defects": {"count": 0.9, "count_ci": [0.8, 1.0], "share_one": 0.7, "lines": 4, "off_reference_share": 0.05},
        "diversity": {"lpips": 0.012, "lpips_ci": [0.011, 0.013]},
        "copies": {"copy_share": 0.0},
        **more,
    }


NEW = {
    "places": {"same_place": 0.5, "same_place_ci": [0.4, 0.6], "same_place_chance": 0.04},
    "noise": {"generated": {"deviation": 1.21, "deviation_ci": [1.19, 1.23]}},
}
"""What reports of quality.evaluate hold since version 7."""


def predictor(iou: float, sd: float) -> dict[str, Any]:
    means = {"iou": iou, "iou_defect": iou - 0.2, "iou_defect_moved": iou - 0.3, "detection_rate_moved": 0.9, "false_alarm_rate_moved": 0.1}
    return means | {f"{name}_ci": [value - 0.1, value + 0.1] for name, value in means.items()} | {"iou_sd": sd}


def segmentation(iou: float = 0.8, baseline: float = 0.7) -> dict[str, Any]:
    return {"model": predictor(iou, 0.25), "baseline": predictor(baseline, 0.4), "nothing": predictor(0.5, 0.5)}


SINSEMI, ENERGY, LOOM = {"method": "sinsemi"}, {"method": "sinsemi", "variant": "energy"}, {"method": "loom"}
STEPS = [{"method": "sinsemi", "ablation": "steps", "value": v, "beside": "guidance.strength 1"} for v in ("10", "20")]
GUIDANCE = [{"method": "sinsemi", "ablation": "guidance", "value": v} for v in ("0", "1")]


@pytest.fixture
def compared(run_task: RunTask) -> Any:
    def run(entries: list[dict[str, str]], qualities: list[Any], scores: list[Any], settings: Any = (), ablations: Any = ()) -> Report:
        reference = run_task(Given, "images")
        sets = [run_task(Given, "images", {"level": 61 + i, "place": 2 + i}) for i in range(len(entries))]
        reports = [[run_task(Given, "report", {"metrics": m}) for m in given] for given in (qualities, scores, ablations)]
        made = run_task(
            Leaderboard, "compare", {"entries": entries, "settings": list(settings), "shown": 2},
            reference=reference, samples=sets, quality=reports[0], segmentation=reports[1], ablations=reports[2],
        )  # fmt: skip
        assert isinstance(made, Report)
        return made

    return run


def cell(table: Table, row: str, column: str) -> Any:
    """The cell of the row that starts with `row`, in the only column whose name holds `column`."""
    (place,) = [i for i, name in enumerate(table.columns) if column in name]
    (found,) = [r for r in table.rows if r[0] == row]
    return found[place]


def test_a_table_for_each_of_the_paper(compared: Any) -> None:
    report = compared(
        [SINSEMI, ENERGY, LOOM], [quality(0.0105), quality(), quality(0.02)], [segmentation(0.8), segmentation(0.9), segmentation(0.6)],
        [*STEPS, *GUIDANCE], [quality(0.009 + i / 1000) for i in range(4)],
    )  # fmt: skip
    counts, apart, found, steps, guidance, _ = (report.tables[title] for title in sorted(report.tables))
    assert cell(counts, "sinsemi", "published") == "0.8" and cell(counts, "sinsemi", "ours") == "0.90 [0.80, 1.00]"
    assert cell(counts, "loom", "published") is None and cell(counts, "loom", "exactly one") == "70 %"
    assert (
        cell(apart, "sinsemi", "LPIPS squeeze, pub") == "1.0 ± 0.3 (1.25)"
        and cell(apart, "sinsemi", "LPIPS squeeze, ours") == "1.05 ± 0.26 (1.25)"
    )
    assert (
        cell(apart, "reference pair", "LPIPS squeeze, ours") == "0.84 (1.00)"
        and cell(apart, "reference pair", "LPIPS vgg") == "2.00 (1.00)"
    )
    assert cell(apart, "sinsemi + energy", "SIFID, pub") == "2.4 ± 0.9 (1.00)"
    assert cell(found, "sinsemi", "IoU, published") == "0.82 ± 0.26" and cell(found, "sinsemi", "paper's protocol") == "0.80 ± 0.25"
    assert cell(found, "sinsemi", "defect images") == "0.60 [0.50, 0.70]" and cell(found, "sinsemi", "the same") == "0.50 [0.40, 0.60]"
    assert cell(found, "nothing (predicts no defect)", "paper's protocol") == "0.50 ± 0.50"
    assert cell(found, "variations of the real pair", "IoU, published") == "0.74 ± 0.41"
    assert [row[:5] for row in steps.rows] == [
        ["sinsemi", "10", "guidance.strength 1", "2.5 (1.04)", "0.7 (0.87)"],
        ["sinsemi", "20", "guidance.strength 1", None, None],
    ]
    assert [row[:4] for row in guidance.rows] == [
        ["sinsemi", "0", "2.6 (1.08)", "1.0 (1.25)"],
        ["sinsemi", "1", "2.4 (1.00)", "0.8 (1.00)"],
    ]
    assert any("vgg" in name for name in guidance.columns), "a score that guidance does not optimise stands beside the one it does"


def test_published_methods_that_are_missing_have_their_figures_alone(compared: Any) -> None:
    report = compared([SINSEMI], [quality()], [segmentation()])
    for title, column in (
        (tables.COUNTS, "ours"),
        (tables.DISTANCES, "LPIPS squeeze, ours"),
        (tables.SEGMENTATION, "protocol"),
    ):
        table = report.tables[title]
        assert cell(table, "GPDM", column) == "not installed" and cell(table, "SinSEMI + energy", column) == "no such variant"
        assert [row[0] for row in table.rows].count("SinSEMI") == 0, "what is installed has one row"
        assert all(len(row) == len(table.columns) for row in table.rows)
    assert cell(report.tables[tables.DISTANCES], "GPDM", "SIFID, pub") == "2.1 (0.88)"
    assert cell(report.tables[tables.SEGMENTATION], "GPNN", "IoU, published") == "0.74"


def test_what_was_left_out_is_left_out(compared: Any) -> None:
    bare = {name: value for name, value in quality().items() if name in ("lpips_squeeze", "defects")}
    like = bare | {"sifid_nsfwjs": distance(0.01, 0.009)}
    report = compared([SINSEMI, LOOM], [like, like], [segmentation(), segmentation()], GUIDANCE, [bare, bare])
    apart = report.tables[tables.DISTANCES]
    assert "SIFID of another network, ours" in apart.columns and "SIFID, ours" not in apart.columns
    notes = " ".join(report.notes)
    assert "SIFID needs weights" in notes and "No LPIPS trunk but squeeze" in notes
    genuine = quality(sifid=distance(0.024, 0.024))
    told = compared([SINSEMI], [genuine], [segmentation()])
    assert cell(told.tables[tables.DISTANCES], "sinsemi", "SIFID, ours") == "2.40 ± 0.60 (1.00)"
    assert "SIFID needs weights" not in " ".join(told.notes)


def test_notes_say_what_cannot_be_had_again(compared: Any) -> None:
    notes = " ".join(compared([SINSEMI], [quality()], [segmentation()], GUIDANCE, [quality(), quality()]).notes)
    for wanted in (
        "SIFID of Table 2 cannot",
        "Table 1 cannot",
        "0.50 ± 0.50",
        "0.74 ± 0.42",
        "only 21",
        "by construction",
        "not available",
    ):
        assert wanted in notes


def test_metrics_are_a_comparison_of_methods(compared: Any) -> None:
    report = compared([SINSEMI, LOOM], [quality(), quality(0.02)], [segmentation(0.8), segmentation(0.6)])
    metrics, roles = report.metrics, {name: group["iou_defect"].role for name, group in report.described.items()}
    assert roles == {"sinsemi": "headline", "loom": "headline", "baseline": "control", "nothing": "control"}
    assert report.described["loom"]["false_alarm_rate_moved"].better == "down" and metrics["loom"]["iou_ci"] == [0.5, pytest.approx(0.7)]
    assert metrics["sinsemi"]["iou_defect"] == pytest.approx(0.6) and metrics["loom"]["iou"] == 0.6
    assert metrics["loom"]["lpips_squeeze_ratio"] == pytest.approx(0.02 / 0.0084)
    assert metrics["nothing"]["iou"] == 0.5 and metrics["baseline"]["iou"] == 0.7


def test_places_and_noise_stand_beside_what_they_flatter(compared: Any) -> None:
    """An older report of quality.evaluate lacks them: its cells are empty, and nothing is said of them where all do."""
    report = compared([SINSEMI, LOOM], [quality(**NEW), quality()], [segmentation(), segmentation()])
    counts, apart = (report.tables[title] for title in (tables.COUNTS, tables.DISTANCES))
    assert (
        cell(counts, "sinsemi", "at the reference's place") == "50 % [40, 60] (4 %)" and cell(counts, "loom", "reference's place") is None
    )
    assert cell(apart, "sinsemi", "noise") == "1.21 [1.19, 1.23]" and cell(apart, "loom", "noise") is None
    assert all(len(row) == len(table.columns) for table in (counts, apart) for row in table.rows)
    assert report.metrics["sinsemi"]["same_place"] == 0.5 and report.metrics["sinsemi"]["noise_ratio"] == 1.21
    assert "same_place" not in report.metrics["loom"] and report.metrics["loom"]["copy_share"] == 0
    old = compared([LOOM], [quality()], [segmentation()])
    for words in ("At the reference's place", "Noise: "):
        assert any(note.startswith(words) for note in report.notes) and not any(note.startswith(words) for note in old.notes)


def test_verdicts_come_from_the_reports(compared: Any) -> None:
    """What they rest on is read: how many images, the paired difference to the baseline, the sources."""
    gap = {"difference": {"iou": -0.1, "iou_ci": [-0.15, -0.05]}}
    measured = quality(0.0105, images=100, sifid=distance(0.024, 0.024))
    found = {
        sources: compared([SINSEMI], [measured], [{"sources": sources, **gap, **segmentation()}], GUIDANCE[:1], [measured])
        for sources in (2, 6)
    }
    told = {
        sources: {claim: (verdict, why) for method, claim, _, _, verdict, why in report.tables["Verdicts"].rows if method == "sinsemi"}
        for sources, report in found.items()
    }
    order = "Table 3, IoU against the baseline"
    assert told[6][order] == ("not reproduced", "ours is 0.10 below our baseline [-0.15, -0.05]; published 0.08 above")
    assert told[2][order] == ("not comparable", "the test images come from 2 sources, and fewer than 6 show nothing about others")
    assert told[6]["Table 2, LPIPS squeeze"][0] == "reproduced" and told[6]["Table 2, SIFID"][0] == "reproduced"
    assert "of 100" not in told[6]["Table 1, defects an image"][1] and told[6]["Table 1, defects an image"][0] == "reproduced"
    assert found[6].notes[0].startswith("Of 31 published figures, reproduced: 5, not reproduced: 1, not comparable: 25.")


def test_defects_are_judged_in_some_images_only(compared: Any) -> None:
    judged = {"count": 0.9, "count_ci": [0.8, 1.0], "judged_share": 0.1}
    report = compared([SINSEMI], [quality(images=100, defects=judged)], [segmentation()])
    (row,) = [row for row in report.tables["Verdicts"].rows if row[:2] == ["sinsemi", "Table 1, defects an image"]]
    assert row[4] == "not comparable" and "ours is of 10" in row[5]


def test_few_sources_give_no_verdict_and_no_intervals(compared: Any) -> None:
    """Two methods that differ by far on flips of two images: a page must not call either better."""
    few, enough = (
        compared([SINSEMI, LOOM], [quality(), quality()], [{"sources": sources, **segmentation(iou)} for iou in (0.95, 0.4)])
        for sources in (2, 6)
    )
    assert few.verdict.startswith("No verdict: the test images come from 2 sources") and enough.verdict == ""
    said = {name: headline(report.described) for name, report in (("few", few), ("enough", enough))}
    assert said["enough"] is not None and "better" in said["enough"].verdict()
    assert said["few"] is not None and said["few"].verdict() == said["few"].leaning() == ""
    assert few.metrics["loom"]["iou_defect"] == enough.metrics["loom"]["iou_defect"]


def test_reports_of_something_else_are_refused(compared: Any) -> None:
    with pytest.raises(DataError, match=r"no scores of quality\.evaluate"):
        compared([SINSEMI], [segmentation()], [segmentation()])
    with pytest.raises(DataError, match="has no 'baseline'"):
        compared([SINSEMI], [quality()], [{"model": predictor(0.5, 0.1)}])
    with pytest.raises(DataError, match="score 'baseline' differently"):
        compared([SINSEMI, LOOM], [quality(), quality()], [segmentation(), segmentation(baseline=0.6)])


def test_lists_of_other_lengths_are_refused_while_planning(store: Any, run_task: RunTask) -> None:
    from fabloom.pipeline import Pipeline
    from fabloom.planning.plan import make_plan
    from fabloom.registry import Origin, Registry

    registry = Registry()
    for method in (Given, Leaderboard):
        registry._add_method(method, Origin("test", "test", "1"))
    lists = {"samples": ["images"], "quality": ["report"], "segmentation": ["report"]}
    steps = {
        "images": {"task": "given.images"},
        "report": {"task": "given.report", "params": {"metrics": {}}},
        "board": {"task": "leaderboard.compare", "inputs": {"reference": "images", **lists}, "params": {"entries": [SINSEMI, LOOM]}},
    }
    with pytest.raises(PipelineError, match=r"steps\.board\.inputs\.samples: lists 1 steps, but params\.entries names 2"):
        make_plan(Pipeline.parse({"name": "p", "steps": steps}), registry, store)


def test_samples_stand_beside_the_reference_in_its_contrast(run_task: RunTask) -> None:
    reference = run_task(Given, "images")
    others = [run_task(Given, "images", {"level": 70}), run_task(Given, "images", {"level": 60, "channels": 3})]
    sheet = sample_panel(reference, others, 2)  # type: ignore[arg-type]
    assert sheet.shape == (2 * 12 + 4, 3 * 12 + 2 * 4, 3)
    assert (sheet[:12, :12] == sheet[16:, :12]).all(), "every row starts with the real image"
    assert sheet[0, 0, 0] == 0 and sheet[5, 5, 0] == 255, "the real image fills the range"
    assert sheet[0, 16, 0] == 128 and sheet[16, 16, 0] == 0, "others are shown in the same range"
    assert (sheet[:, 12:16] == 255).all()


def test_location_maps_show_where_the_labels_are(compared: Any) -> None:
    report = compared([SINSEMI], [quality()], [segmentation()])
    title, maps = next((t, p) for t, p in report.pictures.items() if t.startswith("Where the defects are"))
    assert "real 50%, sinsemi 50%" in title and maps.shape == (12, 28, 3)
    bright = maps.astype(int).sum(-1)
    assert bright[4, 4] > 600 > 50 > bright[4, 8] and bright[4, 16 + 2] > 600 > 50 > bright[4, 16 + 5]


def test_published_figures_are_those_of_the_paper() -> None:
    """Against the paper's own arithmetic: its ratios to the pair, and the row that two tables share."""
    energy = published.find("sinsemi", "energy")
    assert energy is not None and energy.sifid is not None and energy.lpips is not None
    assert (energy.sifid.mean, energy.lpips.mean) == (published.PAIR_SIFID, published.PAIR_LPIPS)
    for (method, ablation), settings in published.ABLATIONS.items():
        for value, figures in settings.items():
            found = published.setting(method, ablation, value)
            assert (
                found is not None
                and found.sifid is not None
                and found.lpips is not None
                and (found.sifid.mean, found.lpips.mean) == figures
            )
    plain = published.find("sinsemi")
    assert plain is not None and plain.sifid is not None and plain.lpips is not None
    assert published.ABLATIONS["sinsemi", "guidance"]["0"] == (plain.sifid.mean, plain.lpips.mean)
    assert published.ABLATIONS["sinsemi", "guidance"]["1"] == published.ABLATIONS["sinsemi", "steps"]["300"] == (2.4, 0.8)
    assert published.setting("sinsemi", "steps", "7") is None and published.find("sinsemi", "other") is None
    assert len({(row.method, row.variant) for row in published.ROWS}) == len(published.ROWS) == 9


def test_a_map_of_defects_takes_classes_as_one_and_nothing_unsure() -> None:
    masks = np.zeros((2, 6, 6), np.uint8)
    masks[0, 1, 1], masks[1, 4, 4] = 1, 1
    several = np.where(masks > 0, np.array([2, 3], np.uint8)[:, None, None], masks)
    several[:, 0] = 255

    def peaks(drawn: np.ndarray) -> dict[str, float]:
        images = write_artifact(
            MemoryStore(), lambda ctx: ImageSet.write(ctx, np.zeros((2, 1, 6, 6), np.uint8), masks=drawn, class_names=list("abcd"))
        )
        assert isinstance(images, ImageSet)
        return locations({"set": images})[1]

    assert peaks(several) == peaks(masks) == {"set": 0.5}
