"""A deployment as `prefect.yaml`, for those who keep theirs under version control and register them with `prefect deploy --all`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fabloom.durable import write_durably
from fabloom.errors import UserError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

HEAD = """\
# Written by `fabloom deploy --write-yaml`. Register what it holds, and again after each change, with
#     prefect --no-prompt deploy --all
# in this folder. The pool must be there: `prefect work-pool create {pool} --type process`.
"""


def check_new(file: Path) -> None:
    """Raise UserError where something is there already: it may hold other deployments."""
    if file.exists():
        raise UserError(f"--write-yaml '{file}': it is there already. Take it away, or give another name and copy what is new.")
    if not file.absolute().parent.is_dir():
        raise UserError(f"--write-yaml '{file}': there is no folder '{file.absolute().parent}'. Make it.")


def check_secrets(secrets: Sequence[str]) -> None:
    """Raise UserError for secrets: `prefect deploy` fills blocks in when it registers, and keeps what was in them in the deployment."""
    if secrets:
        raise UserError(
            f"--secret {secrets[0]} with --write-yaml: `prefect deploy` would put the secret itself into the deployment. Register with "
            "`fabloom deploy` alone, whose runs ask for the block, or give the variable to the workers"
        )


def write_yaml(deployment: RunnerDeployment, file: Path) -> None:
    """One document with one deployment."""
    text = yaml.safe_dump(content(deployment), sort_keys=False, allow_unicode=True, width=120)
    write_durably(file.absolute(), (HEAD.format(pool=deployment.work_pool_name) + text).encode())


def content(deployment: RunnerDeployment) -> dict[str, Any]:
    """What Prefect reads. There is nothing to pull: the code is what is installed where a worker runs."""
    module, _, function = str(deployment.entrypoint).rpartition(".")
    return {
        "name": "fabloom",
        "pull": [],
        "deployments": [
            {
                "name": deployment.name,
                "version": deployment.version,
                "tags": list(deployment.tags),
                "description": deployment.description,
                "entrypoint": f"{module}:{function}",
                "parameters": dict(deployment.parameters),
                "schedules": [_schedule(one) for one in deployment.schedules or ()],
                "concurrency_limit": {
                    "limit": deployment.concurrency_limit,
                    "collision_strategy": str(deployment.concurrency_options.collision_strategy.value)
                    if deployment.concurrency_options
                    else None,
                },
                "paused": bool(deployment.paused),
                "work_pool": {"name": deployment.work_pool_name, "job_variables": dict(deployment.job_variables)},
            }
        ],
    }


def _schedule(one: Any) -> dict[str, Any]:
    plain = one.schedule.model_dump(mode="json", exclude_none=True)
    keep = {name: plain[name] for name in ("cron", "timezone", "interval", "anchor_date") if name in plain}
    return {**keep, "slug": one.slug, "active": True}
