"""The last lines of a run: what it gave, and what one does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabloom.flows.run.log import headline_of
from fabloom.flows.run.predict import FINDING

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult
    from fabloom.method import StepResult

HELPED = "helped"


def closing(result: RunResult) -> list[str]:
    """The headline of a run that ended well, and the command that applies the segmenter that it judged; [] where there are none.

    A model that was not shown to be better than its baseline is not the one to take: the baseline is.
    """
    if result.exit_code or result.store is None:
        return []
    told = headline_of(result.steps, result.store).get("told")
    key, why = segmenter(result)
    return [*([str(told)] if told else []), *([f"Next: fabloom predict {key[:12]} FOLDER -o findings{why}"] if key else [])]


def segmenter(result: RunResult) -> tuple[str, str]:
    """(the key of the segmenter to take, why that and no other): that of the last report, or its baseline, or what made the first of its
    maps, else the one that was trained; ('', '') where there is none, or many.
    """
    steps, keys = result.plan.pipeline.steps, {step.name: step.key for step in result.steps}
    models = [step for step in result.plan.steps if step.spec.output.kind == "Model"]
    trained = {
        step.name: keys[step.name] for step in models if any(hasattr(step.spec.method, task) for task in FINDING) and step.name in keys
    }
    for report in reversed(result.steps):
        inputs = steps[report.name].inputs if report.name in steps else {}
        model, baseline = inputs.get("model"), inputs.get("baseline")
        if isinstance(inputs.get("maps"), list) and isinstance(first := inputs["maps"][0], str) and first in steps:
            model = steps[first].inputs.get("model")
        if not isinstance(model, str) or model not in trained:
            continue
        if not isinstance(baseline, str) or baseline not in trained:
            return trained[model], ""
        better, other = (model, baseline) if helped(result, report) else (baseline, model)
        why = f"shown to be better than '{other}'" if better == model else f"since '{other}' was not shown to be better"
        return trained[better], f"    # '{better}', {why}"
    return (next(iter(trained.values())), "") if len(trained) == 1 else ("", "")


def helped(result: RunResult, report: StepResult) -> bool:
    """Whether a report says that its model is better than its baseline."""
    assert result.store is not None
    difference = getattr(result.store.get(report.key), "metrics", {}).get("difference")
    return isinstance(difference, dict) and difference.get("verdict") == HELPED
