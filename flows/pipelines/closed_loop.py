"""The pipeline `closed-loop`: a segmenter says what it misses, and generated images like that are what it learns from next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

from .one_shot_leaderboard import Steps, check_one_shot, step_name
from .worth_data import STRUCTURES
from .worth_it import SHIFT

LOOP, CONTROL, RIVAL = "closed loop", "control", "validation learned"
DESCRIPTION = """\
Does it help to choose generated images by what the segmenter misses? Round after round: misses on a validation set, more samples, those
like the misses, the same training anew; scored on a test set that chooses nothing. Beside it the same without the choice (control), and
what it would be worth to learn from the labelled validation images instead. So far the choice is not shown
to help: docs/methods/curate.md.
"""
RATE = 0.01
"""Share of the clean test images that may have a false alarm where defects are counted as missed."""


class ClosedLoop(Params):
    """How many rounds, how often, and how large."""

    structure: Literal["line-pair", "contact-hole", "sram-cell"] = Field("line-pair", description="what is simulated: lines, holes, cells")
    rounds: int = Field(3, ge=1, le=20, description="rounds of misses, samples, choice and training")
    draws: int = Field(3, ge=1, le=50, description="draws of the real images, each with trainings of its own")
    real: int = Field(5, ge=1, description="real images with a defect")
    clean: int = Field(8, ge=1, description="real images without a defect that each draw has beside them")
    generator: str = Field("copy-paste", description="one-shot method that makes the images of every round")
    samples: dict[str, Any] = Field({}, description="further parameters of the generator's sample, as in {contrast: [0.4, 1.6]}")
    pool: int = Field(200, ge=4, description="images that are generated in a round")
    keep: int = Field(50, ge=2, description="images of them that are trained on from then on")
    hardness: float = Field(1.0, ge=0, le=1, description="of curate.select; the control has 0")
    diversity: float = Field(0.3, ge=0, le=1, description="of curate.select; the control has 0")
    count: int = Field(200, ge=2, description="variations of the real images, which every training has")
    size: int = Field(64, ge=32, le=256, description="height and width of the images in pixels")
    validation: int = Field(
        200, ge=4, description="labelled images that say what is missed, half with a defect; trained on by no arm but the last"
    )
    test: int = Field(400, ge=20, description="test images, half with a defect, of another seed")
    steps: int = Field(200, ge=1, description="optimiser steps of every segmenter")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.keep > self.pool:
            raise ValueError(f"keep={self.keep}, and a round generates {self.pool}; raise pool")
        return self

    @property
    def images(self) -> int:
        """Real images that there are to draw from, half with a defect."""
        return 2 * max(2 * self.real, 2 * self.clean, 10)


def closed_loop(registry: Registry, params: ClosedLoop) -> Pipeline:
    """The pipeline for these parameters. Raises PipelineError for a generator that is no one-shot method of this registry."""
    check_one_shot(registry, params.generator, "params.generator")
    steps, cells, reports = sets(params), list[dict[str, Any]](), list[str]()
    for draw in range(params.draws):
        for arm, after, made, tried in course(params, draw):
            steps |= made
            cells.append({"arm": arm, "round": after, "draw": draw})
            reports.append(tried)
    told = {"cells": cells, "arm": LOOP, "control": CONTROL}
    steps["report"] = {"task": "curate.compare", "inputs": {"misses": reports}, "params": told}
    return Pipeline.parse({"name": "closed-loop", "description": DESCRIPTION, "seed": 7, "steps": steps})


def sets(params: ClosedLoop) -> Steps:
    """Real images, and two sets with defects of further sizes, from seeds of their own: one says what is missed, the other is the test."""
    real, other = STRUCTURES[params.structure]
    task, size = f"{params.structure}.simulate", {"size": params.size}
    return {
        "images": {"task": task, "params": {"count": params.images, **size, **real}},
        "validation": {"task": task, "params": {"count": params.validation, **size, **other}, "seed": 2},
        "test": {"task": task, "params": {"count": params.test, **size, **other}, "seed": 1},
    }


def course(params: ClosedLoop, draw: int) -> Iterator[tuple[str, int, Steps, str]]:
    """(arm, round, steps that come with it, the step that tells what it misses in the test set) of one draw of the real images."""
    yield LOOP, 0, start(params, draw) | trained(params, draw, "start", "augmented"), named("start", draw, "tried")
    yield CONTROL, 0, {}, named("start", draw, "tried")
    before = {LOOP: "start", CONTROL: "start"}
    for number in range(1, params.rounds + 1):
        pool = sampled(params, draw, number)
        for arm, model in before.items():
            now = before[arm] = f"{arm} {number}"
            chosen = pool | selected(params, draw, arm, number, model) | joined(draw, arm, number)
            yield arm, number, chosen | trained(params, draw, now, f"{now} images"), named(now, draw, "tried")
    last = f"{CONTROL} {params.rounds}"
    images = [named(f"{last} images", draw), "validation"]
    rival = {named(f"{RIVAL} images", draw): {"task": "images.join", "inputs": {"images": images}}}
    yield RIVAL, params.rounds, rival | trained(params, draw, RIVAL, f"{RIVAL} images"), named(RIVAL, draw, "tried")


def start(params: ClosedLoop, draw: int) -> Steps:
    """The real images of a draw, their variations, and the generator that learns from them."""
    real, varied = named("real", draw), {"count": params.count, "flip_x": True, "flip_y": True, "noise": 1.0}
    drawn = {"defects": params.real, "clean": params.clean}
    return {
        real: {"task": "images.draw", "inputs": {"images": "images"}, "params": drawn, "seed": draw},
        named("augmented", draw): {"task": "images.augment", "inputs": {"images": real}, "params": varied, "seed": draw},
        named("generator", draw): {"task": f"{params.generator}.train", "inputs": {"images": real}, "seed": draw},
    }


def sampled(params: ClosedLoop, draw: int, number: int) -> Steps:
    """The pool of a round, labelled without looking at any truth where the generator brings no masks; both arms have the same."""
    samples, how = named(f"samples {number}", draw), {"count": params.pool, **params.samples}
    made = {"task": f"{params.generator}.sample", "inputs": {"model": named("generator", draw)}, "params": how, "seed": number}
    labelled = {"task": "reference-difference.label", "inputs": {"images": samples, "reference": named("real", draw)}}
    return {samples: made, named(f"pool {number}", draw): labelled}


def selected(params: ClosedLoop, draw: int, arm: str, number: int, before: str) -> Steps:
    """What an arm takes from the pool: by the misses of its last segmenter, or, in the control, by chance."""
    segmenter = named(before, draw, "segmenter")
    inputs = {"images": named(f"pool {number}", draw), "model": segmenter, "reference": named("real", draw)}
    how = {"count": params.keep, "hardness": 0.0, "diversity": 0.0}
    told: Steps = {}
    if arm == LOOP:
        misses = named(f"{arm} {number} misses", draw)
        told[misses] = {"task": "curate.misses", "inputs": {"images": "validation", "model": segmenter}}
        inputs["misses"] = misses
        how |= {"hardness": params.hardness, "diversity": params.diversity}
    return told | {named(f"{arm} {number} chosen", draw): {"task": "curate.select", "inputs": inputs, "params": how, "seed": draw}}


def joined(draw: int, arm: str, number: int) -> Steps:
    """The variations of the real images with all that was chosen so far."""
    chosen = [named(f"{arm} {before} chosen", draw) for before in range(1, number + 1)]
    return {named(f"{arm} {number} images", draw): {"task": "images.join", "inputs": {"images": [named("augmented", draw), *chosen]}}}


def trained(params: ClosedLoop, draw: int, name: str, images: str) -> Steps:
    """A segmenter of these images, and what it misses in the test set."""
    how = {"steps": params.steps, "batch": 16, "accept_clean": True, "augment": {"shift": SHIFT}}
    segmenter = named(name, draw, "segmenter")
    tried = {"task": "curate.misses", "inputs": {"images": "test", "model": segmenter}, "params": {"rate": RATE}}
    return {
        segmenter: {"task": "unet.train", "inputs": {"images": named(images, draw)}, "params": how, "seed": draw},
        named(name, draw, "tried"): tried,
    }


def named(what: str, draw: int, kind: str = "") -> str:
    """The step of a draw, as 'closed-loop-1_0_segmenter'."""
    return step_name(what, str(draw), kind)
