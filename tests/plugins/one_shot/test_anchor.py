"""Anchored to the clean image: context against the closed form, windows, copies whose defect moved, sizes, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fabloom.errors import DataError, Interrupted, PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks.anchor import Anchor, zooms_of
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.one_shot import Picture
from fabloom.plugins.blocks.pyramid import scale_sizes
from fabloom.plugins.blocks.registered import clean_picture, differing
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_params import ScaleTraining, steps_by_size
from fabloom.plugins.blocks.scale_training import Windows
from fabloom.plugins.blocks.transplants import transplanted
from fabloom.plugins.one_shot.sinddm.method import SinDdm
from fabloom.plugins.one_shot.sinsemi import levels as semi
from fabloom.plugins.one_shot.sinsemi.method import SinSemi
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

Pixels = NDArray[np.uint8]
METHODS = [SinSemi, SinDdm]
TINY = {"steps": 2, "width": 8, "batch": 2, "precision": "fp32", "anchor": "reference"}
FEW = {"count": 1, "steps": 1, "precision": "fp32"}


def scene(height: int, width: int, seed: int = 0) -> Pixels:
    """A clean image without a period: three bars of their own widths at their own angles, uint8 [H,W]."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / min(height, width)
    image = np.full((height, width), 60.0)
    for _ in range(3):
        angle, offset, wide = draw.uniform(0, np.pi), draw.uniform(0.2, 0.8), draw.uniform(0.05, 0.12)
        image[np.abs((y - offset) * np.cos(angle) + (x - offset) * np.sin(angle)) < wide] = 160
    return (ndimage.gaussian_filter(image, 0.8) + draw.normal(0, 1, image.shape)).round().astype(np.uint8)


def spoiled(clean: Pixels, top: int = 10, left: int = 12) -> Pixels:
    """The same place with a square of 8 pixels on it and noise of its own."""
    image = clean + np.random.default_rng(9).normal(0, 1, clean.shape)
    image[top : top + 8, left : left + 8] = 230
    return image.round().clip(0, 255).astype(np.uint8)


class SceneParams(Params):
    """What the set holds: rows of clean and defect images; `beside`: each image's reference beside it instead of domains."""

    height: int = 60
    width: int = 64
    seeds: tuple[int, ...] = (0,)
    defect: bool = True
    moved: int = 0
    beside: bool = False
    unsaid: bool = False


class Scene(Method):
    """A defect image of the first seed's scene, then the clean images of all seeds."""

    name = "scene"

    @task(version=1)
    def make(self, ctx: Context, params: SceneParams) -> ImageSet:
        clean = [np.roll(scene(params.height, params.width, seed), params.moved, 1) for seed in params.seeds]
        first = [spoiled(scene(params.height, params.width, params.seeds[0]))] if params.defect else []
        if params.beside:
            return ImageSet.write(ctx, np.stack(first)[:, None], references=clean[0][None, None])
        domain = None if params.unsaid else np.array([1] * len(first) + [0] * len(clean), np.int8)
        return ImageSet.write(ctx, np.stack([*first, *clean])[:, None], domain=domain)


def test_context_is_the_clean_image_at_every_scale() -> None:
    """Held against Pillow's resize of the clean image, in the training image's units."""
    clean, sizes = scene(96, 80), scale_sizes((96, 80), 3000, 1.4)
    scales = semi.build(spoiled(clean)[None], sizes, normalise="finest", quantise=False)
    anchor = Anchor.of_clean(clean[None, None])
    contexts = anchor.contexts(
        zooms_of(sizes), sizes, lambda pixels, wanted: semi.shrunk(pixels, wanted, normalise="finest", quantise=False, like=scales)
    )
    assert len(sizes) == 2 and anchor.channels == 1
    for context, (height, width) in zip(contexts, sizes, strict=True):
        assert context is not None
        small = np.asarray(Image.fromarray(clean.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
        grey = context[0, 0].numpy() * scales.deviation + scales.mean
        assert np.abs(grey * 255 - small).max() < 1e-3


def test_windows_of_pictures_and_context_lie_at_one_place_in_one_picture() -> None:
    """Pictures are the context plus 1000 times their number, so that what is left tells the number."""
    context = torch.arange(60.0 * 70).reshape(1, 1, 60, 70)
    pictures = torch.cat([context + 1e4 * number for number in range(5)])
    source, params, seen = torch.Generator().manual_seed(0), ScaleTraining(batch=6), set()
    for _ in range(20):
        windows = Windows.draw(params, 1, pictures, source)
        left = windows.of(pictures) - windows.of(context)
        assert left.shape == (6, 1, 44, 44) and torch.equal(left, left[:, :, :1, :1].expand_as(left))
        assert [int(one) // 10_000 for one in left[:, 0, 0, 0]] == list(windows.rows)
        seen |= set(windows.rows)
    assert seen == set(range(5))


def holes(missing: tuple[int, int] | None, side: int = 96) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side]
    hole = np.hypot(y % 16 - 7.5, x % 16 - 7.5) < 4.5
    if missing is not None:
        hole &= (y // 16 != missing[0]) | (x // 16 != missing[1])
    return 140 - 80 * ndimage.gaussian_filter(hole.astype(float), 1.2)


def test_a_missing_hole_goes_where_other_holes_are() -> None:
    draw = np.random.default_rng(0)
    image, clean = ((holes(gone) + draw.normal(0, 2, (96, 96))).round().astype(np.uint8)[None] for gone in ((2, 3), None))
    mask = differing(image[0].astype(float), clean[0].astype(float))
    assert {(int(y) // 16, int(x) // 16) for y, x in np.argwhere(mask)} == {(2, 3)}
    made = transplanted(image, clean, mask, (40, 1), draw)
    missing = []
    for copy in made[:, 0].astype(float):
        assert copy.min() >= image.min() and copy.max() <= image.max()
        middles = copy.reshape(6, 16, 6, 16)[:, 6:10, :, 6:10].mean((1, 3))
        (gone,) = np.argwhere(middles > 105)
        whole = holes((int(gone[0]), int(gone[1])))
        assert np.abs(ndimage.gaussian_filter(copy - whole, 1.5)).max() < 12, "and nothing else has changed"
        missing.append(tuple(gone))
    assert len(set(missing)) > 12 and missing.count((2, 3)) < 8


def test_an_edge_that_is_a_pixel_off_is_no_difference_and_a_shift_is() -> None:
    clean = scene(60, 64).astype(float)
    assert not differing(np.roll(clean, 1, 1), clean)[:, 2:-2].any()
    assert differing(np.roll(clean, 3, 1), clean)[:, 4:-4].any()


def picture_of(images: ImageSet) -> Picture:
    return Picture(np.asarray(images.images[0:1])[0], 1, 0)


def test_the_clean_image_is_the_one_of_the_same_place(run_task: Any) -> None:
    several = run_task(Scene, "make", {"seeds": [0, 1, 2]})
    beside = run_task(Scene, "make", {"beside": True})
    given = run_task(Scene, "make", {"defect": False, "unsaid": True})
    for images, reference in ((several, None), (beside, None), (beside, given)):
        assert np.array_equal(clean_picture(picture_of(images), images, reference)[0], scene(60, 64))


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        ({"unsaid": True}, None, "does not say which of its images is clean"),
        (
            {},
            {"seeds": [5], "defect": False},
            "does not show the place of training image 0 pixel on pixel: .* differ, their correlation is",
        ),
        ({"moved": 3}, None, r"shifted against training image 0 by -?0.00 rows and 3.00 columns"),
        ({}, {"width": 70, "defect": False}, "are 60 x 70, the training image is 60 x 64"),
    ],
)
def test_a_clean_image_that_does_not_fit_is_refused_and_auto_goes_without(
    run_task: Any, made: dict[str, Any], given: dict[str, Any] | None, message: str
) -> None:
    images = run_task(Scene, "make", made)
    reference = None if given is None else run_task(Scene, "make", given)
    with pytest.raises(DataError, match=message):
        Anchor.find(picture_of(images), images, (60, 64), "reference", reference)
    if given is None:
        found = Anchor.find(picture_of(images), images, (60, 64), "auto", None)
        assert found.channels == 0 and found.words.startswith("no lattice anchors the structure, and no reference: ")


def copying(net: ScaleNetwork, x: torch.Tensor, time: torch.Tensor, scale: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """A network of `sinsemi` that answers with its context: the drift (x - context) / t."""
    return (x - context) / (time[:, None, None, None] / 1000)


def answering(net: ScaleNetwork, x: torch.Tensor, time: torch.Tensor, scale: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """A network of `sinddm` that answers with its context, as the clean image."""
    return context.expand_as(x)


@pytest.mark.parametrize(("method", "answer", "off"), [(SinSemi, copying, 0), (SinDdm, answering, 1)], ids=["sinsemi", "sinddm"])
def test_samples_follow_the_clean_images_that_are_given(
    run_task: Any, monkeypatch: pytest.MonkeyPatch, method: type[Method], answer: Any, off: int
) -> None:
    images = run_task(Scene, "make")
    prediction = {} if method is SinSemi else {"prediction": "sample"}
    model = run_task(method, "train", {**TINY, "steps": 0, **prediction}, images=images)
    assert np.array_equal(model.state("reference")[""], scene(60, 64)[None])
    monkeypatch.setattr(ScaleNetwork, "forward", answer)
    own: ImageSet = run_task(method, "sample", {**FEW, "count": 3}, model=model)
    assert own.references is not None
    assert np.array_equal(np.asarray(own.references)[:, 0], np.stack([scene(60, 64)] * 3))
    assert np.abs(np.asarray(own.images).astype(int) - np.asarray(own.references)).max() <= off
    others = run_task(Scene, "make", {"seeds": [3, 4], "width": 97, "height": 81})
    made: ImageSet = run_task(method, "sample", {**FEW, "count": 5, "batch": 2}, model=model, reference=others)
    wanted = np.stack([scene(81, 97, seed) for seed in (3, 4, 3, 4, 3)])[:, None]
    assert made.references is not None and np.array_equal(np.asarray(made.references), wanted)
    inside = np.abs(np.asarray(made.images).astype(int) - wanted)
    assert np.median(inside) <= 1 and made.images.shape == (5, 1, 81, 97), "but for what lies beyond the training image's grey range"
    with pytest.raises(DataError, match="clean image of 60 x 64, but the output shall be 64 x 64"):
        run_task(method, "sample", {**FEW, "size": [64, 64]}, model=model)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), [(97, 131), (224, 224)])
def test_output_has_the_training_images_size(run_task: Any, method: type[Method], height: int, width: int) -> None:
    images = run_task(Scene, "make", {"height": height, "width": width})
    model: Model = run_task(method, "train", {**TINY, "copies": 1}, images=images)
    assert model.config["sizes"][-1] == [height, width]
    assert run_task(method, "sample", FEW, model=model).images.shape == (1, 1, height, width)


def test_published_shrinks_and_says_so(run_task: Any) -> None:
    images = run_task(Scene, "make", {"height": 224, "width": 224})
    model = run_task(SinSemi, "train", {**TINY, "preset": "published", "window": 44, "coarse_window": 44}, images=images)
    assert model.config["sizes"][-1] == [223, 223], "50,000 pixels"
    made = run_task(SinSemi, "sample", {**FEW, "batch": 1}, model=model)
    assert made.images.shape[2:] == made.references.shape[2:] == (223, 223)


def test_fewer_steps_at_large_scales() -> None:
    assert steps_by_size(12, [(55, 55), (256, 256), (384, 384), (535, 535), (2000, 2000)]) == (12, 12, 8, 5, 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_anchored_training_goes_on_to_the_same_weights(run_task: Any, method: type[Method], tmp_path: Path) -> None:
    given = {**TINY, "steps": 6}
    whole = run_task(method, "train", given, images=run_task(Scene, "make"))
    other = LocalStore(tmp_path / "other")
    again, calls = run_task(Scene, "make", store=other), itertools.count()
    with pytest.raises(Interrupted):
        run_task(method, "train", given, images=again, store=other, stop=lambda: next(calls) >= 3)
    assert run_task(method, "train", given, images=again, store=other).digest == whole.digest
    alone = run_task(method, "train", {**given, "copies": 0}, images=run_task(Scene, "make"))
    assert alone.digest != whole.digest, "copies are trained on"


@pytest.mark.parametrize("method", METHODS)
def test_anchors_of_other_kinds_take_no_reference(run_task: Any, method: type[Method]) -> None:
    images = run_task(Scene, "make")
    model = run_task(method, "train", {**TINY, "anchor": "none"}, images=images)
    assert "anchor" not in model.config and run_task(method, "sample", FEW, model=model).references is None
    with pytest.raises(DataError, match="anchored to nothing, so that a `reference` would be ignored"):
        run_task(method, "sample", FEW, model=model, reference=images)


def plan(store: Any, folder: Path, train: dict[str, Any], sample: dict[str, Any], source: dict[str, Any] | None = None) -> None:
    loaded = {"task": "images.load", "params": {"path": str(folder), "clean": ["c*"], "defect": ["d*"]}}
    steps = {
        "images": source or loaded,
        "model": {"task": "sinsemi.train", "inputs": {"images": "images"}, **train},
        "made": {"task": "sinsemi.sample", "inputs": {"model": "model"}, **sample},
    }
    make_plan(Pipeline.model_validate({"name": "p", "steps": steps}), Registry.load(), store)


def test_what_can_be_known_is_refused_while_planning(store: Any, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(spoiled(scene(60, 64))).save(folder / "d.png")
    anchored = {"params": {"anchor": "reference"}}
    only = {"task": "images.load", "params": {"path": str(folder), "defect": ["d*"]}}
    with pytest.raises(PipelineError, match=r"steps.model.params.anchor: .*step 'images' loads no clean image"):
        plan(store, folder, anchored, {}, only)
    Image.fromarray(scene(60, 64)).save(folder / "c.png")
    plan(store, folder, anchored, {})
    with pytest.raises(PipelineError, match=r"steps.made.params.size: the structure follows the clean image of step 'model'"):
        plan(store, folder, anchored, {"params": {"size": [60, 70]}})
    both = {"inputs": {"images": "images", "reference": "images"}, "params": {"anchor": "lattice"}}
    with pytest.raises(PipelineError, match=r"steps.model.inputs.reference: anchor is lattice, so the reference would be ignored"):
        plan(store, folder, both, {})
    small = {"task": "line-pair.simulate", "params": {"count": 1, "size": 32}}
    with pytest.raises(PipelineError, match=r"steps.model.inputs.images: step 'images' gives images of 32 x 32, too small"):
        plan(store, folder, {}, {}, small)
    for name in ("c.png", "d.png"):
        Image.fromarray(scene(60, 64)[:41]).save(folder / name)
    with pytest.raises(PipelineError, match=r"steps.model.inputs.images: step 'images' gives images of 41 x 64, too small"):
        plan(store, folder, {}, {})


def test_grey_levels_of_the_clean_image_are_those_of_sinddm(run_task: Any) -> None:
    from fabloom.plugins.one_shot.sinddm import levels

    clean, sizes = scene(96, 80), scale_sizes((96, 80), 3110, 1.411)
    context = levels.shrunk(clean[None], sizes, values=GreyMap(0, 255), quantise=False)
    small = np.asarray(Image.fromarray(clean.astype(np.float32)).resize(sizes[0][::-1], Image.Resampling.LANCZOS))
    assert np.abs((context[0][0, 0].numpy() + 1) * 127.5 - small).max() < 1e-2
