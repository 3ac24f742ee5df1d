"""The pipeline `one-shot-leaderboard`, built from whatever one-shot methods are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fabloom.errors import PipelineError, PluginError, did_you_mean
from fabloom.method import Method, TaskSpec
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

TAG = "one-shot"
COUNT, ABLATION_COUNT = 200, 64
"""Images of an entry, and of a setting of an ablation."""

SEGMENTER = {"repeats": 3, "steps": 200, "batch": 16}
"""Training of every entry's U-Nets and of the baseline's."""

DESCRIPTION = """\
Every installed one-shot method through the same budget and the same evaluation, beside the published figures. A method joins by being
installed: tagged 'one-shot', with the tasks train and sample in their plain signature. Scale all of them at once:
--set 'steps.*_samples.params.count=1000'.
"""
Steps = dict[str, dict[str, Any]]
DECLARED: dict[str, TypeAdapter[Any]] = {
    "variants": TypeAdapter(dict[str, dict[str, Any]]),
    "ablations": TypeAdapter(dict[str, list[dict[str, Any]]]),
}


def one_shot_leaderboard(registry: Registry) -> Pipeline:
    """The pipeline for the methods of this registry, in the order of their names. Reads nothing but the registry.

    A method of another signature is left out, and the description says so. Raises PipelineError where no one-shot method can be used.
    """
    others = of_other_signature(registry)
    methods = [registry.methods[name] for name in sorted(registry.methods) if is_one_shot(registry, name)]
    if not methods:
        raise PipelineError("", f"no method tagged '{TAG}' with the tasks train and sample can be used; see `fabloom plugins`.{others}")
    steps = shared()
    entries: list[dict[str, str]] = []
    settings: list[dict[str, str]] = []
    ports: dict[str, list[str]] = {"samples": [], "quality": [], "segmentation": [], "ablations": []}
    for method in methods:
        model = f"{step_name(method.name)}_model"
        steps[model] = {"task": f"{method.name}.train", "inputs": {"images": "images"}}
        for variant, overrides in {"": {}, **declared(method, "variants")}.items():
            stem = step_name(method.name, variant)
            entries.append({"method": method.name, "variant": variant})
            steps |= sampled(registry, method.name, stem, model, COUNT, overrides) | scored(stem)
            for port, suffix in (("samples", "labelled"), ("quality", "quality"), ("segmentation", "segmentation")):
                ports[port].append(f"{stem}_{suffix}")
        for ablation, overrides_of in declared(method, "ablations").items():
            for overrides in overrides_of:
                value, beside = spelled(ablation, overrides)
                stem = step_name(method.name, ablation, value)
                if f"{stem}_quality" in steps:  # equal values that differ in what else they fix
                    stem = f"{stem}_{len(settings)}"
                settings.append({"method": method.name, "ablation": ablation, "value": value, "beside": beside})
                steps |= sampled(registry, method.name, stem, model, ABLATION_COUNT, overrides)
                ports["ablations"].append(f"{stem}_quality")
    steps["leaderboard"] = {
        "task": "leaderboard.compare",
        "inputs": {"reference": "real", **ports},
        "params": {"entries": entries, "settings": settings},
    }
    return Pipeline.parse({"name": "one-shot-leaderboard", "description": DESCRIPTION + others, "seed": 7, "steps": steps})


def is_one_shot(registry: Registry, name: str) -> bool:
    """Whether a method joins."""
    return bool(found := entrants(registry, name)) and not any(spec.signature for spec in found)


def check_one_shot(registry: Registry, name: str, place: str) -> None:
    """Raise PipelineError, at this place, for a name that is no one-shot method of this registry."""
    if name not in registry.methods or not is_one_shot(registry, name):
        known = [one for one in sorted(registry.methods) if is_one_shot(registry, one)]
        raise PipelineError(place, f"'{name}' is no one-shot method.{did_you_mean(name, known)}")


def entrants(registry: Registry, name: str) -> list[TaskSpec]:
    """The tasks with which a method would join: train and sample of one that is tagged; empty where it is not or lacks one."""
    tasks = [registry.tasks.get(f"{name}.{task}") for task in ("train", "sample")]
    found = [spec for spec in tasks if spec is not None]
    return found if TAG in registry.methods[name].tags and len(found) == len(tasks) else []


def of_other_signature(registry: Registry) -> str:
    """Which tagged methods cannot join, because a task of theirs wants other inputs; '' where there are none."""
    specs = [spec for name in sorted(registry.methods) for spec in entrants(registry, name) if spec.signature]
    return " Left out: " + ", ".join(f"{spec.full_name} has {spec.signed}" for spec in specs) + "." if specs else ""


def declared(method: type[Method], what: str) -> Mapping[str, Any]:
    """`variants` (name to sampling parameters) or `ablations` (name to a list of them) of a method; none is fine."""
    try:
        found: Mapping[str, Any] = DECLARED[what].validate_python(getattr(method, what, {}))
    except ValidationError as error:
        first = error.errors()[0]
        raise PluginError(f"method '{method.name}' declares {what} wrongly at {first['loc']}: {first['msg']}") from error
    return found


def shared() -> Steps:
    """What all entries have in common: the two images, their labels, the test set, and the plain baseline."""
    varied = {"count": COUNT, "flip_x": True, "flip_y": True, "paired": True, "noise": 1.0}
    test = varied | {"count": 50, "noise_low": 0.0, "noise_share": 0.7, "rounding": "truncate"}
    return {
        "images": {
            "task": "images.load",
            "params": {"path": "line_pair", "clean": ["no_defect*"], "defect": ["bridge_defect*"]},
        },
        "real": {
            "task": "reference-difference.label",
            "inputs": {"images": "images", "reference": "images"},
            "params": {"preset": "published"},
        },
        "varied": {"task": "images.augment", "inputs": {"images": "real"}, "params": varied},
        "baseline": {"task": "unet.train", "inputs": {"images": "varied"}, "params": SEGMENTER},
        "test": {"task": "images.augment", "inputs": {"images": "real"}, "params": test, "seed": 1},
    }


def sampled(registry: Registry, method: str, stem: str, model: str, count: int, overrides: Mapping[str, Any]) -> Steps:
    """Generate, and score the images themselves."""
    counted = {"count": count} if "count" in registry.tasks[f"{method}.sample"].params.model_fields else {}
    return {
        f"{stem}_samples": {"task": f"{method}.sample", "inputs": {"model": model}, "params": {**counted, **overrides}},
        f"{stem}_quality": {"task": "quality.evaluate", "inputs": {"images": f"{stem}_samples", "reference": "images"}},
    }


def scored(stem: str) -> Steps:
    """Label the generated images, train a segmenter on them alone, and score it on the real test set."""
    return {
        f"{stem}_labelled": {
            "task": "reference-difference.label",
            "inputs": {"images": f"{stem}_samples", "reference": "images"},
            "params": {"preset": "published"},
        },
        f"{stem}_segmenter": {
            "task": "unet.train",
            "inputs": {"images": f"{stem}_labelled"},
            # a method whose images hold no defect is an entry too: its segmenters find nothing
            "params": {**SEGMENTER, "accept_clean": True},
        },
        f"{stem}_segmentation": {
            "task": "unet.evaluate",
            "inputs": {"images": "test", "model": f"{stem}_segmenter", "baseline": "baseline"},
        },
    }


def step_name(*words: str) -> str:
    """A step name of a method's and a setting's words, as in 'sinsemi_guidance_0-1'."""
    return "_".join(re.sub(r"[^A-Za-z0-9]+", "-", word).strip("-") for word in words if word)


def spelled(ablation: str, overrides: Mapping[str, Any]) -> tuple[str, str]:
    """What a setting varies, and what else it fixes: ('10', 'guidance.strength 1') of {steps: 10, guidance: {strength: 1}}."""
    leaves = dict(_leaves(overrides))
    own = {path: value for path, value in leaves.items() if path.split(".")[0] == ablation} or leaves
    value = ", ".join(own.values()) if len(own) == 1 else ", ".join(f"{path} {text}" for path, text in own.items())
    return value, ", ".join(f"{path} {text}" for path, text in leaves.items() if path not in own)


def _leaves(overrides: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", f"{value:g}" if isinstance(value, float) else str(value)
