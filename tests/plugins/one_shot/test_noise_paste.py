"""noise-paste: Perlin noise by its equation, masks, textures, and that no defect is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.one_shot.noise_paste.method import NoisePaste
from fabloom.plugins.one_shot.noise_paste.perlin import fade, perlin
from fabloom.plugins.one_shot.noise_paste.textures import part_of
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import write_artifact

SIZE = (56, 72)
Real = NDArray[np.float64]


def lines(size: tuple[int, int] = SIZE) -> Real:
    """Vertical lines of period 12."""
    return np.tile(110 + 30 * np.cos(2 * np.pi * np.arange(size[1]) / 12), (size[0], 1))


@pytest.fixture
def held(store: LocalStore) -> Any:
    """`held(pictures, noise, domain=...)` writes a set of grey pictures with noise."""

    def write(pictures: Any, noise: float = 0.0, **columns: Any) -> ImageSet:
        draw = np.random.default_rng(3)
        pixels = np.stack(pictures)[:, None] + draw.normal(0, 1, (len(pictures), 1, *pictures[0].shape)) * noise

        def task(ctx: Context) -> ImageSet:
            return ImageSet.write(ctx, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), **columns)

        made = write_artifact(store, task, seed=len(list(store.keys())))
        assert isinstance(made, ImageSet)
        return made

    return write


@pytest.fixture
def pasted(run_task: Any) -> Any:
    """`pasted(images, **sample)` are the samples."""

    def run(images: ImageSet, others: ImageSet | None = None, **params: Any) -> ImageSet:
        model = run_task(NoisePaste, "train", {}, images=images)
        inputs = {} if others is None else {"textures": others}
        made = run_task(NoisePaste, "sample", params, model=model, **inputs)
        assert isinstance(made, ImageSet)
        return made

    return run


def test_perlin_noise_is_its_equation() -> None:
    """Corner by corner, for an upright frame of 3 x 4 cells."""
    size, cells, seed = (15, 28), (3, 4), 7
    found = perlin(size, cells, 0.0, np.random.default_rng(seed))
    draw = np.random.default_rng(seed)
    turns = draw.uniform(0, 2 * np.pi, (12, 12))
    start = draw.uniform(0, 1, 2)
    for row, column in ((0, 0), (7, 13), (14, 27), (5, 20)):
        place = np.array([(row + 0.5) / size[0] - 0.5, (column + 0.5) / size[1] - 0.5]) * cells + start
        total = 0.0
        for corner in np.ndindex(2, 2):
            at = np.floor(place).astype(int) + corner
            turn = turns[at[0] % 12, at[1] % 12]
            way = place - at
            weight = np.prod([fade(1 - np.abs(part)) for part in way])
            total += float(weight * (np.sin(turn) * way[0] + np.cos(turn) * way[1]))
        assert found[row, column] == pytest.approx(np.sqrt(2) * total)
    assert fade(np.array([0.0, 0.5, 1.0])).tolist() == [0, 0.5, 1]


def test_perlin_noise_has_the_size_of_its_cells_and_turns_with_its_frame() -> None:
    def rough(noise: Real) -> tuple[float, float]:
        down, right = np.gradient(noise)
        return float(np.square(down).mean()), float(np.square(right).mean())

    upright = [perlin((96, 96), (16, 2), 0.0, np.random.default_rng(seed)) for seed in range(6)]
    down, right = np.mean([rough(noise) for noise in upright], axis=0)
    assert down > 10 * right
    quarter = [perlin((96, 96), (16, 2), np.pi / 2, np.random.default_rng(seed)) for seed in range(6)]
    down, right = np.mean([rough(noise) for noise in quarter], axis=0)
    assert right > 10 * down
    assert max(np.abs(noise).max() for noise in upright) <= 1


def test_masks_are_exact_and_nothing_else_changes(held: Any, pasted: Any) -> None:
    samples = pasted(held([lines(), lines()], domain=np.zeros(2, np.int8)), count=60)
    assert samples.masks is not None and samples.references is not None and samples.domain is not None and samples.source is not None
    masks, gap = samples.masks[:], samples.images[:, 0].astype(int) - samples.references[:, 0]
    assert set(np.unique(masks)) == {0, 1}
    assert not gap[masks == 0].any(), "without noise, to the last grey level"
    changed = [np.sqrt(np.square(one[mask == 1]).mean()) for one, mask in zip(gap, masks, strict=True) if mask.any()]
    assert 15 < len(changed) < 45 and min(changed) > 0.7, "half of them, and what is labelled shows"
    assert set(samples.source[:]) == {0, 1} and samples.images[:].min() >= 0
    none, every = (pasted(held([lines()]), count=20, defect_share=share) for share in (0.0, 1.0))
    assert not none.domain[:].any() and every.domain[:].all()  # type: ignore[index]
    faint, full = (pasted(held([lines()]), count=20, defect_share=1.0, opacity=[b, b]) for b in (0.2, 1.0))
    change = [np.abs(s.images[:].astype(int) - s.references[:])[s.masks[:, None] == 1].mean() for s in (faint, full)]
    assert change[1] > 2 * change[0]


def test_noise_is_there_once(held: Any, pasted: Any) -> None:
    samples = pasted(held([lines()], 3.0, domain=np.zeros(1, np.int8)), count=24)
    gap = samples.images[:, 0] - lines()
    away = samples.masks[:] == 0  # type: ignore[index]
    assert gap[away].std() == pytest.approx(3, rel=0.15)
    assert samples.references is not None
    naive = samples.references[:, 0] - lines() + np.random.default_rng(0).normal(0, 3, gap.shape)
    assert naive.std() > 3 * 1.3, "the control: fresh noise on the image as it is"


def test_no_defect_is_looked_at(held: Any, run_task: Any) -> None:
    one, other = lines(), lines()
    one[20:30, 20:30], other[5:9, 40:60] = 200, 10
    models = [
        run_task(NoisePaste, "train", {}, images=held([spoilt, lines()], domain=np.array([1, 0], np.int8))) for spoilt in (one, other)
    ]
    states = [model.state() for model in models if isinstance(model, Model)]
    assert all((states[0][name] == states[1][name]).all() for name in states[0]) and len(states) == 2


def test_textures_come_from_where_they_are_asked(held: Any, pasted: Any) -> None:
    clean = held([lines()])
    stripes = held([np.tile(np.where(np.arange(40) % 2 < 1, 0.0, 255.0)[:, None], (1, 40))])  # of another size, one pixel wide

    def rough(samples: ImageSet) -> float:
        down = np.abs(np.diff(samples.images[:, 0].astype(int), axis=1))
        inside = (samples.masks[:, 1:] == 1) & (samples.masks[:, :-1] == 1)  # type: ignore[index]
        return float(down[inside].mean())

    asked: dict[str, Any] = {"count": 16, "defect_share": 1.0, "opacity": [1, 1], "cells": [2, 3]}
    given = pasted(clean, stripes, textures=["images"], **asked)
    assert rough(given) > 5 * rough(pasted(clean, textures=["shifted"], **asked)), "lines do not change along themselves"
    assert pasted(clean, textures=["noise"], levels="full", **asked).images[:].max() > 200 > given.images[:].max()
    with pytest.raises(DataError, match="images alone are asked for, and the input `textures` is not connected"):
        pasted(clean, textures=["images"])
    with pytest.raises(DataError, match="the input `textures` would be ignored"):
        pasted(clean, stripes, textures=["noise"])


def test_sizes_and_colour(held: Any, store: LocalStore, pasted: Any, run_task: Any) -> None:
    wide = pasted(held([lines()]), count=4, size=[40, 150])
    assert wide.images.shape == (4, 1, 40, 150)

    def coloured(ctx: Context) -> ImageSet:
        return ImageSet.write(ctx, np.rint(np.stack([lines(), 0.5 * lines(), 200 - lines()])).astype(np.uint8)[None])

    found = pasted(write_artifact(store, coloured), held([lines((20, 30))]), count=6, defect_share=1.0)
    assert found.images.shape == (6, 3, *SIZE)
    with pytest.raises(DataError, match="clean"):
        run_task(NoisePaste, "train", {}, images=held([lines(), lines()], domain=np.ones(2, np.int8)))


def test_a_part_of_an_image_goes_on_cyclically() -> None:
    image = np.arange(12.0).reshape(1, 3, 4)
    found = part_of(image, (7, 9), np.random.default_rng(1))
    assert found.shape == (1, 7, 9) and set(found.ravel()) == set(image.ravel())
    assert (found[:, :3] == found[:, 3:6]).all() and (found[:, :, :4] == found[:, :, 4:8]).all()
