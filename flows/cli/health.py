"""What `fabloom verify` prints: what runs left and who, warnings, and last what is damaged and how it is made again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from fabloom.planning.given import is_given
from fabloom.storage.verify import Health

from .output import say

REMOVED = "`fabloom gc` removes it"


def tell_health(health: Health) -> None:
    """Leftovers by the step that left them, warnings, damage, the count."""
    for told, paths in _by_step(health).items():
        say(f"leftover {', '.join(paths)}: {told}")
    for warning in health.warnings:
        say(f"warning: {warning}")
    for key, problems in health.problems.items():
        say(f"damaged {key if ' ' in key or '/' in key else key[:12]}: " + "; ".join(problems))
        if key in health.steps:
            say(f"        {_again(health.steps[key])}")
    say(f"{health.checked} artifacts checked, {len(health.problems)} damaged.")
    if set(health.problems) - set(health.steps):
        say("Make a damaged one again with `fabloom run PIPELINE --redo STEP`.")


def _by_step(health: Health) -> dict[str, list[str]]:
    """Paths of leftovers by what is to be said of them."""
    found: dict[str, list[str]] = {}
    for path in health.leftovers:
        found.setdefault(_leaving(health.steps.get(path, {})), []).append(path)
    return found


def _leaving(step: Mapping[str, str]) -> str:
    if not step:
        return f"from a run that did not end; running again uses it, {REMOVED}"
    name = f"step '{step.get('step')}' of pipeline '{step.get('pipeline')}' ({step.get('task')})"
    ended, why = step.get("ended", ""), step.get("why", "")
    if ended == "failed":
        return f"{name} failed: {why.rstrip('.')}. It begins where it was when the cause is gone and it runs again; {REMOVED}"
    if ended == "stopped":
        return f"{name} was stopped; running again goes on from there, {REMOVED}"
    return f"{name} was killed; running again goes on from there, {REMOVED}"


def _again(step: Mapping[str, str]) -> str:
    if "step" in step and "pipeline" in step:
        command = f"fabloom run {shlex.quote(step['pipeline'])} --redo {shlex.quote(step['step'])}"
        return f"step '{step['step']}' ({step.get('task')}) made it; make it again with `{command}`, or with your pipeline's file"
    if is_given(step.get("task", "")):
        return "it was put there, and no step can make it again: take it out with `fabloom.open_store(…).set_aside(KEY)`, then put it anew"
    return f"{step.get('task')} made it; make it again with `fabloom run PIPELINE --redo STEP`"
