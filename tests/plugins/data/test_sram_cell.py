"""Simulated SRAM arrays: the cell's symmetries, the array's period, and what its defects change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fabloom.plugins.blocks.imaging.scene import Scene
from fabloom.plugins.data.sram_cell.layout import LAYERS, cell, tiled
from fabloom.plugins.data.sram_cell.params import CELL, SimulateParams
from fabloom.plugins.data.sram_cell.structure import CellArray

HEIGHT, WIDTH = CELL
STILL = {"edge_std_nm": 0.0, "overlay_std_nm": 0.0}


def scene(**params: Any) -> Scene:
    given = SimulateParams.model_validate(params)
    return Scene.build(given, CellArray(given))


def as_set(rectangles: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row) for row in rectangles.round(6).tolist()}


def mirrored(rectangles: np.ndarray, axis: int, about: float) -> np.ndarray:
    """Rectangles mirrored along y (0) or x (1) about a line."""
    turned = rectangles.copy()
    turned[:, 2 * axis], turned[:, 2 * axis + 1] = 2 * about - rectangles[:, 2 * axis + 1], 2 * about - rectangles[:, 2 * axis]
    return turned


@pytest.mark.parametrize("layer", LAYERS)
def test_half_a_turn_leaves_a_cell_and_a_mirror_does_not(layer: str) -> None:
    one = cell(layer)
    assert as_set(mirrored(mirrored(one, 0, HEIGHT / 2), 1, WIDTH / 2)) == as_set(one)
    assert as_set(mirrored(one, 1, WIDTH / 2)) != as_set(one)


@pytest.mark.parametrize(("layer", "count"), [("active", 3), ("gate", 3), ("contact", 8)])
def test_neighbours_are_mirror_images_that_share_what_lies_on_the_border(layer: str, count: int) -> None:
    many = tiled(layer, (0.0, 0.0), (6 * HEIGHT, 6 * WIDTH))
    centres = np.stack([many[:, :2].mean(1), many[:, 2:].mean(1)], 1)
    inside = ((centres >= 0) & (centres < (4 * HEIGHT, 4 * WIDTH))).all(1)
    assert inside.sum() == 16 * count and len(as_set(many)) == len(many), "so many a cell, each of them once"
    near = many[((centres > (HEIGHT, WIDTH)) & (centres < (3 * HEIGHT, 3 * WIDTH))).all(1)]
    for axis, size in enumerate(CELL):
        assert as_set(mirrored(near, axis, 2 * size)) == as_set(near)
        moved = near + np.eye(2)[axis].repeat(2) * size
        assert not as_set(moved) <= as_set(many), "one cell on is a mirror image ..."
        assert as_set(moved + np.eye(2)[axis].repeat(2) * size) <= as_set(many), "... and two cells on the same again"


def test_the_image_has_the_period_and_the_mirrors_of_the_array() -> None:
    shared = scene(pitch_nm=240.0, size=160, **STILL)  # a cell of 16 x 40 pixels
    grey = shared.grey(shared.structure.ideal(shared.domain))
    contrast = np.ptp(grey)
    assert np.abs(grey[:, 80:] - grey[:, :80]).max() < 0.025 * contrast and np.abs(grey[32:] - grey[:-32]).max() < 0.025 * contrast
    assert np.abs(grey[:, 40:80] - grey[:, 39::-1]).max() < 0.025 * contrast and np.abs(grey[16:32] - grey[15::-1]).max() < 0.025 * contrast
    assert np.abs(grey[:, 40:] - grey[:, :-40]).max() > 0.2 * contrast and np.abs(grey[16:] - grey[:-16]).max() > 0.2 * contrast


def test_layers_move_as_one_and_edges_alone() -> None:
    shared = scene(edge_std_nm=0.0, overlay_std_nm=6.0)
    ideal = shared.structure.layers(shared.domain)
    shifts = []
    for index in range(100):
        drawn = shared.structure.printed(ideal, np.random.default_rng(index))
        for layer in LAYERS:
            moved = drawn[layer] - ideal[layer]
            assert np.ptp(moved[:, :2]) < 1e-9 and np.ptp(moved[:, 2:]) < 1e-9
            shifts.append(moved[0, ::2])
    np.testing.assert_allclose(np.std(shifts, axis=0), 6, rtol=0.12)
    rough = scene(edge_std_nm=4.0, overlay_std_nm=0.0, size=256)
    drawn = rough.structure.printed(ideal := rough.structure.layers(rough.domain), np.random.default_rng(0))
    np.testing.assert_allclose((drawn["contact"] - ideal["contact"]).std(0), 4, rtol=0.1)


def test_layers_lie_over_each_other() -> None:
    tones = {"field_reflectance": 0.09, "active_reflectance": 0.16, "gate_reflectance": 0.25, "contact_reflectance": 0.36}
    shared = scene(**tones, **STILL)
    amplitude, domain = shared.structure.ideal(shared.domain), shared.domain

    def at(y: float, x: float) -> float:
        """The amplitude at a place of the first cell, in gate pitches."""
        row, column = (int((domain.span_nm[0] + place * 480) / domain.step) for place in (y, x))
        return float(amplitude[row, column])

    places = {
        "ground": (1.0, 1.4),
        "pull-down": (0.25, 1.1),
        "gate over it": (0.5, 0.8),
        "node": (1.0, 0.8),
        "contact on a gate": (1.5, 0.1),
    }
    assert [round(at(*place), 6) for place in places.values()] == [0.3, 0.4, 0.5, 0.6, 0.6]


@pytest.mark.parametrize(("kind", "layer"), [("bridge", "gate"), ("open", "gate"), ("missing_contact", "contact")])
def test_a_defect_changes_one_rectangle_of_its_layer(kind: str, layer: str) -> None:
    extent, pitch = 0.5, 480.0
    shared = scene(defects=[kind], defect_low=extent, defect_high=extent, defect_share=1.0, **STILL)
    domain, heights = shared.domain, []
    for index in range(12):
        rng = np.random.default_rng(index)
        pattern = shared.structure.draw(domain, rng)
        clean, spoilt = pattern.clean(), pattern.spoilt(kind, rng)
        changed = np.argwhere(np.abs(spoilt - clean) > 0.05)
        if not len(changed):  # under a contact, or a gate too short to be bridged: drawn again when it is a picture
            continue
        assert ((spoilt - clean)[tuple(changed.T)] > 0).all() == (kind == "open"), "an open is brighter, the others are darker"
        height, width = (np.ptp(changed, 0) + 1) * domain.step / pitch
        heights.append(height)
        assert width <= (extent if layer == "gate" else 0.4) + 0.05
    assert len(heights) > 6
    wanted = {"bridge": {0.6}, "open": {0.4}, "missing_contact": {0.4, 0.6}}[kind]
    assert {min(wanted, key=lambda w: abs(w - h)) for h in heights if h > 0.35} <= wanted
    assert max(heights) == pytest.approx(max(wanted), abs=0.05)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 79}, "less than one cell: raise size to 80"),
        ({"pitch_nm": 130.0}, "not resolved"),
        ({"defects": ["missing"]}, "'bridge', 'open' or 'missing_contact'"),
        ({"contact_reflectance": 1.1}, "less than or equal to 1"),
    ],
)
def test_impossible_settings_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimulateParams.model_validate(params)
