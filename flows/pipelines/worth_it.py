"""The pipeline `worth-it`: learning curves over real images for every recipe of training images."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

from .one_shot_leaderboard import Steps, check_one_shot, step_name
from .worth_data import Data, boards, own, published_pair, simulated

BASELINE = "augmented"
GENERATORS = ("copy-paste", "noise-paste", "inpaint", "sinsemi")
RIVALS = ("copy-paste", "noise-paste")
"""Generators that train nothing, which every other is held against."""
DESCRIPTION = """\
Are synthetic images worth it? The same segmenter with the same steps, trained on so many real images and what each recipe makes of them,
for several numbers of real images; what a recipe is worth in further real images, with intervals, beside the rivals that cost nothing.
More of everything: --param draws=5 --param generator_steps=null --set 'steps.*_segmenter.params.repeats=3'.
"""
POOLS = {"deeppcb": 120}
POOL = 200
SHIFT = 8
"""Pixels by which every segmenter shifts its training images at random, whatever their recipe."""


class WorthIt(Params):
    """What is compared, on which images, for how many real ones, and how often."""

    structure: Literal["line-pair", "contact-hole", "sram-cell", "deeppcb", "published-pair", "own"] = Field(
        "line-pair",
        description="what is simulated (lines, holes, cells); deeppcb: boards (found in FABLOOM_DATA_DIR); published-pair: the two images "
        "of the SinSEMI paper, sizes=[1]; own: the folders `real` and `tested`",
    )
    real: dict[str, Any] | None = Field(None, description="own: parameters of images.load for real images, e.g. {path: FOLDER}")
    tested: dict[str, Any] | None = Field(None, description="own: the same for the test images, of other places, lots or wafers")
    label: Literal["given", "references", "boxes", "clean"] = Field(
        "given", description="own: masks are given, or follow by difference from each image's own reference (boxes: inside the masks "
        "that are given), or from the clean images"
    )  # fmt: skip
    tile: int | None = Field(None, ge=32, description="own: cut images into squares of this many pixels, each of which counts as an image")
    sizes: tuple[PositiveInt, ...] = Field((1, 5, 20), min_length=1, description="numbers of real images with a defect, rising")
    draws: int = Field(3, ge=1, le=50, description="draws of that many images, each with trainings of its own")
    clean: int = Field(8, ge=0, description="real images without a defect that each draw has beside them")
    generators: tuple[str, ...] | None = Field(
        None,
        description="one-shot methods; each makes images of the real ones of every draw; null: copy-paste, noise-paste, inpaint and, where "
        "images have no references of their own, sinsemi",
    )
    generator_steps: int | None = Field(
        700,
        ge=1,
        description="steps of each generator that trains: one core takes some 5 minutes for sinsemi, 2 for inpaint; null: its own",
    )
    generator_images: int = Field(
        1, ge=1, description="from how many images of a draw a generator learns that takes one, a model and an equal share of `count` each"
    )
    alone: bool = Field(
        True, description="segmenters of each generator's images alone, beside those of them joined with augmented ones; false leaves them "
        "out, and pays for more draws"
    )  # fmt: skip
    count: int = Field(200, ge=2, description="images that each recipe trains on")
    size: int = Field(64, ge=32, le=256, description="height and width of simulated images, and of squares of boards, in pixels")
    pool: int | None = Field(
        None, ge=2, description="real images there are, half with a defect; all of them are the ceiling; null: 200, 120 squares of boards; "
        "own: must be given"
    )  # fmt: skip
    test: int = Field(400, ge=20, description="test images, half with a defect; of one's own all")
    steps: int = Field(200, ge=1, description="optimiser steps of every segmenter")
    rate: float = Field(
        0.01, gt=0, lt=1, description="share of the clean test images that may have a nuisance alarm where found defects are counted; "
        "another one trains nothing again"
    )  # fmt: skip

    @property
    def makers(self) -> tuple[str, ...]:
        """The generators that are compared."""
        return GENERATORS[: -1 if self.referenced else None] if self.generators is None else self.generators

    @property
    def referenced(self) -> bool:
        """Whether images have references of their own, which sinsemi follows only where they are registered to a fraction of a pixel."""
        return self.structure == "deeppcb" or self.label in ("references", "boxes")

    @property
    def pooled(self) -> int:
        """Real images there are."""
        return 2 if self.structure == "published-pair" else self.pool or POOLS.get(self.structure, POOL)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes={list(self.sizes)} must rise")
        if max(self.sizes) > (most := self.pooled // 2):
            cure = (
                "give sizes=[1]" if self.structure == "published-pair" else "give smaller sizes, or a larger pool if there are more images"
            )
            raise ValueError(f"sizes go to {max(self.sizes)}, and a pool of {self.pooled} has {most} images with a defect; {cure}")
        if self.clean > self.pooled // 2 and self.structure != "published-pair":
            raise ValueError(
                f"clean={self.clean}, and a pool of {self.pooled} has {self.pooled // 2} images without a defect; give a smaller clean, "
                "or a larger pool if there are more images"
            )
        return self

    @model_validator(mode="after")
    def _tells(self) -> Self:
        if self.structure != "own" and self.test // 2 * self.rate < 1:
            least = 2 * ceil(1 / self.rate - 1e-9)
            raise ValueError(
                f"test={self.test} has {self.test // 2} clean images, of which rate={self.rate:g} is less than one; give "
                f"test={least} or more, or a higher rate"
            )
        return self

    @model_validator(mode="after")
    def _folders(self) -> Self:
        given = [name for name in ("real", "tested") if getattr(self, name) is not None]
        if self.structure == "own" and (len(given) < 2 or self.pool is None):
            raise ValueError(
                "structure=own wants `real` and `tested`, parameters of images.load such as {path: FOLDER}, and `pool`, how many of the "
                "real images to use, half with a defect"
            )
        if self.structure == "own" and self.real == self.tested:
            raise ValueError(
                "real and tested are the same images, and a test on what was learned from says nothing; give those of other places, lots "
                "or wafers as tested"
            )
        extra = [*given, *(["tile"] if self.tile else []), *(["label"] if self.label != "given" else [])]
        if self.structure != "own" and extra:
            raise ValueError(f"{', '.join(extra)} without structure=own would change nothing; give structure=own, or leave them out")
        return self


def data_of(params: WorthIt) -> Data:
    """The images that are compared on."""
    if params.structure == "own":
        return own(params.real or {}, params.tested or {}, params.label, params.tile, params.pooled)
    if params.structure == "deeppcb":
        return boards(params.size, params.pooled, params.test)
    if params.structure == "published-pair":
        return published_pair(params.test)
    return simulated(params.structure, params.size, params.pooled, params.test)


def worth_it(registry: Registry, params: WorthIt) -> Pipeline:
    """The pipeline for these parameters. Raises PipelineError for a generator that is no one-shot method of this registry."""
    for name in params.makers:
        check_one_shot(registry, name, "params.generators")
    data = data_of(params)
    steps: Steps = dict(data.steps)
    cells: list[dict[str, Any]] = []
    for size in params.sizes:
        for draw in range(params.draws):
            for recipe, made, images in recipes(registry, params, data, size, draw):
                steps |= made
                if params.alone or recipe not in params.makers:
                    steps |= trained(recipe, size, draw, images, params)
                    cells.append({"recipe": recipe, "size": size, "draw": draw})
    steps |= trained("untrained", params.sizes[0], 0, named(BASELINE, params.sizes[0], 0), params, steps=0)
    cells.append({"recipe": "untrained", "size": params.sizes[0], "draw": 0})
    for draw in range(params.draws if params.pooled > 2 else 0):
        steps |= trained("all real", params.pooled // 2, draw, "pool", params)
        cells.append({"recipe": "all real", "size": params.pooled // 2, "draw": draw})
    there = {cell["recipe"] for cell in cells}
    rivals = [name for free in RIVALS for name in (free, f"{BASELINE} + {free}") if name in there]
    controls = ["shuffled masks", "untrained"]
    told = {
        "rate": params.rate,
        "baseline": BASELINE,
        "rivals": rivals,
        "controls": controls,
        "remarks": [*data.remarks, *remarks(registry, params)],
    }
    models = [segmenter(**cell) for cell in cells]
    steps["report"] = {"task": "unet.worth", "inputs": {"images": "test", "models": models}, "params": {"cells": cells, **told}}
    return Pipeline.parse({"name": "worth-it", "description": DESCRIPTION, "seed": 7, "steps": steps})


def recipes(registry: Registry, params: WorthIt, data: Data, size: int, draw: int) -> Iterable[tuple[str, Steps, str]]:
    """(recipe, steps that make its images, the step that gives them) of a draw of so many real images."""
    real, augmented = named("real", size, draw), named(BASELINE, size, draw)
    varied = {"count": params.count, "flip_x": True, "flip_y": True, "noise": 1.0}
    taken = {"defects": size, "clean": min(params.clean, params.pooled // 2), **data.drawing}
    yield BASELINE, {
        real: {"task": "images.draw", "inputs": {"images": "pool"}, "params": taken, "seed": draw},
        augmented: {"task": "images.augment", "inputs": {"images": real}, "params": varied, "seed": draw},
    }, augmented  # fmt: skip
    if size > 1:
        shuffled = named("shuffled", size, draw)
        yield "shuffled masks", {shuffled: {"task": "images.shuffle_masks", "inputs": {"images": augmented}, "seed": draw}}, shuffled
    for method in params.makers:
        learned = learned_from(registry, params, method, size)
        labelled, both = named(method, learned, draw, "labelled"), named(method, size, draw, "both")
        yield method, generated(registry, params, data, method, learned, draw), labelled
        yield f"{BASELINE} + {method}", {both: {"task": "images.join", "inputs": {"images": [augmented, labelled]}}}, both


def learned_from(registry: Registry, params: WorthIt, method: str, size: int) -> int:
    """Of how many real images the draw is that a generator is shown. One that takes a single image learns from the first of the smallest
    draw, which is the first of every larger one with the same seed, so that a model serves all sizes.
    """
    single = "image" in registry.tasks[f"{method}.train"].params.model_fields
    return params.sizes[0] if single and params.generator_images == 1 else size


def generated(registry: Registry, params: WorthIt, data: Data, method: str, size: int, draw: int) -> Steps:
    """A generator trained on the real images alone, and its images, labelled without looking at any truth where they bring no masks.

    A method of one image learns from the first of the draw, or from several, a model each. Images with references are generated along
    one where the method can, and are labelled by it.
    """
    real, known = named("real", size, draw), registry.tasks[f"{method}.train"].params.model_fields
    wanted: dict[str, Any] = {"steps": params.generator_steps} if params.generator_steps else {}
    wanted |= {"anchor": "reference"} if data.references else {}
    several = min(size, params.generator_images) if "image" in known else 1
    steps: Steps = {}
    parts = []
    for image in range(several):
        part = str(image + 1) if several > 1 else ""
        model, samples = named(method, size, draw, part, "model"), named(method, size, draw, part, "samples")
        chosen = {name: value for name, value in {"image": image, **wanted}.items() if name in known}
        count = params.count * (image + 1) // several - params.count * image // several
        steps[model] = {"task": f"{method}.train", "inputs": {"images": real}, "params": chosen, "seed": draw}
        steps[samples] = {"task": f"{method}.sample", "inputs": {"model": model}, "params": {"count": max(count, 1)}, "seed": draw}
        parts.append(samples)
    whole = parts[0]
    if several > 1:
        whole = named(method, size, draw, "samples")
        steps[whole] = {"task": "images.join", "inputs": {"images": parts}}
    reference = {} if data.references else {"reference": real}
    labelled = {"task": "reference-difference.label", "inputs": {"images": whole, **reference}}
    return {**steps, named(method, size, draw, "labelled"): labelled}


def remarks(registry: Registry, params: WorthIt) -> Iterable[str]:
    """What a reader must know of the generators."""
    fields = {method: registry.tasks[f"{method}.train"].params.model_fields for method in params.makers}
    if single := [method for method, known in fields.items() if "image" in known]:
        many = params.generator_images
        which = "the first of each draw, the same at every size" if many == 1 else f"up to {many} of each draw, a model each"
        yield f"Learned from one image with a defect, {which}: {', '.join(single)}. Other generators have all of a draw."
    if params.generator_steps and (cut := [method for method, known in fields.items() if "steps" in known]):
        yield f"Trained for {params.generator_steps} steps, which may be fewer than their own: {', '.join(cut)}."


def trained(recipe: str, size: int, draw: int, images: str, params: WorthIt, *, steps: int | None = None) -> Steps:
    """A segmenter of a recipe's images. Where none of them has a defect it learns to find none, and the comparison goes on."""
    chosen = {"steps": params.steps if steps is None else steps, "batch": 16, "accept_clean": True, "augment": {"shift": SHIFT}}
    return {segmenter(recipe, size, draw): {"task": "unet.train", "inputs": {"images": images}, "params": chosen, "seed": draw}}


def segmenter(recipe: str, size: int, draw: int) -> str:
    """The step that trains it."""
    return named(recipe, size, draw, "segmenter")


def named(recipe: str, size: int, draw: int, *what: str) -> str:
    """The step of a recipe, as 'copy-paste_5_2_model': what it is stands last, so that 'steps.*_model' finds it."""
    return step_name(recipe, str(size), str(draw), *what)
