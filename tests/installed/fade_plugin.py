"""A third party's plugin as it lies in site-packages: quick steps that can be killed, slowed, held and broken on request."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from fabloom import Context, ImageSet, Method, Model, OfflineData, Params, Pipeline, Report, RowSpec, hookimpl, task
from fabloom.errors import DataError
from fabloom.method import Fanout


class MakeParams(Params):
    count: int = Field(6, gt=0, description="Images to make.")


class TrainParams(Params):
    steps: int = Field(20, gt=0, description="Optimizer steps.")
    pause: float = Field(0.0, ge=0, description="Seconds to wait in each step.")
    die: bool = Field(False, description="Kill the process in the middle.")


class RecordParams(Params):
    count: int = Field(40, gt=0)
    pause: float = Field(0.0, ge=0)
    fail_at: int = Field(-1, description="Row whose block cannot be made.")
    die_at: int = Field(-1, description="Row before whose block the process is killed, once.")


HELD_AT = 4


def fork() -> int:
    """A child of the step that does nothing for ever, once it is itself and no copy of us any more."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"x")
        while True:
            signal.pause()
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return child


def hold(ctx: Context, part: str = "") -> None:
    """Write who we are into the file that FADE_HOLD names and stay until a stop is asked for or the file is taken away, so that a test
    finds this process at work whenever it looks; with FADE_CHILD there is a fork of ours beside, which would stay for ever."""
    if place := os.environ.get("FADE_HOLD", "") and os.environ["FADE_HOLD"] + part:
        child = fork() if "FADE_CHILD" in os.environ else -1
        Path(f"{place}.new").write_text(f"{os.getpid()} {child}")
        Path(f"{place}.new").rename(place)
        while Path(place).exists() and not ctx.stop_requested():
            time.sleep(0.01)


class Fade(Method):
    """Learns the mean image."""

    name = "fade"

    @task(version=1)
    def make(self, ctx: Context, params: MakeParams) -> ImageSet:
        """Random images."""
        import torch

        pixels = torch.randint(0, 255, (params.count, 1, 8, 8), generator=ctx.generator(), dtype=torch.uint8)
        ctx.log(f"made {params.count} images")
        return ImageSet.write(ctx, pixels.numpy())

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """A linear layer that learns the mean grey level from noisy images."""
        import torch

        net = torch.nn.Linear(64, 1)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        data = torch.from_numpy(images.images[:]).float().flatten(1) / 255
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            if params.die and step.index == params.steps // 2 and not (ctx.workdir / "died").exists():
                (ctx.workdir / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if step.index == HELD_AT:
                hold(ctx)
            time.sleep(params.pause)
            noise = torch.randn(data.shape, generator=ctx.generator()) + torch.randn(()) + float(np.random.rand())
            loss = (net(data + noise) - data.mean(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        return Model.write(ctx, net.state_dict(), {"inputs": 64})

    @task(version=1, fanout=Fanout(count="count", unit=(8,)))
    def record(self, ctx: Context, params: RecordParams, *, teacher: Model) -> OfflineData:
        """Rows that depend on (seed, index) and the weights only."""
        weight, own = float(teacher.state()["weight"].sum()), ctx.rows(params.count)
        writer = OfflineData.writer(
            ctx, count=len(own), block=8, arrays={"sample_id": RowSpec("int64", compress=False), "r_chunks": RowSpec("int8", (2, 4, 4))}
        )
        with ctx.progress(len(own), unit="row", done=writer.start) as bar:
            for start in range(own.start + writer.start, own.stop, 8):
                rows = np.arange(start, min(start + 8, own.stop))
                time.sleep(params.pause)
                if ctx.part is not None and start == own.start + 8:
                    hold(ctx, f"-{own.start}")
                if params.fail_at in rows:
                    raise DataError(f"row {params.fail_at} is upside down")
                if params.die_at in rows and not (ctx.workdir / "died").exists():
                    (ctx.workdir / "died").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                codes = np.stack([np.random.default_rng([ctx.seed % 2**32, int(row)]).integers(-100, 100, (2, 4, 4)) for row in rows])
                writer.append({"sample_id": rows, "r_chunks": codes.astype(np.int8)})
                bar.advance(len(rows))
        return OfflineData.finish(ctx, writer, {"weight": weight})

    @task(version=1)
    def score(self, ctx: Context, params: Params, *, model: Model, offline: OfflineData) -> Report:
        """The sum of what there is."""
        return Report.write(
            ctx, {"weight": float(model.state()["weight"].abs().sum()), "codes": int(offline.array("r_chunks")[...].astype(int).sum())}
        )


@hookimpl
def fabloom_methods():
    return [Fade]


@hookimpl
def fabloom_pipelines():
    return [
        Pipeline.model_validate(
            {
                "name": "fade",
                "description": "make, train, record, score",
                "steps": {
                    "images": {"task": "fade.make"},
                    "model": {"task": "fade.train", "inputs": {"images": "images"}},
                    "offline": {"task": "fade.record", "inputs": {"teacher": "model"}},
                    "report": {"task": "fade.score", "inputs": {"model": "model", "offline": "offline"}},
                },
            }
        )
    ]
