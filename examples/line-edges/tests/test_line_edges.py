"""The contract, the kind's checks, and closed forms of edges, widths and roughness."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from fabloom_line_edges import LineEdges
from fabloom_line_edges.method import LineEdgeMetrology
from scipy.special import erf

from fabloom import Context, DataError, ImageSet, Method, Params, Report, task
from fabloom.testing import MemoryStore, MethodConformance, run_task, write_artifact

ROWS, WIDTH, CD, PITCH, LINES, FIRST = 96, 120, 12.3, 27.0, 4, 8.37


def clean_lines(ctx: Context) -> ImageSet:
    """Four noisy images of dark lines."""
    noise = np.random.default_rng(ctx.seed).normal(0, 2, (4, 1, ROWS, WIDTH))
    return ImageSet.write(ctx, np.rint(drawn(straight()) + noise).astype(np.uint8))


class TestContract(MethodConformance):
    method = LineEdgeMetrology
    inputs: ClassVar[dict[str, Any]] = {"measure": {"images": clean_lines}}


def straight() -> np.ndarray:
    """The edges [E,H] of straight lines."""
    left = FIRST + PITCH * np.arange(LINES)
    return np.repeat(np.stack([left, left + CD], 1).reshape(-1, 1), ROWS, 1)


def cosine(amplitude: float, *, both: bool) -> np.ndarray:
    """Cosines of 3 whole periods on every edge, in phase where `both` edges of a line move alike, else opposed."""
    wave = amplitude * np.cos(2 * np.pi * 3 * (np.arange(ROWS) + 0.5) / ROWS)
    sign = np.where(np.arange(2 * LINES) % 2 == 1, 1 if both else -1, 1)
    return straight() + sign[:, None] * wave


def drawn(edges: np.ndarray, blur: float = 1.0, tone: str = "dark") -> np.ndarray:
    """Grey [H,W] of lines with these edges, each an error function of deviation `blur` pixels."""
    x = np.arange(WIDTH)
    steps = (1 + erf((x - edges[:, :, None]) / (blur * np.sqrt(2)))) / 2
    inside = (steps[::2] - steps[1::2]).sum(0)
    return 170 - 100 * inside if tone == "dark" else 70 + 100 * inside


class Edges(Params):
    which: str
    noise: float = 0.0
    tone: str = "dark"


class Drawings(Method):
    """Images of known edges."""

    name = "drawings"

    @task(version=1)
    def make(self, ctx: Context, params: Edges) -> ImageSet:
        bridged = drawn(straight(), tone=params.tone)
        bridged[40:46, 18:38] = bridged.min()
        given = {
            "straight": [drawn(straight(), tone=params.tone)],
            "alike": [drawn(cosine(1.5, both=True))],
            "opposed": [drawn(cosine(1.5, both=False))],
            "bridged": [drawn(straight()), bridged],
            "moved": [drawn(straight()), drawn(straight() - 14)],
            "flat": [np.full((ROWS, WIDTH), 90.0)],
            "horizontal": [drawn(straight())[:, :ROWS].T],
        }[params.which]
        noise = np.random.default_rng(0).normal(0, params.noise, (len(given), *given[0].shape))
        return ImageSet.write(ctx, np.rint(np.stack(given) + noise).astype(np.uint8)[:, None])


@pytest.fixture
def measured(fabloom_memory_store: MemoryStore) -> Any:
    """`measured("alike", gap=8)` gives the edges of those images."""

    def run(which: str, *, noise: float = 0, tone: str = "dark", **params: Any) -> LineEdges:
        images = run_task(fabloom_memory_store, Drawings, "make", {"which": which, "noise": noise, "tone": tone})
        found = run_task(fabloom_memory_store, LineEdgeMetrology, "measure", {"tone": tone, **params}, inputs={"images": images})
        assert isinstance(found, LineEdges)
        return found

    return run


@pytest.fixture
def reported(measured: Any, fabloom_memory_store: MemoryStore) -> Any:
    def run(which: str, pixel_nm: float | None = None, **how: Any) -> Report:
        edges = measured(which, **how)
        report = run_task(fabloom_memory_store, LineEdgeMetrology, "report", {"pixel_nm": pixel_nm}, inputs={"edges": edges})
        assert isinstance(report, Report)
        return report

    return run


# positions


@pytest.mark.parametrize("tone", ["dark", "bright"])
def test_edges_are_found_to_a_fiftieth_of_a_pixel(measured: Any, tone: str) -> None:
    found = measured("straight", tone=tone)
    assert found.edges.shape == (1, 2 * LINES, ROWS) and found.edges.dtype == np.float32
    assert (len(found), found.lines, found.width, found.tone) == (1, LINES, WIDTH, tone)
    np.testing.assert_allclose(found.edges[0], straight(), atol=0.02)
    assert not found.filled[...].any()


def test_wavy_edges_are_followed(measured: Any) -> None:
    for which, both in (("alike", True), ("opposed", False)):
        np.testing.assert_allclose(measured(which).edges[0], cosine(1.5, both=both), atol=0.03)


def test_another_level_moves_both_edges_apart(measured: Any) -> None:
    low, high = (np.diff(measured("straight", level=level).edges[0], axis=0)[::2].mean() for level in (0.3, 0.7))
    assert low < CD < high  # a dark line is wider where it is brighter


def test_a_bridge_is_refused_or_interpolated(measured: Any) -> None:
    with pytest.raises(DataError, match=r"image 1: edge 1 is missing in rows 40 to 45, more than gap=0\. A bridge or a break\?"):
        measured("bridged")
    with pytest.raises(DataError, match="more than gap=5"):
        measured("bridged", gap=5)
    found = measured("bridged", gap=6)
    filled = found.filled[...]
    assert np.argwhere(filled).tolist() == [[1, edge, row] for edge in (1, 2) for row in range(40, 46)]
    np.testing.assert_allclose(found.edges[1], straight(), atol=0.02)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("flat", "image 0 shows no whole vertical line"),
        ("horizontal", "no whole vertical line"),
        ("moved", "image 1 shows 3 whole lines but image 0 shows 4"),
    ],
)
def test_images_without_common_lines_are_refused(measured: Any, which: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        measured(which)


# roughness


def test_width_and_pitch_of_known_lines(reported: Any) -> None:
    found = reported("straight").metrics
    assert found["cd_px"] == pytest.approx(CD, abs=0.02) and found["pitch_px"] == pytest.approx(PITCH, abs=0.01)
    assert found["ler_3sigma_px"] < 0.05 and found["lwr_3sigma_px"] < 0.05 and found["cd_local_3sigma_px"] < 0.05
    assert (found["images"], found["lines"], found["filled_share"]) == (1, LINES, 0)


def test_roughness_of_a_sinusoidal_edge(reported: Any) -> None:
    wanted = 3 * 1.5 / np.sqrt(2)
    alike, opposed = reported("alike").metrics, reported("opposed").metrics
    for found in (alike, opposed):
        assert found["ler_3sigma_px"] == pytest.approx(wanted * np.sqrt(ROWS / (ROWS - 2)), rel=0.01)
    assert alike["lwr_3sigma_px"] < 0.05
    assert opposed["lwr_3sigma_px"] == pytest.approx(2 * wanted * np.sqrt(ROWS / (ROWS - 1)), rel=0.01)


def test_noise_of_independent_edges_is_wider_by_the_square_root_of_two(reported: Any) -> None:
    found = reported("straight", noise=4).metrics
    assert found["ler_3sigma_px"] > 0.1
    assert found["lwr_3sigma_px"] == pytest.approx(np.sqrt(2) * found["ler_3sigma_px"], rel=0.1)


def test_lengths_in_nanometres(reported: Any) -> None:
    pixels, nm = reported("alike").metrics, reported("alike", pixel_nm=2.5).metrics
    for name in ("cd", "pitch", "ler_3sigma", "cd_local_3sigma"):
        assert nm[f"{name}_nm"] == pytest.approx(2.5 * pixels[f"{name}_px"])


def test_the_pictures_show_the_lines(reported: Any) -> None:
    lines, bands = reported("straight").pictures.values()
    assert lines.shape == (4 * ROWS, 4 * WIDTH, 1) and bands.shape == (16 * 2 * LINES, 4 * ROWS, 3)
    assert (lines == 60).mean() == pytest.approx(LINES * CD / WIDTH, abs=0.01)


# the kind


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e.astype(np.float64), "edges must be float32 .*, not float64"),
        (lambda e: e[:, :3], "E even"),
        (lambda e: e[:0], "no axis empty"),
        (lambda e: np.where(e == e.min(), np.nan, e), "image 0, edge 0, row 0 is at nan, outside 0 to 119"),
        (lambda e: e - 9, "edge 0, row 0 is at .*, outside 0 to 119"),
        (lambda e: e[:, ::-1], "image 0, row 0: edge 1 is not to the right of edge 0"),
    ],
)
def test_what_is_no_set_of_edges_is_not_written(fabloom_memory_store: MemoryStore, change: Any, told: str) -> None:
    def write(ctx: Context) -> LineEdges:
        return LineEdges.write(ctx, change(straight()[None].astype(np.float32)), width=WIDTH, tone="dark")

    fabloom_memory_store.kinds["LineEdges"] = LineEdges
    with pytest.raises(DataError, match=told):
        write_artifact(fabloom_memory_store, write)
