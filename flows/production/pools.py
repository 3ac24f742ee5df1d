"""Work pools whose runs are containers: Prefect's own template of a job, with the image, the store and the time to stop filled in.

    python -m fabloom.flows.production.pools docker > docker-pool.json
    prefect work-pool create plant --type docker --base-job-template docker-pool.json

Made from what the installed Prefect ships, so that it fits that version. The worker itself needs `prefect-docker` or `prefect-kubernetes`.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fabloom import __version__
from fabloom.errors import EnvironmentProblem

Kind = Literal["docker", "kubernetes"]
KINDS: tuple[Kind, ...] = ("docker", "kubernetes")
SHIPPED = "server/api/collections_data/views/aggregate-worker-metadata.json"
IMAGE = f"fabloom:{__version__}"
PLACE = "/srv/fabloom"
"""The folder that every machine has: the store and the data lie in it."""

ENVIRONMENT = {"FABLOOM_STORE": f"{PLACE}/store", "PYTHONSAFEPATH": "1", "DO_NOT_TRACK": "1"}
GRACE = 120
"""Seconds from the request to stop until the end: a step writes its checkpoint."""

OF_THE_JOB = ("parallelism", "completions")
"""Fields that Prefect's own template has in the pod, where Kubernetes does not know them: it warns, or refuses the job."""

KEPT = 86400
"""Seconds that a finished job stays to be looked at."""


def template(kind: Kind) -> dict[str, Any]:
    """The base job template of a pool. Raises EnvironmentProblem where Prefect ships none for that kind."""
    made = copy.deepcopy(shipped(kind))
    properties = made["variables"]["properties"]
    properties["image"]["default"] = IMAGE
    properties["image_pull_policy"]["default"] = "IfNotPresent"
    properties["env"]["default"] = dict(ENVIRONMENT)
    if kind == "docker":
        properties["volumes"]["default"] = [f"{PLACE}:{PLACE}"]
        properties["auto_remove"]["default"] = True
        return made
    properties["finished_job_ttl"]["default"] = KEPT
    properties["claim"] = _text("Volume claim", "The persistent volume claim that holds the store and the data.", "fabloom")
    properties["gpus"] = _text("GPUs", "GPUs of a job, as in '1'. Not given: none.")
    job = made["job_configuration"]["job_manifest"]["spec"]
    pod = job["template"]["spec"]
    job.update({name: pod.pop(name) for name in OF_THE_JOB if name in pod})
    pod["terminationGracePeriodSeconds"] = GRACE
    pod["securityContext"] = {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000}
    pod["volumes"] = [
        {"name": "store", "persistentVolumeClaim": {"claimName": "{{ claim }}"}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    (container,) = pod["containers"]
    container["volumeMounts"] = [{"name": "store", "mountPath": PLACE}, {"name": "shm", "mountPath": "/dev/shm"}]  # noqa: S108 the pod's
    container["resources"]["limits"]["nvidia.com/gpu"] = "{{ gpus }}"
    return made


def shipped(kind: Kind) -> dict[str, Any]:
    """Prefect's own template, as it came with the package; Prefect is not imported for it."""
    spec = importlib.util.find_spec("prefect")
    file = Path(str(spec.origin)).parent / SHIPPED if spec is not None else None
    try:
        known = json.loads(file.read_text()) if file is not None else {}
        found: dict[str, Any] = known[f"prefect-{kind}"][kind]["default_base_job_configuration"]
    except (OSError, KeyError, ValueError) as error:
        raise EnvironmentProblem(
            f"the installed Prefect ships no template for {kind} pools ({error!r}); install prefect>=3.9.1,<4"
        ) from error
    return found


def _text(title: str, description: str, default: str | None = None) -> dict[str, Any]:
    known = {"title": title, "description": description, "type": "string"}
    return known if default is None else {**known, "default": default}


def main(arguments: Sequence[str]) -> str:
    """The template of the kind that is named. Raises SystemExit with a line for anything else."""
    kind = next((one for one in KINDS if [*arguments] == [one]), None)
    if kind is None:
        raise SystemExit(f"python -m fabloom.flows.production.pools KIND > FILE, with KIND one of {', '.join(KINDS)}")
    return json.dumps(template(kind), indent=2)


if __name__ == "__main__":
    print(main(sys.argv[1:]))
