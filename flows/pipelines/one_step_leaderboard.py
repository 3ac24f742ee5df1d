"""The pipeline `one-step-leaderboard`: every way to one step on the same images, with equal arithmetic, beside many steps of diffusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

from .one_shot_leaderboard import Steps, step_name

TAG = "one-step"
DESCRIPTION = """\
One step against many, on simulated line pairs: DDIM of a diffusion model, the students of a recurrence that was distilled from it, with
and without the sum of residuals, consistency with that model as a teacher and without, mean-flow, and whatever else is tagged 'one-step'.
All trainings take about equally many multiply-adds, those of teacher and recordings counted in, the diffusion model half as many; the
table says how many.
"""
CIRCUIT = "denoising-circuits"
KNOWN = (CIRCUIT, "consistency", "mean-flow")
WEIGHTS = {"rin_weight": 0.0, "chunk_weight": 0.5, "sum_weight": 1.0, "x0_weight": 50.0}
STUDENTS: dict[str, dict[str, Any]] = {
    "circuits, by the end": WEIGHTS | {"predict_end": True},
    "circuits, by the sum of residuals": WEIGHTS | {"predict_end": False},
    "regression, noise to image": WEIGHTS | {"predict_end": True, "chunk_weight": 0.0, "sum_weight": 0.0},
}
"""The weights of a student's losses."""


class OneStep(Params):
    """How often, how large, and with how much arithmetic."""

    trainings: int = Field(3, ge=1, le=20, description="trainings of every row, each from a seed of its own")
    budget: float = Field(1.0, gt=0, description="share of the optimizer steps of all trainings and of the recordings")
    size: int = Field(32, ge=16, le=128, multiple_of=8, description="height and width of the images in pixels")
    images: int = Field(768, ge=8, description="training images, half with a defect")
    held_out: int = Field(400, ge=8, description="real images of another seed that samples and segmenters are held against")
    count: int = Field(500, ge=8, description="samples of every row")
    segmenter: int = Field(300, ge=1, description="optimizer steps of the segmenters")

    def steps(self, whole: int) -> int:
        """The share of a number of steps that the budget allows."""
        return max(1, round(whole * self.budget))


@dataclass(frozen=True)
class Row:
    """A set of samples of the table."""

    title: str
    evaluations: int
    model: str
    sample: str
    params: dict[str, Any] = field(default_factory=dict)


def one_step_leaderboard(registry: Registry, params: OneStep) -> Pipeline:
    """The pipeline for these parameters, with a row for every further method of the registry that is tagged 'one-step' and whose `train`
    wants images alone.
    """
    steps = shared(params)
    entries: list[dict[str, Any]] = []
    ports: dict[str, list[str]] = {"samples": [], "labelled": [], "segmentation": [], "agreement": []}
    students: list[str] = []
    for training in range(params.trainings):
        steps |= models(registry, params, training)
        for row in rows(registry, training):
            stem = step_name(row.title, str(training))
            steps |= judged(params, row, stem)
            entries.append({"title": row.title, "evaluations": row.evaluations})
            for port, suffix in (("samples", ""), ("labelled", "_labelled"), ("segmentation", "_segmentation")):
                ports[port].append(stem + suffix)
        for title in STUDENTS:
            students.append(title)
            ports["agreement"].append(step_name(title, "agreement", str(training)))
    steps["table"] = {
        "task": "samplers.compare",
        "inputs": {"reference": "images", "real": "real", **ports},
        "params": {"entries": entries, "students": students},
    }
    return Pipeline.parse({"name": "one-step-leaderboard", "description": DESCRIPTION, "seed": 7, "steps": steps})


def shared(params: OneStep) -> Steps:
    """Training images, real images of another seed, and the segmenter that learned from the training images themselves."""
    look = {"size": params.size, "defect_low": 0.5, "defect_high": 1.0, "ler_nm": 2.0, "noise_std": 2.5}
    return {
        "images": {"task": "line-pair.simulate", "params": {"count": params.images, **look}},
        "real": {"task": "line-pair.simulate", "params": {"count": params.held_out, **look}, "seed": 1},
        "segmenter": {"task": "unet.train", "inputs": {"images": "images"}, "params": segmenter(params)},
    }


def segmenter(params: OneStep) -> dict[str, Any]:
    """The same for all rows; one whose images hold no defect is a row too."""
    return {"steps": params.segmenter, "batch": 16, "repeats": 1, "accept_clean": True}


def models(registry: Registry, params: OneStep, training: int) -> Steps:
    """All models of one training: a diffusion model, and what is distilled from it or trained beside it with as much arithmetic."""
    n = str(training)
    base, circuit, offline = f"base_{n}", f"circuit_{n}", f"offline_{n}"
    learned = {"images": "images"}
    made: Steps = {
        base: {"task": "ddpm.train", "inputs": learned, "params": {"steps": params.steps(2000), "schedule": "cosine"}, "seed": training},
        circuit: {
            "task": f"{CIRCUIT}.train",
            "inputs": {**learned, "base": base},
            "params": {
                "timesteps": 6, "schedule": "squaredcos_cap_v2", "patch": 1, "head_width": 32, "step_blocks": 0,
                "substeps": 8, "batch": 16, "ema_decay": 0.99,
                "stages": [{"steps": params.steps(300), "step_probs": [0, 1], "lr": 1e-3, "only_step": True, "loss": "path"}],
            },
            "seed": training,
        },
        offline: {
            "task": f"{CIRCUIT}.record",
            "inputs": {"teacher": circuit},
            "params": {"count": max(8, params.steps(4000)), "chunks": 4},
            "seed": training,
        },
        f"consistency_{n}": {
            "task": "consistency.train", "inputs": {**learned, "teacher": base}, "params": {"steps": params.steps(1050)}, "seed": training
        },
        f"untaught_{n}": {
            "task": "consistency.train", "inputs": learned, "params": {"steps": params.steps(2800), "noise_mean": 1.0}, "seed": training
        },
        f"mean-flow_{n}": {"task": "mean-flow.train", "inputs": learned, "params": {"steps": params.steps(3200)}, "seed": training},
    }  # fmt: skip
    for title, weights in STUDENTS.items():
        student = step_name(title, "student", n)
        made[student] = {
            "task": f"{CIRCUIT}.distill",
            "inputs": {"teacher": circuit, "offline": offline},
            "params": {"steps": params.steps(1000), "batch": 32, "lr": 0.002, "weight_decay": 0.1, **weights},
            "seed": training,
        }
        made[step_name(title, "agreement", n)] = {
            "task": f"{CIRCUIT}.compare",
            "inputs": {"teacher": circuit, "student": student, "reference": "images"},
            "params": {"count": min(256, max(8, params.count))},
            "seed": training,
        }
    for name in others(registry):
        made[step_name(name, n)] = {"task": f"{name}.train", "inputs": learned, "seed": training}
    return made


def others(registry: Registry) -> list[str]:
    """Further methods that join: tagged, with train and sample in their plain signature."""
    tagged = [name for name in sorted(registry.methods) if TAG in registry.methods[name].tags and name not in KNOWN]
    return [
        name
        for name in tagged
        if all((spec := registry.tasks.get(f"{name}.{task}")) and not spec.signature for task in ("train", "sample"))
    ]


def rows(registry: Registry, training: int) -> Iterator[Row]:
    """The rows of one training."""
    n = str(training)
    for count in (1, 2, 4, 10, 50):
        yield Row(f"ddim, {count} step{'s' * (count > 1)}", count, f"base_{n}", "ddpm", {"scheduler": "ddim", "steps": count})
    yield Row("recurrence, 5 steps", 5, f"circuit_{n}", CIRCUIT)
    for title in STUDENTS:
        yield Row(title, 1, step_name(title, "student", n), CIRCUIT)
    for count in (1, 4):
        said = f", {count} step{'s' * (count > 1)}"
        yield Row("consistency, taught" + said, count, f"consistency_{n}", "consistency", {"steps": count})
        yield Row("consistency, alone" + said, count, f"untaught_{n}", "consistency", {"steps": count})
        yield Row("mean-flow" + said, count, f"mean-flow_{n}", "mean-flow", {"steps": count})
    for name in others(registry):
        yield Row(name, 1, step_name(name, n), name)


def judged(params: OneStep, row: Row, stem: str) -> Steps:
    """Samples of a row, their labels, and a segmenter that learns from them alone."""
    labels = {"max_off_share": 1.0}  # a bad sampler's images show other structure than the clean ones; they count, and are not refused
    return {
        stem: {"task": f"{row.sample}.sample", "inputs": {"model": row.model}, "params": {"count": params.count, **row.params}},
        f"{stem}_labelled": {
            "task": "reference-difference.label", "inputs": {"images": stem, "reference": "images"}, "params": labels
        },
        f"{stem}_segmenter": {"task": "unet.train", "inputs": {"images": f"{stem}_labelled"}, "params": segmenter(params)},
        f"{stem}_segmentation": {
            "task": "unet.evaluate", "inputs": {"images": "real", "model": f"{stem}_segmenter", "baseline": "segmenter"}
        },
    }  # fmt: skip
