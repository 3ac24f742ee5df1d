"""What a plugin author writes must type-check under strict mypy without a cast or an ignore."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fabloom import (
    Artifact,
    Context,
    DataError,
    EnvironmentProblem,
    Exhibit,
    ImageSet,
    Messenger,
    Method,
    Metric,
    Model,
    Params,
    Pipeline,
    PipelineError,
    PlannedStep,
    Report,
    RowSpec,
    Source,
    Step,
    StepResult,
    Table,
    hookimpl,
    open_store,
    run,
    task,
)
from fabloom.registry import Registry
from fabloom.testing import MemoryStore, MethodConformance, run_task, tiny_images, write_artifact


class TrainParams(Params):
    steps: int = Field(20, gt=0, description="Optimizer steps.")


class SampleParams(Params):
    count: int = Field(8, gt=0, description="Images to draw.")


class Fade(Method):
    """Learns the mean image and fades noise into it."""

    name = "fade"
    tags = frozenset({"one-shot"})

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        if isinstance(step.params, TrainParams) and step.params.steps > 10**6:
            raise PipelineError(f"steps.{step.name}.params.steps", "is a month of training")

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        messenger.log(f"{len(steps)} steps of {cls.name}")
        with messenger.progress(1, unit="file", name="table") as bar:
            if not Path("table.csv").is_file():
                raise EnvironmentProblem("table.csv is not here. Put it into the current folder.")
            bar.advance()

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        net = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        target = torch.from_numpy(images.images[:].astype(np.float32)).mean()
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            loss = (net(torch.ones(1, 1)) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        return Model.write(ctx, state=net.state_dict(), config={"shape": list(images.images.shape[1:])})

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        shape = model.config["shape"]
        generator = ctx.generator()

        def batches() -> Iterator[NDArray[np.uint8]]:
            for _ in range(params.count):
                noise = torch.randint(0, 255, (1, *shape), generator=generator, dtype=torch.uint8)
                yield noise.numpy()

        return ImageSet.write(ctx, images=batches())


class Profile(Artifact):
    """A kind of one's own: mean grey level of each column, float32 [N,W]."""

    @classmethod
    def write(cls, ctx: Context, columns: NDArray[np.float32]) -> Profile:
        if columns.ndim != 2:
            raise DataError(f"columns must be [N,W], not {columns.shape}")
        writer = ctx.staging.rows(len(columns), 64, {"columns": RowSpec("float32", columns.shape[1:], dims=("x",))})
        writer.append({"columns": columns})
        writer.close()
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        return f"{manifest['arrays']['columns']['shape'][0]} profiles"

    def exhibits(self) -> Iterator[Exhibit]:
        yield Exhibit("First profile", table=Table(("x", "grey"), list(enumerate(self.array("columns")[0].tolist()))), section="images")

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        return {"npy": lambda folder: np.save(folder / "columns.npy", self.array("columns")[...])}


class FolderParams(Params):
    path: Source = Field(description="Folder of images.")


class Measure(Method):
    """Tasks of other names, with an optional and a list input."""

    name = "measure"

    @task(version=1)
    def profile(self, ctx: Context, params: Params, *, images: ImageSet, mask: ImageSet | None = None) -> Profile:
        return Profile.write(ctx, images.images[:].mean((1, 2)).astype(np.float32))

    @task(version=2)
    def count(self, ctx: Context, params: FolderParams, *, reports: list[Report]) -> Report:
        with ctx.progress(len(reports), unit="report") as bar:
            for report in reports:
                ctx.log(f"{report.key[:12]}: {report.metrics}")
                bar.advance()
        best = Metric(1.0, (0.5, 1.5), unit="px", better="up", role="headline")
        found: Mapping[str, Any] = reports[0].described if reports else {}
        return Report.write(
            ctx, {"reports": len(reports), "best": best, "first": found}, tables={"all": Table(("key",), [(r.key,) for r in reports])}
        )


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    return [Fade, Measure]


@hookimpl
def fabloom_kinds() -> list[type[Artifact]]:
    return [Profile]


def everything(registry: Registry) -> Pipeline:
    steps = {name: Step(task=f"{name}.train") for name, method in registry.methods.items() if "one-shot" in method.tags}
    return Pipeline(name="everything", steps=steps)


@hookimpl
def fabloom_pipelines() -> list[object]:
    return [everything]


@hookimpl
def fabloom_step_finished(step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
    print(step.pipeline, step.name, result.status, result.metrics, manifest["curves"] if manifest else {})


class TestFade(MethodConformance):
    method = Fade
    params = {"train": {"steps": 4}, "sample": {"count": 2}}
    inputs = {"train": {"images": tiny_images}}


def test_by_hand(fabloom_memory_store: MemoryStore) -> None:
    images = write_artifact(fabloom_memory_store, tiny_images)
    model = run_task(fabloom_memory_store, Fade, "train", {"steps": 2}, inputs={"images": images})
    assert isinstance(model, Model) and model.config["shape"] == [1, 32, 32]


def by_the_python_door() -> str:
    done = run("one-step", store="here", set=["steps.teacher.params.steps=20"])
    artifact = open_store("here").get(done.steps[0].key)
    return artifact.digest
