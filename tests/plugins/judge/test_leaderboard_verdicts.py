"""The verdicts on the paper's figures: each rule from both sides, and no verdict where nothing can be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fabloom.plugins.judge.leaderboard import published
from fabloom.plugins.judge.leaderboard.params import Entry, Setting
from fabloom.plugins.judge.leaderboard.scores import Distance, Estimate, Quality, Segmentation
from fabloom.plugins.judge.leaderboard.tables import AblationRow, Row
from fabloom.plugins.judge.leaderboard.verdicts import (
    COLUMNS,
    FEWEST_IMAGES,
    NOT_COMPARABLE,
    NOT_REPRODUCED,
    REPRODUCED,
    Claim,
    summary,
    table,
    verdicts,
)

PAIR = 0.84
"""LPIPS of the paper's reference pair as it is measured here."""

LPIPS, SIFID, COUNT, IOU = "Table 2, LPIPS squeeze", "Table 2, SIFID", "Table 1, defects an image", "Table 3, IoU against the baseline"


def apart(ratio: float, half: float = 0.03, sd: float = 0.2, pair: float = PAIR) -> Distance:
    """A distance of this ratio to the pair's, give or take `half`; `sd` is of the ratio over images."""
    return Distance(Estimate(ratio * pair, sd=sd * pair), Estimate(ratio, ratio - half, ratio + half), pair)


def scored(lpips: Distance | None = None, **more: Any) -> Quality:
    """Quality of 200 images that agrees with the row 'SinSEMI'."""
    known: dict[str, Any] = {"count": Estimate(0.78, 0.7, 0.86), "sifid": apart(1.1, pair=2.3), "images": 200, "judged": 200}
    return Quality(lpips={"squeeze": lpips or apart(1.22)}, **(known | more))


def segmented(lead: float = 0.1, half: float = 0.04, **more: Any) -> Segmentation:
    """A segmenter that is above the baseline by `lead`, give or take `half`."""
    return Segmentation(paper=Estimate(0.8, sd=0.2), lead=Estimate(lead, lead - half, lead + half), **more)


def claims(quality: Quality, segmenter: Segmentation | None = None, method: str = "sinsemi", variant: str = "") -> dict[str, Claim]:
    """What is said of a method, by claim."""
    entry = Entry(method=method, variant=variant)
    found = verdicts([Row(entry, quality, segmenter or segmented())], [])
    return {claim.claim: claim for claim in found if claim.method == entry.title}


def lpips_of(lpips: Distance, method: str = "sinsemi", **more: Any) -> Claim:
    return claims(scored(lpips, **more), method=method)[LPIPS]


def test_every_known_figure_has_a_row_and_no_other() -> None:
    found = verdicts([Row(Entry(method="sinsemi"), scored(), segmented()), Row(Entry(method="loom"), scored(), segmented())], [])
    known = sum(figure is not None for row in published.ROWS for figure in (row.count, row.sifid, row.lpips, row.iou))
    assert len(found) == known and not any(claim.method == "loom" for claim in found)
    assert {claim.method for claim in found if claim.claim == COUNT} == {"sinsemi", "SinSEMI + energy"}, "of others no count is known"
    laid = table(found)
    assert laid.columns == COLUMNS and all(len(row) == len(COLUMNS) for row in laid.rows)
    assert laid.rows[0][:4] == ["sinsemi", COUNT, "0.8", "0.78 [0.70, 0.86]"]
    assert claims(scored())[IOU].published == "0.82 ± 0.26 (+0.08)" and claims(scored())[IOU].ours == "0.80 ± 0.20 (+0.10)"


def test_all_that_agree_are_reproduced_and_a_stranger_is_not() -> None:
    """The control: the same scores under each rule, far off, are not reproduced once."""
    assert {claim.verdict for claim in claims(scored()).values()} == {REPRODUCED}
    off = claims(scored(apart(4.0), count=Estimate(3.0, 2.9, 3.1), sifid=apart(5.0, pair=2.3)), segmented(-0.3))
    assert len(off) == 4 and {claim.verdict for claim in off.values()} == {NOT_REPRODUCED}


def test_what_is_not_here_is_not_comparable() -> None:
    found = verdicts([Row(Entry(method="sinsemi"), scored(), segmented())], [])
    told = {(claim.method, claim.verdict, claim.why) for claim in found if claim.method in ("GPDM", "SinSEMI + energy")}
    assert told == {("GPDM", NOT_COMPARABLE, "not installed"), ("SinSEMI + energy", NOT_COMPARABLE, "no such variant")}


def test_a_ratio_is_reproduced_where_the_intervals_meet() -> None:
    """Published 1.0 ± 0.3 of 1000 images over a pair of 0.8, all of one digit: 1.10 to 1.42."""
    assert lpips_of(apart(1.08)).verdict == lpips_of(apart(1.44)).verdict == REPRODUCED
    assert lpips_of(apart(1.06)).verdict != REPRODUCED and lpips_of(apart(1.46)).verdict != REPRODUCED


def test_a_miss_within_the_spread_over_images_is_not_told_apart() -> None:
    """It may be the training, of which each side has one; and beyond both spreads the reason says how far, and whither."""
    near, low, high = lpips_of(apart(1.0)), lpips_of(apart(0.8)), lpips_of(apart(1.7))
    assert near.verdict == NOT_COMPARABLE and "0.25 below the published 1.25" in near.why and "spread over images (0.37)" in near.why
    assert low.verdict == high.verdict == NOT_REPRODUCED
    assert "0.45 below the published 1.25" in low.why and "0.45 above the published 1.25" in high.why


def test_where_no_deviation_is_printed_ours_is_the_spread() -> None:
    """SinGAN, 1.6 over 0.8 without one."""
    assert lpips_of(apart(1.5, sd=0.6), "singan").verdict == NOT_COMPARABLE
    assert lpips_of(apart(1.5, sd=0.1), "singan").verdict == NOT_REPRODUCED


def test_images_that_scatter_more_do_not_reproduce_more() -> None:
    """The spread over images is no error of the mean."""
    assert lpips_of(apart(1.7, sd=0.1)).verdict == NOT_REPRODUCED and lpips_of(apart(1.7, sd=2.0)).verdict == NOT_COMPARABLE


def test_an_interval_that_agrees_with_anything_shows_nothing() -> None:
    wide, far = lpips_of(apart(1.2, half=0.4)), lpips_of(apart(3.0, half=0.4))
    assert wide.verdict == NOT_COMPARABLE and "more images" in wide.why
    assert far.verdict == NOT_REPRODUCED, "a wide interval that misses has shown something"
    few, enough = (lpips_of(apart(3.0), images=number) for number in (FEWEST_IMAGES - 1, FEWEST_IMAGES))
    assert few.verdict == NOT_COMPARABLE and "fewer than 12 images" in few.why and enough.verdict == NOT_REPRODUCED
    none = lpips_of(replace(apart(1.2), ratio=Estimate(1.2)))
    assert none.verdict == NOT_COMPARABLE and none.why == "ours has no interval"


def test_sifid_needs_the_network_of_the_paper() -> None:
    other = claims(scored(sifid=Distance(), sifid_like=apart(1.1)))[SIFID]
    nothing = claims(scored(sifid=Distance()))[SIFID]
    assert other.verdict == nothing.verdict == NOT_COMPARABLE
    assert "another network" in other.why and "not at hand" in nothing.why and nothing.ours is None
    assert "layer is not known" in claims(scored())[SIFID].why


@pytest.mark.parametrize("pair", [0.74, 1.08, None])
def test_other_images_than_the_papers_have_no_verdict(pair: float | None) -> None:
    """On images of one's own the published figures say nothing, whatever the scores; without LPIPS of the pair nobody knows."""
    measured = scored(apart(4.0, pair=pair)) if pair else scored(count=Estimate(3.0, 2.9, 3.1), sifid=Distance())
    found = claims(measured if pair else replace(measured, lpips={}))
    assert len(found) == 4 and {claim.verdict for claim in found.values()} == {NOT_COMPARABLE}
    assert all((f"other images: LPIPS squeeze of the pair is {pair:.2f}" if pair else "is not known") in c.why for c in found.values())


def test_a_count_is_reproduced_within_its_interval_and_rounding() -> None:
    """Published 0.8: 0.75 to 0.85."""

    def counted(value: float, half: float, **more: Any) -> Claim:
        return claims(scored(count=Estimate(value, value - half, value + half), **more))[COUNT]

    assert counted(0.72, 0.04).verdict == counted(0.88, 0.04).verdict == REPRODUCED
    low, high = counted(0.70, 0.04), counted(0.92, 0.04)
    assert low.verdict == high.verdict == NOT_REPRODUCED
    assert "0.10 below the published 0.80" in low.why and "0.12 above" in high.why and "no code for the count is published" in low.why
    assert counted(0.8, 0.3).verdict == NOT_COMPARABLE and counted(0.0, 0.0, judged=6).verdict == NOT_COMPARABLE


def test_counts_that_all_agree_have_an_interval_still() -> None:
    """One defect in each of 20 images: with 0.8 an image that is no wonder (1 in 87); in each of 200 it is one, and so is none."""
    few, many, none = (
        claims(scored(count=Estimate(value, value, value), judged=images))[COUNT] for value, images in ((1, 20), (1, 200), (0, 200))
    )
    assert few.verdict == REPRODUCED and many.verdict == none.verdict == NOT_REPRODUCED
    assert "ours [0.83, 1.17]" in few.why and "ours [0.00, 0.02]" in none.why


def test_of_iou_the_side_of_the_baseline_counts() -> None:
    """SinSEMI is above the published baseline, SinGAN below."""
    sides = {
        (method, lead): claims(scored(), segmented(lead), method)[IOU] for method in ("sinsemi", "singan") for lead in (0.1, -0.1, 0.01)
    }
    assert sides["sinsemi", 0.1].verdict == sides["singan", -0.1].verdict == REPRODUCED
    assert sides["sinsemi", -0.1].verdict == sides["singan", 0.1].verdict == NOT_REPRODUCED
    assert "0.10 below our baseline [-0.14, -0.06]; published 0.08 above" in sides["sinsemi", -0.1].why
    assert sides["sinsemi", 0.01].verdict == sides["singan", 0.01].verdict == NOT_COMPARABLE
    assert "not told apart" in sides["sinsemi", 0.01].why


def test_no_order_is_claimed_within_the_rounding() -> None:
    """SinDDM and GPNN are printed with the baseline's own 0.74."""
    for method in ("sinddm", "gpnn"):
        for lead in (0.3, -0.3):
            found = claims(scored(), segmented(lead), method)[IOU]
            assert found.verdict == NOT_COMPARABLE and "claims no order" in found.why


def test_too_few_sources_give_no_order() -> None:
    few, enough, unsaid = (claims(scored(), segmented(-0.3, sources=number))[IOU] for number in (2, 6, None))
    assert few.verdict == NOT_COMPARABLE and few.why.startswith("the test images come from 2 sources")
    assert enough.verdict == unsaid.verdict == NOT_REPRODUCED
    bare = claims(scored(), replace(segmented(), lead=Estimate(0.3)))[IOU]
    assert bare.verdict == NOT_COMPARABLE and "no interval" in bare.why


def test_settings_that_were_measured_have_claims() -> None:
    def said(ablation: str, value: str, beside: str, lpips: Distance) -> list[Claim]:
        setting = Setting(method="sinsemi", ablation=ablation, value=value, beside=beside)
        return [claim for claim in verdicts([], [AblationRow(setting, scored(lpips))]) if claim.method.startswith("sinsemi,")]

    sifid, lpips = said("steps", "10", "guidance.strength 1", apart(0.9))
    assert (sifid.method, sifid.claim, lpips.claim) == ("sinsemi, steps 10", "Table 4, SIFID", "Table 4, LPIPS squeeze")
    assert lpips.verdict == REPRODUCED and lpips.published == "0.7 (0.87)"
    assert said("steps", "10", "guidance.strength 1", apart(2.0))[1].verdict == NOT_REPRODUCED
    assert said("guidance", "0.1", "", apart(1.1))[1].claim == "Table 5, LPIPS squeeze"
    for ablation, value, beside in (("steps", "10", ""), ("guidance", "1", "steps 10")):
        other = said(ablation, value, beside, apart(0.9))
        assert {claim.verdict for claim in other} == {NOT_COMPARABLE} and other[0].why.startswith("another setting"), ablation
    assert said("steps", "20", "guidance.strength 1", apart(0.9)) == [], "the paper has no such setting"


def test_the_summary_counts_the_verdicts() -> None:
    found = [Claim("", "", "", None, verdict, "") for verdict in (REPRODUCED, NOT_REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE)]
    assert summary(found).startswith("Of 4 published figures, reproduced: 1, not reproduced: 2, not comparable: 1.")
