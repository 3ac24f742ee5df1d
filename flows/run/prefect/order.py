"""What a flow run is asked for, as the flow's parameters say it, and what that comes to: an engine and a plan."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

from fabloom.flows.run.api import check_workers, load_pipeline, open_store
from fabloom.method import Options
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.running.device import check_device
from fabloom.running.engine import Engine
from fabloom.running.executors import Executor, ProcessExecutor
from fabloom.running.executors.dask import DaskExecutor
from fabloom.running.executors.ray import RayExecutor


@dataclass(frozen=True)
class Order:
    """The parameters of the flow, by their names; `flow.run_pipeline` says what each is."""

    pipeline: str
    store: str = ""
    device: str = "auto"
    seed: int = -1
    overrides: tuple[str, ...] = ()
    redo: tuple[str, ...] = ()
    keep_going: bool = False
    workers: int = 1
    runner: str = "threads"
    checkpoint_seconds: float = 30.0
    note: str = ""
    cluster: str = ""

    @classmethod
    def of(cls, plan: Plan, engine: Engine, runner: str, workers: int, cluster: str = "") -> Order:
        """What Prefect shows of a run that somebody else has planned: the pipeline by its name, with all overrides in it already."""
        options = engine.options
        return cls(
            plan.pipeline.name,
            engine.store.url,
            options.device.partition(":")[0],
            max(plan.pipeline.seed, -1),
            redo=options.redo,
            keep_going=engine.keep_going,
            workers=workers,
            runner=runner,
            checkpoint_seconds=options.checkpoint_seconds,
            cluster=cluster,
        )

    def parameters(self) -> dict[str, Any]:
        """For Prefect."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def planned(self, stop: threading.Event) -> tuple[Plan, Engine]:
        """The plan, and an engine without an executor, which stops with the event.

        Raises UserError and EnvironmentProblem, before anything runs.
        """
        check_workers("prefect", self.runner, self.workers, self.cluster)
        registry = Registry.load()
        built = load_pipeline(self.pipeline, registry).override(self.overrides, None if self.seed < 0 else self.seed, registry.fields)
        store = open_store(self.store or None, registry)
        plan = make_plan(built, registry, store)
        for name in self.redo:
            plan.step(name)
        check_device(self.device, present=any(not store.has(step.key) or step.name in self.redo for step in plan.steps))
        options = Options(self.device, self.checkpoint_seconds, self.redo)
        return plan, Engine(registry, store, options, stop=stop.is_set, keep_going=self.keep_going)


def executor_for(plan: Plan, order: Order) -> Executor:
    """Each step in a process of its own, forked from a server that has loaded what the steps need: here, or in a worker of dask or ray."""
    preload = {"zarr", *(module for step in plan.steps for module in step.spec.method.preload)}  # every step writes an artifact
    if order.runner == "dask":
        return DaskExecutor(order.workers, order.cluster, preload)
    if order.runner == "ray":
        return RayExecutor(order.workers, order.cluster, preload)
    return ProcessExecutor(preload)
