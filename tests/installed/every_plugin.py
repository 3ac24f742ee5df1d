"""A third party's method with one quick task of every kind, some of them with a stop half way: what a store can hold, to be damaged."""

from typing import Any

import numpy as np

from fabloom import Context, ImageSet, Method, Model, OfflineData, Params, Report, RowSpec, Source, task
from fabloom.kinds import Fields, Table

ROWS, BLOCK = 40, 8


class Given(Params):
    folder: Source


class Turns(Params):
    steps: int = 8


class Every(Method):
    """One task of every kind."""

    name = "every"

    @task(version=1)
    def photos(self, ctx: Context, params: Given) -> ImageSet:
        """Images of bytes that lie in files, with masks and classes."""
        data = b"".join(path.read_bytes() for path in sorted(params.folder.path.iterdir()))
        pixels = np.frombuffer(data, np.uint8).reshape(-1, 1, 64, 64)
        masks = (pixels[:, 0] > 250).astype(np.uint8)
        labels = (np.arange(len(pixels)) % 2).astype(np.int16)
        return ImageSet.write(ctx, pixels, masks=masks, labels=labels, class_names=["gap", "bridge"])

    @task(version=1)
    def fields(self, ctx: Context, params: Params, *, images: ImageSet) -> Fields:
        """The images as maps in nanometres."""
        return Fields.write(ctx, images.images[:].astype(np.float32) / 7, units=["nm"], channel_names=["height"])

    @task(version=1)
    def model(self, ctx: Context, params: Params, *, images: ImageSet) -> Model:
        """Tensors of which some have equal shapes."""
        import torch

        state = {f"layers.{n}.weight": torch.randn(12, 16, generator=ctx.generator()) for n in range(3)}
        half = torch.ones(4, dtype=torch.bfloat16) * 1.5
        config = {"mean": float(images.images[:].mean())}
        return Model.write(ctx, {**state, "half": half, "steps": torch.tensor(7), "none": torch.empty(0, 3)}, config)

    @task(version=1)
    def rows(self, ctx: Context, params: Params) -> OfflineData:
        """Rows that depend on their number alone, in five blocks; `same` is alike in all of them."""
        specs = {"sample_id": RowSpec("int64", compress=False), "codes": RowSpec("int8", (2, 8, 8)), "same": RowSpec("int8", (4, 32))}
        writer = OfflineData.writer(ctx, count=ROWS, block=BLOCK, arrays=specs)
        with ctx.progress(ROWS, unit="row", done=writer.start) as bar:
            for start in range(writer.start, ROWS, BLOCK):
                rows = np.arange(start, start + BLOCK)
                codes = np.stack([np.random.default_rng([5, row]).integers(-100, 100, (2, 8, 8)) for row in rows]).astype(np.int8)
                writer.append({"sample_id": rows, "codes": codes, "same": np.ones((BLOCK, 4, 32), np.int8)})
                bar.advance(BLOCK)
        return OfflineData.finish(ctx, writer, {"seed": 5})

    @task(version=1)
    def walk(self, ctx: Context, params: Turns) -> Model:
        """A small training, each of whose turns depends on all before: weights, optimizer, running statistics and four generators."""
        import torch

        net: Any = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.BatchNorm1d(32), torch.nn.Linear(32, 1))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            x = torch.randn(8, 16, generator=ctx.generator()) + torch.randn(()) + float(np.random.rand())
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        return Model.write(ctx, net.state_dict(), {"turns": params.steps})

    @task(version=1)
    def report(self, ctx: Context, params: Params, *, model: Model, fields: Fields) -> Report:
        """Numbers, a table and two pictures."""
        picture = np.asarray(fields.values[0][0]).astype(np.uint8)
        metrics = {"weight": float(model.state()["layers.0.weight"].abs().sum())}
        return Report.write(
            ctx, metrics, tables={"t": Table(["a"], [[1]])}, pictures={"first": picture, "second": 255 - picture}, notes=["n"]
        )
