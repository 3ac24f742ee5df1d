"""The pipeline `pcb-screening-one-shot`, built from whatever one-shot methods are installed."""

from __future__ import annotations

from typing import Any

from fabloom import Pipeline, PipelineError

DESCRIPTION = """\
What generated images are worth: for every installed one-shot method, a segmenter trained on images generated from one defective board
and its defect-free twin, scored on boards that it has not seen. Folders: steps.pair.params.path (clean/ and defect/, one image in
each) and steps.test.params.path (clean/, defect/ and masks/), images of one size. Scale all methods at once:
--set 'steps.*_images.params.count=1000'.
"""


def pcb_screening_one_shot(registry: Any) -> Pipeline:
    """The pipeline for the methods that `registry` holds: tagged `one-shot`, with the tasks train and sample.

    The function's name, with hyphens, is the pipeline's. It reads nothing but the registry. Raises PipelineError where no method fits.
    """
    tagged = sorted(name for name, method in registry.methods.items() if "one-shot" in method.tags)
    tasks = {name: [registry.tasks.get(f"{name}.{task}") for task in ("train", "sample")] for name in tagged}
    names = [name for name in tagged if all(spec is not None and not spec.signature for spec in tasks[name])]  # the plain ports
    if not names:
        raise PipelineError("", "no method tagged 'one-shot' with the tasks train and sample is installed; see `fabloom plugins`")
    steps: dict[str, Any] = {
        "pair": {"task": "images.load", "params": {"path": "boards/pair", "colour": "grey"}},
        "test": {"task": "images.load", "params": {"path": "boards/test", "colour": "grey"}},
        "labelled": label("pair"),
        "baseline": train("labelled"),
    }
    for name in names:
        counted = "count" in registry.tasks[f"{name}.sample"].params.model_fields
        steps |= entry(name, {"count": 200} if counted else {})
    return Pipeline.parse({"name": "pcb-screening-one-shot", "description": DESCRIPTION, "seed": 11, "steps": steps})


def entry(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The steps of one method: learn from the pair, generate, label against the clean twin, train on that alone, score."""
    return {
        f"{name}_model": {"task": f"{name}.train", "inputs": {"images": "pair"}},
        f"{name}_images": {"task": f"{name}.sample", "inputs": {"model": f"{name}_model"}, "params": params},
        f"{name}_labelled": label(f"{name}_images"),
        f"{name}_segmenter": train(f"{name}_labelled"),
        f"{name}_report": {
            "task": "unet.evaluate",
            "inputs": {"images": "test", "model": f"{name}_segmenter", "baseline": "baseline"},
        },
    }


def label(images: str) -> dict[str, Any]:
    """Masks from the difference to the clean image of the pair."""
    return {"task": "reference-difference.label", "inputs": {"images": images, "reference": "pair"}}


def train(images: str) -> dict[str, Any]:
    """A segmenter; a method whose images hold no defect is scored too, and finds nothing."""
    return {"task": "unet.train", "inputs": {"images": images}, "params": {"steps": 200, "accept_clean": True}}
