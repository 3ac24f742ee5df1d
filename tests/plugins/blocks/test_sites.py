"""Steps between the sites of arrays that are drawn here, and pictures that are moved from site to site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.flows.init.words import structure
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.sites import across, moves_of, steps_of, translated
from fabloom.plugins.blocks.structure import look
from fabloom.plugins.data.contact_hole.method import ContactHole
from fabloom.plugins.data.images.method import Images
from fabloom.plugins.judge.reference_difference.method import ReferenceDifference

Real = NDArray[np.float64]
HEXAGONAL = ((0.0, 16.0), (16 * 0.75**0.5, 8.0))
Y, X = np.mgrid[:80, :96].astype(float)


def array(steps: Any, *, every: int = 1, noise: float = 0.0, start: tuple[float, float] = (5.0, 3.0)) -> Real:
    """Soft holes at the sites of a lattice, those of every n-th row smaller."""
    image = np.full(Y.shape, 200.0)
    for i in range(-12, 13):
        for j in range(-12, 13):
            y, x = np.array(start) + i * np.array(steps[1]) + j * np.array(steps[0])
            image -= (90 if i % every == 0 else 30) * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / 18)
    return image + np.random.default_rng(0).normal(0, noise, Y.shape)


@pytest.mark.parametrize("noise", [0.0, 8.0])
@pytest.mark.parametrize("steps", [HEXAGONAL, ((0.0, 14.5), (14.5, 0.0)), ((0.0, 12.0), (19.0, 3.0)), ((4.0, 15.0), (15.0, -4.0))])
def test_the_two_steps_of_an_array_are_found(steps: Any, noise: float) -> None:
    image = array(steps, noise=noise)
    found = steps_of(image, Lattice.fit(image))
    lengths = sorted(np.hypot(*step) for step in steps)
    assert sorted(np.hypot(*step) for step in found) == pytest.approx(lengths, abs=0.1)
    assert across(*found) > 0.8
    numbers = np.linalg.solve(np.array(steps).T, np.array(found).T)  # each is a whole combination of the true ones
    np.testing.assert_allclose(numbers, numbers.round(), atol=0.02)


def test_a_cell_that_only_looks_alike_is_no_step() -> None:
    image = array(((0.0, 12.0), (13.0, 0.0)), every=2)
    found = steps_of(image, Lattice.fit(image))
    assert sorted(np.hypot(*step) for step in found) == pytest.approx([12, 26], abs=0.2)


def test_lines_have_one_step_and_noise_none() -> None:
    lines = 100 + 40 * np.cos(2 * np.pi * (X + 0.5 * Y) / 13)
    (step,) = steps_of(lines, Lattice.fit(lines))
    assert np.hypot(*step) == pytest.approx(13 / 1.25**0.5, abs=0.05) and step[1] / step[0] == pytest.approx(2, abs=0.02)
    noise = np.random.default_rng(1).normal(0, 10, Y.shape)
    assert steps_of(noise, Lattice.fit(noise)) == ()


def test_a_hexagonal_array_is_told_by_its_pitch() -> None:
    found = look([array(HEXAGONAL, noise=3.0), array(HEXAGONAL, noise=4.0)])
    assert found.period == pytest.approx(16, abs=0.1)  # the rows are 13.86 apart
    assert "an array with a period of 16.0 px: it repeats by (" in structure(found, references=False)[0]


def test_what_is_moved_from_site_to_site_lies_on_itself() -> None:
    image = array(HEXAGONAL)
    moves = moves_of(HEXAGONAL, image.shape)
    assert not moves[0].any() and {(0, 16), (14, 8), (14, -8), (-28, 32)} <= {(int(y), int(x)) for y, x in moves}
    rows = [move for move in moves if move[0]]
    assert len(rows) > 20
    assert max(np.abs(translated(image, move, moves) - image).max() for move in rows) < 0.1 * np.ptp(image)
    assert np.abs(np.roll(image, (14, 8), (0, 1)) - image).max() > 0.5 * np.ptp(image)  # the frame holds no whole number of rows
    spot = np.zeros(image.shape)
    spot[40, 50] = 1
    assert translated(spot, np.array([14, 8]), moves)[54, 58] == 1


def test_variations_of_a_hexagonal_array_keep_it_in_place_and_their_masks(run_task: Any) -> None:
    made = run_task(ContactHole, "simulate", {"count": 12, "size": 64, "array": "hexagonal", "defects": ["missing"]}, seed=1)
    pitch = look([one.mean(0) for one in made.images[:].astype(float)])
    steps = [list(step) for step in pitch.steps]
    varied = run_task(Images, "augment", {"count": 40, "shift_lattice": steps}, seed=2, images=made)
    assert isinstance(varied, ImageSet) and "moved_by" not in varied.attrs and varied.attrs["distinct_images"] > 30
    found = run_task(ReferenceDifference, "label", {"given": "replace", "align": False}, images=varied, reference=made)
    assert found.attrs["off_reference_share"] == 0
    assert (found.domain[:] == varied.domain[:]).mean() >= 0.95
    exact, drawn = varied.masks[:] == 1, is_defect(found.masks[:])
    assert (exact & drawn).sum() > 0.6 * (exact | drawn).sum()
    places = {tuple(np.rint(ndimage.center_of_mass(mask)).astype(int)) for mask in exact if mask.any()}
    assert len(places) > len({tuple(np.rint(ndimage.center_of_mass(mask)).astype(int)) for mask in made.masks[:] == 1 if mask.any()})
    wrong = run_task(Images, "augment", {"count": 10, "shift_lattice": [[0, 16], [11, 8]]}, seed=2, images=made)
    assert wrong.attrs["moved_by"] == ["shift_lattice"]


def test_steps_that_make_no_move_are_refused(run_task: Any) -> None:
    made = run_task(ContactHole, "simulate", {"count": 2, "size": 40}, seed=1)
    with pytest.raises(DataError, match="shift_lattice: no multiple of the steps"):
        run_task(Images, "augment", {"shift_lattice": [[0, 60.5], [60.5, 0]]}, images=made)
    for wrong in ({"shift_lattice": [[0, 16], [0, 8]]}, {"shift_lattice": [[0, 16], [14, 8]], "shift_x_step": 16}):
        with pytest.raises(ValueError, match="shift_lattice"):
            run_task(Images, "augment", wrong, images=made)
