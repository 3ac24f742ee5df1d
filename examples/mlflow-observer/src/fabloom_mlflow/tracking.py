"""A step in MLflow: a run that opens with the first point of a curve, or when the step has ended, and is closed then.

A pipeline that is killed leaves a run that MLflow takes for running; when the same step goes on, it goes on in that one.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .flat import flat, numbers, texts

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from fabloom import PlannedStep, StepResult

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""(step, value) of what a training logged, by loop and name: `main.loss`."""

EXPERIMENT_VARIABLE = "FABLOOM_MLFLOW_EXPERIMENT"
KEY = "fabloom.key"
"""The tag that leads from a run to the artifact."""
DEFAULT_URI = "file:./mlruns"
AT_ONCE = {"params": 100, "metrics": 1000}
"""What MLflow takes in one call of `log_batch`."""

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing about a fab leaves it
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow 3 refuses a folder as its store unless told so
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # its own 7 retries of 120 s would hold up a pipeline whose tracking server is down
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Set before MLflow is imported, where the environment does not say otherwise."""


def log_step(step: PlannedStep, result: StepResult, curves: Curves, began: float, ended: float, open_run: str | None = None) -> None:
    """Write one run, or the rest of an open one: parameters, numbers, curves, tags and times (Unix, in seconds).

    Its experiment is named after the pipeline, unless the environment names another. Raises what MLflow raises.
    """
    client = connect()
    run_id = open_run or begin(client, step, began)
    try:
        for name, value in tags(step, result, ended - began).items():
            client.set_tag(run_id, name, value)
        log_values(client, run_id, step, result, curves, milliseconds(ended))
        client.set_terminated(run_id, "FINISHED" if result.status == "ran" else "FAILED", milliseconds(ended))
    except BaseException:
        client.set_terminated(run_id, "KILLED", milliseconds(ended))  # the step is in the store; only its log is not whole
        raise


def log_points(open_run: str | None, step: PlannedStep, began: float, values: Mapping[str, float], at: int) -> str:
    """Log numbers of turn `at` of a running step in its open run, which is made with the first; gives the run's id."""
    from mlflow.entities import Metric

    client = connect()
    run_id = open_run or begin(client, step, began)
    now = milliseconds(time.time())
    client.log_batch(run_id, metrics=[Metric(flat(name), value, now, at) for name, value in values.items() if math.isfinite(value)])
    return run_id


def begin(client: MlflowClient, step: PlannedStep, began: float) -> str:
    """A run of the step's experiment: the one that a killed pipeline left open for the same step, else a new one."""
    named = experiment(client, os.environ.get(EXPERIMENT_VARIABLE) or step.pipeline)
    left = client.search_runs([named], f"tags.`{KEY}` = '{step.key}' and attributes.status = 'RUNNING'", max_results=1)
    if left:
        return str(left[0].info.run_id)
    return str(client.create_run(named, start_time=milliseconds(began), run_name=step.name, tags={KEY: step.key}).info.run_id)


def connect() -> MlflowClient:
    """A client of MLFLOW_TRACKING_URI, default the folder `./mlruns`."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)


def experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment, made where there is none; another step may be making it at this moment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def tags(step: PlannedStep, result: StepResult, seconds: float) -> dict[str, str]:
    """What finds the run from an artifact and the artifact from a run: `fabloom show KEY`."""
    told = {
        "key": step.key,
        "digest": result.digest,
        "task": step.task,
        "kind": result.kind,
        "status": result.status,
        "seconds": f"{result.seconds or seconds:.3f}",
        "error": result.error[:5000],
        "inputs": " ".join(key for keys in step.inputs.values() for key in ([keys] if isinstance(keys, str) else keys)),
    }
    return {f"fabloom.{name}": value for name, value in told.items() if value}


def log_values(client: MlflowClient, run_id: str, step: PlannedStep, result: StepResult, curves: Curves, at: int) -> None:
    """Log parameters (with the seed), metrics and the points of curves, in portions."""
    from mlflow.entities import Metric, Param

    params = [Param(name, value) for name, value in {"seed": str(step.seed), **texts(step.params.model_dump(mode="json"))}.items()]
    metrics = [Metric(name, value, at, 0) for name, value in numbers(result.metrics).items()]
    for name, points in curves.items():
        metrics += [Metric(flat(name), value, at, step_) for step_, value in points if math.isfinite(value)]
    for portion in portions(params, AT_ONCE["params"]):
        client.log_batch(run_id, params=portion)
    for portion in portions(metrics, AT_ONCE["metrics"]):
        client.log_batch(run_id, metrics=portion)


def portions(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size` values."""
    rest = iter(values)
    while portion := list(itertools.islice(rest, size)):
        yield portion


def milliseconds(seconds: float) -> int:
    """The time that MLflow keeps."""
    return int(seconds * 1000)
