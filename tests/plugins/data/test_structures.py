"""What every simulated structure promises: exact masks, defects in their share and place, references, one image for one seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fabloom.plugins.blocks.imaging.scene import Scene
from fabloom.plugins.blocks.imaging.stage import MIN_AREA, Picture
from fabloom.plugins.data.contact_hole.method import ContactHole
from fabloom.plugins.data.contact_hole.params import SimulateParams as HoleParams
from fabloom.plugins.data.contact_hole.structure import HoleArray
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.data.line_pair.params import SimulateParams as LineParams
from fabloom.plugins.data.line_pair.structure import LineSpace
from fabloom.plugins.data.sem_etch.method import SemEtch
from fabloom.plugins.data.sram_cell.method import SramCell
from fabloom.plugins.data.sram_cell.params import SimulateParams as CellParams
from fabloom.plugins.data.sram_cell.structure import CellArray

HOLES = ("missing", "bridged", "shrunk", "displaced", "particle")
STRUCTURES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "lines": (LineParams, LineSpace, {"size": 32}),
    "square": (HoleParams, HoleArray, {"size": 48, "defects": HOLES}),
    "hexagonal": (HoleParams, HoleArray, {"size": 48, "defects": HOLES, "array": "hexagonal"}),
    "cells": (CellParams, CellArray, {"size": 50, "pitch_nm": 300.0}),
}
every = pytest.mark.parametrize("name", STRUCTURES)


def scene(name: str, **params: Any) -> Scene:
    wanted, structure, small = STRUCTURES[name]
    given = wanted.model_validate({**small, **params})
    return Scene.build(given, structure(given))


@pytest.fixture(scope="module")
def pictures() -> dict[str, list[Picture]]:
    """Thirty images with a defect and without noise of each structure."""
    return {
        name: (shared := scene(name, defect_share=1.0, noise_std=0.0)) and [shared.draw(3, i) for i in range(30)] for name in STRUCTURES
    }


@every
def test_a_mask_is_where_the_image_and_its_clean_twin_differ(name: str, pictures: dict[str, list[Picture]]) -> None:
    threshold = 0.3 * (180 - 70)
    for picture in pictures[name]:
        change = np.abs(picture.image - picture.clean)
        clipped = (picture.image == 0) | (picture.image == 255)
        assert picture.mask[change > threshold + 0.5].all()  # one rounding of half a grey level
        assert not picture.mask[(change < threshold - 0.5) & ~clipped].any()


@every
def test_every_kind_comes_anywhere_and_no_defect_is_cut_by_the_border(name: str, pictures: dict[str, list[Picture]]) -> None:
    drawn = pictures[name]
    assert {p.label for p in drawn} == set(range(1, 1 + len(scene(name).params.defects)))
    for picture in drawn:
        assert picture.mask.sum() >= MIN_AREA and picture.mask[1:-1, 1:-1].sum() == picture.mask.sum()
    places = np.array([np.argwhere(p.mask).mean(0) for p in drawn])
    assert (np.ptp(places, 0) > 0.5 * drawn[0].mask.shape[0]).all() and len(np.unique(places.round(), axis=0)) > 10


@every
def test_the_clean_twin_is_the_image_that_has_no_defect(name: str, pictures: dict[str, list[Picture]]) -> None:
    shared = scene(name, defect_share=0.0, noise_std=0.0)
    for index in range(4):
        without = shared.draw(3, index)
        assert not without.mask.any() and not without.label
        np.testing.assert_array_equal(without.image, np.rint(pictures[name][index].clean))
        assert (without.image != pictures[name][index].image).any(), "a control"


@every
def test_images_lie_on_each_other_unless_the_phase_is_random(name: str) -> None:
    def spread(**params: Any) -> float:
        shared = scene(name, defect_share=0.0, noise_std=0.0, **params)
        return float(np.std([shared.draw(0, index).image for index in range(8)], axis=0).mean())

    assert spread(random_phase=True) > 4 * spread()


@every
def test_the_picture_goes_on_outside_of_the_image(name: str) -> None:
    """The same scene through a wider frame: the frame is not seen, and the wrap-around of the transform is not where it holds whole
    periods along both axes; else by less than the noise."""
    small = STRUCTURES[name][2]["size"]
    narrow, wide = (scene(name, size=size) for size in (small, small + 40))
    seen = [s.microscope.image(s.structure.ideal(s.domain)) for s in (narrow, wide)]
    assert np.abs(seen[0] - seen[1][:small, :small]).max() < (1e-9 if name in ("lines", "square") else 0.025) * np.ptp(seen[1])


METHODS = pytest.mark.parametrize(
    ("method", "params"),
    [
        (LinePair, {"size": 32}),
        (ContactHole, {"size": 32}),
        (ContactHole, {"size": 32, "array": "hexagonal"}),
        (SramCell, STRUCTURES["cells"][2]),
        (SemEtch, {}),
    ],
    ids=[*STRUCTURES, "etched"],
)


@METHODS
def test_half_of_each_block_of_twenty_has_a_defect_and_a_larger_set_begins_alike(method: Any, params: Any, run_task: Any) -> None:
    many, few = (run_task(method, "simulate", {**params, "count": count}) for count in (40, 7))
    domain, labels, masks = many.domain[:], many.labels[:], many.masks[:]
    assert domain[:20].sum() == domain[20:].sum() == 10 and many.attrs["defects"] == 20
    np.testing.assert_array_equal(domain, labels > 0)
    np.testing.assert_array_equal(domain, masks.any((1, 2)))
    assert many.class_names[0] == "clean" and many.mask_names == ["clean", "defect"] and many.references is None
    for array in ("images", "masks", "labels"):
        np.testing.assert_array_equal(getattr(few, array)[:], getattr(many, array)[:7])
    other = run_task(method, "simulate", {**params, "count": 7}, seed=1)
    assert not {image.tobytes() for image in other.images[:]} & {image.tobytes() for image in few.images[:]}


@pytest.mark.parametrize(("method", "params"), [(ContactHole, {"size": 32}), (SramCell, STRUCTURES["cells"][2])], ids=["holes", "cells"])
def test_references_are_the_images_without_their_defects_under_another_noise(method: Any, params: Any, run_task: Any) -> None:
    asked = {**params, "count": 20, "noise_std": 4.0}
    without, made, quiet = (
        run_task(method, "simulate", {**asked, **more})
        for more in ({"count": 6}, {"references": True}, {"references": True, "noise_std": 0.0})
    )
    np.testing.assert_array_equal(without.images[:], made.images[:6])
    inside = made.masks[:] > 0
    images, references = (array[:].astype(float)[:, 0] for array in (made.images, made.references))
    clean = ~inside.any((1, 2))
    assert (images - references)[clean].std() == pytest.approx(4.0 * np.sqrt(2), rel=0.05), "two draws of the noise"
    change = np.abs(quiet.images[:].astype(float) - quiet.references[:])[:, 0]
    assert not change[clean].any() and change[inside].min() > 0.3 * 110 - 1.01 and change[~inside].max() < 0.3 * 110 + 1.01
