"""The pipeline `worth-it`: learning curves over real images for every recipe of training images, on simulated structures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from fabloom.errors import PipelineError, did_you_mean
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

from .one_shot_leaderboard import Steps, is_one_shot, step_name

BASELINE = "augmented"
DESCRIPTION = """\
Are synthetic images worth it? The same segmenter with the same steps, trained on so many real images and what each recipe makes of them,
for several numbers of real images; what a recipe is worth in further real images, with intervals, beside the rivals that cost nothing.
More of everything: --param draws=5 --param generator_steps=null --set 'steps.*_segmenter.params.repeats=3'.
"""
STRUCTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "line-pair": ({"defect_low": 0.5, "defect_high": 1.0}, {"defect_low": 0.35, "defect_high": 1.2}),
    "contact-hole": ({"defect_low": 0.4, "defect_high": 0.7}, {"defect_low": 0.3, "defect_high": 0.9}),
    "sram-cell": ({"defect_low": 0.4, "defect_high": 0.8}, {"defect_low": 0.3, "defect_high": 1.0}),
}
"""How the real images of each structure are simulated, and how the test images are: with defects of further sizes."""


class WorthIt(Params):
    """What is compared, for how many real images, and how often."""

    structure: Literal["line-pair", "contact-hole", "sram-cell"] = Field("line-pair", description="what is simulated: lines, holes, cells")
    sizes: tuple[PositiveInt, ...] = Field((1, 5, 20), min_length=1, description="numbers of real images with a defect, rising")
    draws: int = Field(3, ge=1, le=50, description="draws of that many images, each with trainings of its own")
    clean: int = Field(8, ge=1, description="real images without a defect that each draw has beside them")
    generators: tuple[str, ...] = Field(
        ("copy-paste", "noise-paste", "sinsemi"), description="one-shot methods; each makes images of the real ones of every draw"
    )
    generator_steps: int | None = Field(
        700, ge=1, description="optimiser steps of each generator that trains, two to three minutes of sinsemi on two cores; null: its own"
    )
    count: int = Field(200, ge=2, description="images that each recipe trains on")
    size: int = Field(64, ge=32, le=256, description="height and width of the images in pixels")
    pool: int = Field(200, ge=4, description="real images there are, half with a defect; all of them are the ceiling")
    test: int = Field(400, ge=20, description="test images, half with a defect, of another seed")
    steps: int = Field(200, ge=1, description="optimiser steps of every segmenter")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes={list(self.sizes)} must rise")
        if max(self.sizes) > (most := self.pool // 2):
            raise ValueError(f"sizes go to {max(self.sizes)}, and a pool of {self.pool} has {most} images with a defect; raise pool")
        if self.clean > self.pool // 2:
            raise ValueError(f"clean={self.clean}, and a pool of {self.pool} has {self.pool // 2} images without a defect; raise pool")
        return self


def worth_it(registry: Registry, params: WorthIt) -> Pipeline:
    """The pipeline for these parameters. Raises PipelineError for a generator that is no one-shot method of this registry."""
    for name in params.generators:
        if name not in registry.methods or not is_one_shot(registry, name):
            known = [one for one in sorted(registry.methods) if is_one_shot(registry, one)]
            raise PipelineError("params.generators", f"'{name}' is no one-shot method.{did_you_mean(name, known)}")
    steps = sets(params)
    cells: list[dict[str, Any]] = []
    for size in params.sizes:
        for draw in range(params.draws):
            for recipe, made, images in recipes(registry, params, size, draw):
                steps |= made | trained(recipe, size, draw, images, params)
                cells.append({"recipe": recipe, "size": size, "draw": draw})
    steps |= trained("untrained", params.sizes[0], 0, named("augmented", params.sizes[0], 0), params, steps=0)
    cells.append({"recipe": "untrained", "size": params.sizes[0], "draw": 0})
    for draw in range(params.draws):
        steps |= trained("all real", params.pool // 2, draw, "pool", params)
        cells.append({"recipe": "all real", "size": params.pool // 2, "draw": draw})
    steps["report"] = {
        "task": "unet.worth",
        "inputs": {"images": "test", "models": [segmenter(**cell) for cell in cells]},
        "params": {"cells": cells, "baseline": BASELINE, "controls": ["shuffled masks", "untrained"]},
    }
    return Pipeline.parse({"name": "worth-it", "description": DESCRIPTION, "seed": 7, "steps": steps})


def sets(params: WorthIt) -> Steps:
    """All real images, and the test images: of another seed, with defects of further sizes."""
    real, test = STRUCTURES[params.structure]
    task, size = f"{params.structure}.simulate", {"size": params.size}
    return {
        "pool": {"task": task, "params": {"count": params.pool, **size, **real}},
        "test": {"task": task, "params": {"count": params.test, **size, **test}, "seed": 1},
    }


def recipes(registry: Registry, params: WorthIt, size: int, draw: int) -> Iterable[tuple[str, Steps, str]]:
    """(recipe, steps that make its images, the step that gives them) of a draw of so many real images."""
    real, augmented = named("real", size, draw), named("augmented", size, draw)
    varied = {"count": params.count, "flip_x": True, "flip_y": True, "noise": 1.0}
    yield BASELINE, {
        real: {"task": "images.draw", "inputs": {"images": "pool"}, "params": {"defects": size, "clean": params.clean}, "seed": draw},
        augmented: {"task": "images.augment", "inputs": {"images": real}, "params": varied, "seed": draw},
    }, augmented  # fmt: skip
    if size > 1:
        shuffled = named("shuffled", size, draw)
        yield "shuffled masks", {shuffled: {"task": "images.shuffle_masks", "inputs": {"images": augmented}, "seed": draw}}, shuffled
    for method in params.generators:
        labelled, both = named(method, size, draw, "labelled"), named(method, size, draw, "both")
        yield method, generated(registry, params, method, size, draw, real), labelled
        yield f"{BASELINE} + {method}", {both: {"task": "images.join", "inputs": {"images": [augmented, labelled]}}}, both


def generated(registry: Registry, params: WorthIt, method: str, size: int, draw: int, real: str) -> Steps:
    """A generator trained on the real images alone, and its images, labelled without looking at any truth where they bring no masks.

    A method of one image learns from the first of the draw.
    """
    model, samples, labelled = (named(method, size, draw, what) for what in ("model", "samples", "labelled"))
    known = registry.tasks[f"{method}.train"].params.model_fields
    wanted = {"image": 0, **({"steps": params.generator_steps} if params.generator_steps else {})}
    chosen = {name: value for name, value in wanted.items() if name in known}
    return {
        model: {"task": f"{method}.train", "inputs": {"images": real}, "params": chosen, "seed": draw},
        samples: {"task": f"{method}.sample", "inputs": {"model": model}, "params": {"count": params.count}, "seed": draw},
        labelled: {"task": "reference-difference.label", "inputs": {"images": samples, "reference": real}},
    }


def trained(recipe: str, size: int, draw: int, images: str, params: WorthIt, *, steps: int | None = None) -> Steps:
    """A segmenter of a recipe's images. Where none of them has a defect it learns to find none, and the comparison goes on."""
    chosen = {"steps": params.steps if steps is None else steps, "batch": 16, "accept_clean": True}
    return {segmenter(recipe, size, draw): {"task": "unet.train", "inputs": {"images": images}, "params": chosen, "seed": draw}}


def segmenter(recipe: str, size: int, draw: int) -> str:
    """The step that trains it."""
    return named(recipe, size, draw, "segmenter")


def named(recipe: str, size: int, draw: int, what: str = "") -> str:
    """The step of a recipe, as 'copy-paste_5_2_model': what it is stands last, so that 'steps.*_model' finds it."""
    return step_name(recipe, str(size), str(draw), what)
