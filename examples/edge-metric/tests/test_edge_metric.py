"""The contract, the formula against known spectra, and controls that must score worse."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from fabloom_edge_metric.method import EdgeRoughness
from fabloom_edge_metric.spectrum import band_edges, distance, spectrum

from fabloom import Artifact, Context, DataError, ImageSet, Method, Params, Report, task
from fabloom.testing import MemoryStore, MethodConformance, run_task, tiny_images

PERIOD, SIZE = 18, 144


def reference_pair(ctx: Context) -> ImageSet:
    """One image with a defect and one without, of the size of the tiny images."""
    lines = np.where(np.arange(32) % 8 < 4, 160, 90)
    images = np.rint(lines + np.random.default_rng(7).normal(0, 4, (2, 1, 32, 32))).astype(np.uint8)
    images[1, 0, 10:13, 4:8] = 160
    return ImageSet.write(ctx, images, domain=np.array([0, 1], np.int8))


class TestContract(MethodConformance):
    method = EdgeRoughness
    params: ClassVar[dict[str, Any]] = {"score": {"bands": 4}}
    inputs: ClassVar[dict[str, Any]] = {"score": {"images": tiny_images, "reference": reference_pair}}


def lines(roughness: float, seed: int, noise: float = 0.0, rows: int = SIZE, shift: float = 0.0) -> np.ndarray:
    """A grating whose edges are displaced by white noise of `roughness` pixels, float64 [rows,SIZE]; one edge each half period."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :SIZE].astype(float)
    edge = (x - shift) // (PERIOD / 2)
    moved = np.take_along_axis(draw.normal(0, roughness, (rows, 1 + int(edge.max() - edge.min()))), (edge - edge.min()).astype(int), 1)
    return 100 + 40 * np.cos(2 * np.pi * (x - shift - moved) / PERIOD) + draw.normal(0, noise, y.shape)


@pytest.mark.parametrize(("rows", "bands"), [(32, 4), (96, 8), (96, 12), (16, 8), (17, 2), (1024, 64)])
def test_bands_cover_every_frequency_once(rows: int, bands: int) -> None:
    edges = band_edges(rows, bands)
    assert edges[0] == 1 and edges[-1] == rows // 2 + 1 and len(edges) == bands + 1 and (np.diff(edges) > 0).all()


def test_the_spectrum_is_that_of_the_edges() -> None:
    # white displacements of variance s^2 have the density s^2 at every frequency
    found = np.mean([spectrum(lines(0.2, seed), 6) for seed in range(6)], axis=0)
    np.testing.assert_allclose(found / 0.2**2, 1, atol=0.25)
    twice = np.mean([spectrum(lines(0.4, seed), 6) for seed in range(6)], axis=0)
    np.testing.assert_allclose(twice / found, 4, rtol=0.05)


def test_a_defect_on_one_line_hardly_moves_it() -> None:
    plain = lines(0.2, 0)
    defect = plain.copy()
    defect[60:90, 54:72] = 60
    other = lines(0.2, 1)
    assert distance(spectrum(defect, 6), spectrum(plain, 6)) < distance(spectrum(other, 6), spectrum(plain, 6))


def test_distances_in_decibels() -> None:
    flat = np.ones(5)
    assert distance(flat, flat) == 0
    assert distance(10 * flat, flat) == pytest.approx(10) == distance(flat, 10 * flat)
    np.testing.assert_allclose(distance(np.array([flat, 100 * flat]), flat), [0, 20])


class Which(Params):
    which: str


class Sets(Method):
    """Images as they are wanted here."""

    name = "sets"

    @task(version=1)
    def make(self, ctx: Context, params: Which) -> ImageSet:
        draw = np.random.default_rng(5)
        real, noise = [lines(0.2, s, 1.0) for s in (1, 2)], [draw.normal(100, 28, (SIZE, SIZE)) for _ in range(2)]
        given = {
            "pair": [lines(0.2, 3, 1.0), lines(0.2, 4, 1.0)],
            "good": real,
            "worse": [lines(0.0, 1, 1.0), lines(0.8, 2, 1.0), *noise],
            "shifted": [np.roll(real[0], 5, 1), real[0]],
            "small": [lines(0.2, 1, rows=20)],
        }[params.which]
        pixels = np.clip(np.rint(np.stack(given)), 0, 255).astype(np.uint8)[:, None]
        return ImageSet.write(ctx, pixels, domain=np.array([0, 1], np.int8) if params.which == "pair" else None)


def make(store: MemoryStore, which: str) -> Artifact:
    return run_task(store, Sets, "make", {"which": which})


@pytest.fixture
def score(fabloom_memory_store: MemoryStore) -> Any:
    def run(which: str, reference: str = "pair", **params: Any) -> Report:
        made = {port: make(fabloom_memory_store, name) for port, name in (("images", which), ("reference", reference))}
        report = run_task(fabloom_memory_store, EdgeRoughness, "score", params, inputs=made)
        assert isinstance(report, Report)
        return report

    return run


def test_good_images_lie_at_the_pair_and_bad_ones_beyond(score: Any) -> None:
    good, worse = score("good"), score("worse")
    pair = good.metrics["edge_roughness"]["pair"]
    assert good.array("values")[...] == pytest.approx(pair, rel=0.6)
    straight, rough, *noise = worse.array("values")[...]
    assert min(straight, rough) > 2 * pair and min(noise) > 5 * pair
    assert worse.metrics["edge_roughness"]["anchors"]["noise"] == pytest.approx(np.mean(noise), rel=0.1)


def test_a_shift_is_no_roughness(score: Any) -> None:
    moved, still = score("shifted").array("values")[...]
    assert moved == pytest.approx(still, abs=0.1 * still)


@pytest.mark.parametrize(
    ("reference", "params", "told"),
    [
        ("small", {"bands": 32, "reference_row": 0}, "20 rows have 10 frequencies, fewer than 32 bands; give fewer `bands`"),
        ("pair", {}, "images are 20 x 144 but the reference is 144 x 144"),
        ("small", {"reference_row": 3}, "row 3 is not in set"),
    ],
)
def test_what_cannot_be_compared_is_refused(score: Any, reference: str, params: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        score("small", reference, **params)
