"""Scores that cannot be flattered: trivial generators, each caught by the score named for it, and honest sets that pass them all.

The table of docs/methods/quality.md is held against what is found here: FABLOOM_WRITE_DOCS=1 writes it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from fabloom.kinds import ImageSet, Report
from fabloom.plugins.blocks import spectra, weights
from fabloom.plugins.judge.quality import fingerprints, places, saying
from fabloom.plugins.judge.quality.denoising import Denoised
from fabloom.plugins.judge.quality.evaluation import evaluate
from fabloom.plugins.judge.quality.params import EvaluateParams
from fabloom.plugins.judge.quality.scores import Summary
from fabloom.testing import MemoryStore, write_artifact

SIDE, PERIOD, MANY, NOISE = 72, 12, 10, 1.5
HOME = (36, 30)
PAGE = Path(__file__).parents[3] / "docs" / "methods" / "quality.md"
BEGIN, END = "<!-- generators -->", "<!-- generators: end -->"

Image = np.ndarray


def scene(*defects: tuple[tuple[float, float], float, float]) -> Image:
    """Lines, and dark discs (centre, radius, depth) across the space between two, without noise [H,W]."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    grey = 100 + 15 * np.cos(2 * np.pi * x / PERIOD)
    for (down, right), radius, depth in defects:
        grey = grey - depth / (1 + np.exp((np.hypot(y - down, x - right) - radius) * 2))
    return grey


def acquired(grey: Image, seed: int, noise: float = NOISE) -> Image:
    """An image [1,H,W] of a scene: fresh noise, whole grey levels."""
    return np.rint(grey + np.random.default_rng(seed).normal(0, noise, grey.shape)).clip(0, 255).astype(np.uint8)[None]


OWN = (HOME, 6.0, 25.0)
REFERENCE, CLEAN = acquired(scene(OWN), 0), acquired(scene(), 1)
COPY = REFERENCE[0].astype(float)
RESIDUAL = scene(OWN) - scene()


def spots(seed: int) -> list[tuple[int, int]]:
    """Places in the spaces between lines, anywhere along them."""
    draw = np.random.default_rng(seed)
    return [(int(draw.integers(9, SIDE - 9)), 18 + PERIOD * int(draw.integers(4))) for _ in range(MANY)]


def fresh(seed: int, where: Sequence[tuple[int, int]]) -> list[Image]:
    """Images of other defects, each with noise of its own."""
    draw = np.random.default_rng(seed)
    return [acquired(scene((at, draw.uniform(5, 7), draw.uniform(18, 32))), 1000 * seed + row) for row, at in enumerate(where)]


def memoriser(seed: int) -> list[Image]:
    """The training image, moved by whole periods, and mirrored."""
    draw = np.random.default_rng(seed)
    ways = [(PERIOD * int(draw.integers(6)), int(draw.choice([1, -1])), int(draw.choice([1, -1]))) for _ in range(MANY)]
    return [np.roll(COPY, right, 1)[::down, ::across] for right, down, across in ways]


@cache
def generators() -> dict[str, list[Image]]:
    """What is judged: honest sets first."""
    half = ndimage.shift((COPY - 100) * 1.1 + 103, (0.5, 0.5), mode="wrap")
    honest = fresh(2, spots(3))
    moved = [np.roll(RESIDUAL, (down - HOME[0], right - HOME[1]), (0, 1)) for down, right in spots(4)]
    return {
        "fresh images of other seeds": honest,
        "copy-paste elsewhere": [acquired(scene() + one, 3000 + row) for row, one in enumerate(moved)],
        "copy with noise": [acquired(COPY, 4000 + row) for row in range(MANY)],
        "copy, brighter, half a pixel off, with noise": [acquired(half, 5000 + row) for row in range(MANY)],
        "memoriser: moved by periods, mirrored": [acquired(one, 0, 0) for one in memoriser(6)],
        "memoriser with noise": [acquired(one, 7000 + row) for row, one in enumerate(memoriser(7))],
        "defect pasted at its place on the clean image": [np.where(np.abs(RESIDUAL) > 1, REFERENCE, CLEAN)] * MANY,
        "defects at its place, fresh otherwise": fresh(8, [HOME] * MANY),
        "fresh images, blurred": [np.rint(ndimage.gaussian_filter(one.astype(float), (0, 1, 1))).astype(np.uint8) for one in honest],
        "clean images alone": [acquired(scene(), 9000 + row) for row in range(MANY)],
    }


HONEST = ("fresh images of other seeds", "copy-paste elsewhere")
NAMED = {
    "copy with noise": "copies of a training image",
    "copy, brighter, half a pixel off, with noise": "copies of a training image",
    "memoriser: moved by periods, mirrored": "copies of a training image",
    "memoriser with noise": "copies of a training image",
    "defect pasted at its place on the clean image": "defects at one place",
    "defects at its place, fresh otherwise": "defects at one place",
    "fresh images, blurred": "noise of other images",
    "clean images alone": "images without a defect",
}
"""Trivial generators, and the score that is there to catch each."""


def judge(images: Sequence[Image], nets: tuple[Any, ...] = (), known: Sequence[Image] = (CLEAN, REFERENCE)) -> Report:
    domain = np.array([0] + [1] * (len(known) - 1), np.int8)
    reference = write_artifact(MemoryStore(), lambda ctx: ImageSet.write(ctx, np.stack(known), domain=domain))
    made = write_artifact(MemoryStore(), lambda ctx: ImageSet.write(ctx, np.stack(images)))
    params = EvaluateParams(nets=nets, resamples=500, reference_row=1)
    found = write_artifact(MemoryStore(), lambda ctx: evaluate(ctx, params, made, reference, []))  # type: ignore[arg-type]
    assert isinstance(found, Report)
    return found


@pytest.fixture(scope="module")
def judged() -> dict[str, Report]:
    """All of them, without any weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load", missing)
        return {name: judge(images) for name, images in generators().items()}


def missing(name: str, *_: Any) -> Any:
    raise weights.MissingWeights(f"no {name} here")


def answers(report: Report) -> dict[str, str]:
    return {row[0]: row[2] for row in report.tables[saying.TRUST].rows}


@pytest.mark.parametrize("name", NAMED)
def test_a_trivial_generator_is_caught_by_the_score_named_for_it(judged: dict[str, Report], name: str) -> None:
    assert answers(judged[name])[NAMED[name]] == "caught", judged[name].verdict


@pytest.mark.parametrize("name", HONEST)
def test_honest_images_pass_all_scores(judged: dict[str, Report], name: str) -> None:
    assert set(answers(judged[name]).values()) == {"passes"} and len(answers(judged[name])) == 4, judged[name].verdict


# the table of the method's page

ACCEPTED = (0.5, 1.5)
"""Ratios to the reference pair at which a distance is called that of a good set."""
VARIED = 2 / 3
"""Share of the deviation of a pixel over fresh images that a varied set has."""
COLUMNS = ("copies of a training image", "images without a defect", "defects at one place", "noise of other images")


def accepted(ratio: float) -> str:
    return "accepted" if ACCEPTED[0] <= ratio <= ACCEPTED[1] else "refused"


def row_of(report: Report, fresh_sd: float) -> dict[str, str]:
    """What every score that needs no weights says of a set."""
    found, said = report.metrics, answers(report)
    varied = found["diversity"]["pixel_sd"] >= VARIED * fresh_sd
    return {
        **{name: said.get(name, "–") for name in COLUMNS},
        "diversity (pixel)": "accepted" if varied else "refused",
        "sliced Wasserstein": accepted(found["sliced_wasserstein"]["ratio"]),
    }


def perceived(report: Report) -> dict[str, str]:
    """What the scores say that need weights, with and without noise."""
    found, (sifid,) = report.metrics, [name for name in report.metrics if name.startswith("sifid")]
    ratios = {"LPIPS": found["lpips_squeeze"], "LPIPS denoised": found["denoised"]["lpips_squeeze"]}
    if sifid == "sifid_nsfwjs":  # the page was written with it; genuine weights may say otherwise
        ratios |= {"SIFID": found[sifid], "SIFID denoised": found["denoised"][sifid]}
    return {name: accepted(one["ratio"]) for name, one in ratios.items()}


def table_of_page() -> dict[str, dict[str, str]]:
    lines = PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    if not lines:
        return {}
    header, _, *body = lines
    _, *columns = (cell.strip() for cell in header.strip("|").split("|"))
    cut = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in body]
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in cut}


def as_page(rows: dict[str, dict[str, str]]) -> str:
    """Markdown; the score that is there for a generator is bold."""
    columns = list(next(iter(rows.values())))
    lines = [f"| generator | {' | '.join(columns)} |", f"|{' --- |' * (len(columns) + 1)}"]
    for name, cells in rows.items():
        told = [f"**{cells[one]}**" if NAMED.get(name) == one else cells[one] for one in columns]
        lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(lines)


def test_the_page_tells_what_every_score_says_of_every_generator(judged: dict[str, Report]) -> None:
    fresh_sd = judged[HONEST[0]].metrics["diversity"]["pixel_sd"]
    found, told = {name: row_of(report, fresh_sd) for name, report in judged.items()}, table_of_page()
    seen = {name: {column: told.get(name, {}).get(column) for column in cells} for name, cells in found.items()}
    assert seen == found and list(told) == list(found), f"write this into {PAGE.name}:\n{as_page(found)}"


def test_the_page_tells_what_networks_say_of_every_generator(weights_dir: Path) -> None:
    found, told = {name: perceived(judge(images[:3], ("squeeze",))) for name, images in generators().items()}, table_of_page()
    seen = {name: {column: told.get(name, {}).get(column) for column in cells} for name, cells in found.items()}
    assert seen == found, f"write this into {PAGE.name}:\n{as_page(found)}"


# copies


def white(seed: int, *shape: int, noise: float = 1.0) -> Image:
    return np.random.default_rng(seed).normal(0, noise, shape)


@pytest.mark.parametrize("fresh_noise", [0.0, 1.0, 2.0, 3.0])
def test_repeated_noise_is_the_correlation_of_the_model(fresh_noise: float) -> None:
    """a s / sqrt(a^2 s^2 + r^2), whatever the gain a, in every turn and at any shift."""
    known = white(0, 2, 64, 64)
    turned = np.roll(fingerprints.turns(known[1]), (5, -11), (1, 2))
    assert len({one.tobytes() for one in turned}) == 8
    made = 0.3 * turned + white(1, 8, 64, 64, noise=0.3 * fresh_noise)
    found = fingerprints.repeats(made, known)
    np.testing.assert_allclose(found.share, 1 / np.hypot(1, fresh_noise), atol=0.05)
    assert (found.which == 1).all() and found.alike(0.2).all()


def test_other_noise_repeats_nothing_and_a_frame_without_noise_neither() -> None:
    known, others = white(0, 2, 64, 64), white(1, 40, 64, 64)
    others[0] = 0
    found = fingerprints.repeats(others, known)
    assert found.best[0] == 0 and not found.alike(0.01).any()
    assert found.best[1:].max() < 0.12 and (found.best[1:] > 1 / 64).all(), "about sqrt(2 ln N / N) and the neighbours"
    assert not fingerprints.repeats(known, np.zeros_like(known)).alike(0.01).any()


def test_what_is_left_of_edges_is_no_fingerprint() -> None:
    """It stands out of the spectrum and is cut: images of one structure do not correlate by it, and a copy still does by its noise."""
    edges = 1.5 * np.cos(2 * np.pi * np.arange(64) / 8)
    known, others = (white(seed, 6, 64, 64) + edges for seed in (0, 1))
    found = fingerprints.repeats(others, known)
    assert found.best.max() < 0.15 and not found.alike(0.05).any()
    assert np.corrcoef(others[0].ravel(), known[0].ravel())[0, 1] > 0.4, "what they do correlate by"
    assert fingerprints.repeats((known + white(2, 6, 64, 64)), known).alike(0.2).all(), "a copy is one still"


def test_a_copy_of_any_image_of_the_set_is_one() -> None:
    """The pair is not all that a generator has learnt from; an image that lies on a clean one is no copy, and said to lie on it."""
    third = acquired(scene(((20, 42), 5, 20)), 77)
    made = [acquired(third[0].astype(float), 60), acquired(scene(OWN), 61), acquired(CLEAN[0].astype(float), 62)]
    found = judge(made, known=(CLEAN, REFERENCE, third)).metrics["copies"]
    assert found["copy_share"] == pytest.approx(1 / 3) and found["on_clean_image_share"] == pytest.approx(1 / 3)
    alone = judge(made[:2]).metrics["copies"]
    assert alone["copy_share"] == alone["on_clean_image_share"] == 0, "the third image is not in the set: nobody can know"


# noise


def test_the_spectrum_of_noise_is_known() -> None:
    """White noise of another deviation has the square of its ratio in each third; a kernel leaves the square of its transform."""
    unit, made = white(0, 96, 96), white(1, 12, 96, 96, noise=1.5)
    for name, ratio in spectra.bands(made, unit).items():
        assert ratio.mean() == pytest.approx(2.25, rel=0.12), name
    kernel = np.outer(*[[0.25, 0.5, 0.25]] * 2)
    blurred = ndimage.convolve(made, kernel[None], mode="wrap")
    turns = np.fft.fftfreq(96)
    passed = np.square(np.outer(*[0.5 + 0.5 * np.cos(2 * np.pi * turns)] * 2))
    radius = np.hypot(turns[:, None], turns)
    for index, found in enumerate((spectra.power(blurred) / spectra.power(made)).mean(0)):
        ring = (radius > index / 6) & (radius <= (index + 1) / 6)
        assert found == pytest.approx(passed[ring].mean(), rel=0.06), spectra.BANDS[index]


def test_a_wave_is_in_its_own_third_and_a_flat_picture_in_none() -> None:
    across = np.arange(60)
    for index, turns in enumerate((0.1, 0.25, 0.45)):
        found = spectra.power(np.cos(2 * np.pi * turns * across)[None] * np.ones((1, 60, 1)))[0]
        assert found[index] > 0.999 * found.sum()
    assert spectra.bands(white(0, 1, 60, 60), np.full((60, 60), 7.0)) == {}


def test_noise_is_called_alike_only_where_the_whole_interval_is() -> None:
    said = {ends: saying.judged(ends, 1.1, 0.25) for ends in ((0.85, 1.3), (0.78, 1.0), (1.2, 1.4), (0.5, 0.7), (1.4, 1.5), (0.5, 1.6))}
    assert list(said.values()) == ["like", "open", "open", "less", "more", "open"]
    assert saying.judged(None, 1.0, 0.25) == "open"


def test_the_noise_that_comes_off_has_the_deviation_of_what_was_put_on() -> None:
    images = np.stack([acquired(scene(OWN), seed, noise) for seed, noise in enumerate((1.0, 2.0, 4.0))])
    taken = Denoised.of(images, 1.0)
    np.testing.assert_allclose(taken.deviations, (1, 2, 4), rtol=0.12)
    left = np.abs(taken.smooth[:, 0] - scene(OWN)).mean((1, 2))
    assert (left < 0.5 * np.abs(images[:, 0] - scene(OWN)).mean((1, 2))).all()


# places


def test_chance_is_the_share_of_the_places_that_are_allowed() -> None:
    """A defect of one pixel in a reference of 6 x 4 pixels: anywhere in the frame, or in the columns of its own phase."""
    reference = np.zeros((20, 30), bool)
    reference[5:11, 10:14] = True
    one = np.ones((1, 1), bool)
    same, overlap, chance, by_chance = places.placed(one, (7, 12), reference, ())
    assert (same, overlap) == (1, pytest.approx(1 / 24)) and (chance, by_chance) == pytest.approx((24 / 600, 1 / 600))
    assert places.placed(one, (7, 3), reference, ())[0] == 0
    lines = ((0.0, 1 / 5),)  # columns 2, 7, 12 and so on: one of six is in the reference
    assert places.placed(one, (0, 2), reference, lines)[2] == pytest.approx(6 / (20 * 6))
    assert places.placed(one, (0, 4), reference, lines)[2] == 0, "between the columns of the reference"
    array = ((0.0, 1 / 5), (1 / 4, 0.0))
    assert places.placed(one, (3, 2), reference, array)[2] == pytest.approx(1 / (5 * 6)), "row 7 alone"
    assert places.placed(reference[5:11, 10:14], (5, 10), reference, ())[:2] == (1, 1)


def test_defects_anywhere_lie_at_one_place_as_often_as_chance_says() -> None:
    draw, reference = np.random.default_rng(0), np.zeros((40, 40), bool)
    reference[10:18, 20:30] = True
    masks = np.zeros((300, 40, 40), bool)
    for mask in masks:
        for _ in range(2):
            top, left = draw.integers(0, 40 - 6, 2)
            mask[top : top + 6, left : left + 6] = True
    flat = np.full((40, 40), 9.0)
    found = places.metrics(places.Places.of(masks, reference, flat), Summary(0, 500, 0.95))
    low, high = found["same_place_above_chance"].interval
    assert low < 0 < high and found["same_place"].value == pytest.approx(found["same_place_chance"].value, rel=0.3)
    masks[:] = reference
    fixed = places.metrics(places.Places.of(masks, reference, flat), Summary(0, 500, 0.95))
    assert fixed["same_place"].value == fixed["overlap"].value == 1 and fixed["same_place_above_chance"].interval[0] > 0.8
    assert fixed["same_place"].interval == (pytest.approx(0.025 ** (1 / 300)), 1)


def test_none_at_the_place_of_a_few_is_not_less_than_chance() -> None:
    def said(many: int, same: float, chance: float) -> str:
        each = np.ones(many)
        found = places.Places(each, same * each, 0 * each, chance * each, 0 * each)
        return saying.against_chance(places.metrics(found, Summary(0, 200, 0.95)))

    assert said(12, 0, 0.02) == "as" and said(400, 0, 0.02) == "less", "of twelve nobody expects one"
    assert said(12, 1, 0.02) == "more" and said(5, 1, 0.02) == "open"


def test_a_share_is_resampled_by_image_and_never_sure_where_all_agree() -> None:
    summary, ones = Summary(3, 2000, 0.95), np.ones(50)
    none = summary.share(np.zeros(50), ones)
    assert none.value == 0 and none.interval == (0, pytest.approx(1 - 0.025 ** (1 / 50)))
    tops = np.arange(50) % 2.0
    low, high = summary.share(tops, ones).interval or (0, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(50), rel=0.15)
    pairs = summary.share(2 * tops, 2 * ones).interval  # two defects an image that agree are one piece of evidence
    assert pairs == (low, high)
    assert summary.share(np.zeros(50), np.zeros(50)).value is None
