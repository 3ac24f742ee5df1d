"""Where everything on the page comes from, and how to make it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from fabloom.flows.report.draw.markup import code, problem, table, text
from fabloom.kinds.metric import is_number
from fabloom.pipeline import Pipeline
from fabloom.planning.given import PUT, is_given
from fabloom.planning.plan import Plan

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

COLUMNS = ("step", "task", "key", "digest", "made", "on", "with")


def lineage(plan: Plan, store: Store, manifests: Mapping[str, dict[str, Any]], damage: Mapping[str, str]) -> str:
    """A table of every artifact that the run stands on, also those of other runs; damaged manifests are told below it."""
    names = {step.key: step.name for step in plan.steps}
    known = {step.key: manifests[step.name] for step in plan.steps if step.name in manifests}
    problems = {step.key: f"{step.name}: {damage[step.name]}" for step in plan.steps if step.name in damage}
    queue = [key for step in plan.steps if step.key in known for value in step.inputs.values() for key in _keys(value)]
    while queue:
        key = queue.pop(0)
        if key in known or key in problems:
            continue
        try:
            known[key] = store.manifest(key)
            queue += [source for value in known[key]["preimage"]["inputs"].values() for source in _keys(value)]
        except Exception as error:
            problems[key] = f"{type(error).__name__}: {error}"
    rows = [_row(names.get(key, "another run"), key, manifest) for key, manifest in known.items()]
    kinds = ["nowrap", "", "", "", "nowrap", "nowrap", ""]
    return table(COLUMNS, rows, kinds, wide=True) + "".join(map(problem, problems.values()))


def _keys(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _row(name: str, key: str, manifest: Mapping[str, Any]) -> list[str]:
    preimage, made_with, plugin = (manifest.get(field) or {} for field in ("preimage", "made_with", "plugin"))
    put = is_given(str(preimage.get("task")))
    made_by = [] if put else [f"{plugin.get('distribution', '?')} {plugin.get('version', '?')}"]
    versions = [*made_by, *(f"{n} {v}" for n, v in sorted(made_with.items()))]
    digest, threads = str(manifest["digest"]), manifest.get("threads", "?")
    return [
        text(name),
        text(PUT) if put else code(f"{preimage.get('task', '?')} v{preimage.get('version', '?')}"),
        code(key[:12], key),
        code(digest[:12], digest),
        text(str(manifest.get("created", "")).replace("T", " ").removesuffix("Z")),
        text("" if put else f"{manifest.get('device', '?')}, {threads} thread{'s' * (threads != 1)}"),
        text(", ".join(versions)),
    ]


def reproduce(pipeline: Pipeline, manifests: Sequence[Mapping[str, Any]]) -> str:
    """The command, with the device and the number of threads where all steps had the same, and the pipeline as it ran."""
    threads = {str(m["threads"]) for m in manifests if is_number(m.get("threads"))}
    devices = {str(m.get("device")) for m in manifests}
    file = f"{pipeline.name}.yaml"
    command = f"fabloom run {file}"
    if len(threads) == 1:
        command = f"FABLOOM_THREADS={min(threads)} {command}"
    if len(devices) == 1 and devices <= {"cpu", "cuda", "mps"}:
        command += f" --device {min(devices)}"
    content = pipeline.model_dump(mode="json", exclude_defaults=True)
    listed = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return (
        f"<p>Save the pipeline as {code(file)} (it holds every override and the seed), then run</p><pre>{text(command)}</pre>"
        f'<p class="soft">What is in the store is reused. In an empty store everything is made again, with equal digests on the '
        f"same platform, versions, kind of device and number of threads.</p>"
        f"<details><summary>The pipeline: {code(file)}</summary><pre>{text(listed)}</pre></details>"
    )
