"""The last lines of a run: what it gave, and what one does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom.flows.run.log import headline_of

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult

SEGMENTER = "unet.train"
"""The task whose models `fabloom predict` takes."""


def closing(result: RunResult) -> list[str]:
    """The headline of a run that ended well, and the command that applies the segmenter that it judged; [] where there are none."""
    if result.exit_code or result.store is None:
        return []
    told = headline_of(result.steps, result.store).get("told")
    key = segmenter(result)
    return [*([str(told)] if told else []), *([f"Next: fabloom predict {key[:12]} FOLDER -o findings"] if key else [])]


def segmenter(result: RunResult) -> str:
    """The key of the segmenter that the last report is about, else of the one that was trained; '' where there is none, or many."""
    steps = result.plan.pipeline.steps
    trained = {step.name: step.key for step in result.steps if step.task == SEGMENTER}
    judged = [inputs["model"] for inputs in (step.inputs for step in steps.values()) if inputs.get("model") in [*trained]]
    names = [name for name in judged if isinstance(name, str)] or ([*trained] if len(trained) == 1 else [])
    return trained[names[-1]] if names else ""
