"""A third party's method whose models are as good as the number in a file: nights of retraining in milliseconds, with a real report."""

import os
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from fabloom import Context, ImageSet, Method, Model, Params, Report, Source, hookimpl, task
from fabloom.errors import Interrupted
from fabloom.kinds import Metric


class ReadParams(Params):
    path: Source = Field(description="A folder with a file 'grey': grey level, number of images, share of defects.")


class ScoreParams(Params):
    sources: int = Field(12, ge=1)
    spread: float = Field(0.02, description="Half the width of the intervals.")


class Rival(Method):
    """Images of one grey level, models that know it, and a score that is higher for a higher one."""

    name = "rival"

    @task(version=1)
    def read(self, ctx: Context, params: ReadParams) -> ImageSet:
        """`count` images around the grey level, of which the first have a defect."""
        grey, count, share = (params.path.path / "grey").read_text().split()
        pixels = np.random.default_rng([7, int(grey)]).integers(-9, 10, (int(count), 1, 8, 8)) + int(grey)
        masks = np.zeros((int(count), 8, 8), np.uint8)
        masks[: round(int(count) * float(share)), 2:4, 2:4] = 1
        return ImageSet.write(ctx, pixels.clip(0, 255).astype(np.uint8), masks=masks)

    @task(version=1)
    def train(self, ctx: Context, params: Params, *, images: ImageSet) -> Model:
        """Remembers the mean. Waits while the file that RIVAL_HOLD names is there, and fails where RIVAL_FAIL is set."""
        import torch

        if place := os.environ.get("RIVAL_HOLD"):
            Path(f"{place}.reached").touch()
            while Path(place).exists() and not ctx.stop_requested():
                time.sleep(0.01)
            if ctx.stop_requested():
                raise Interrupted("stopped")
        if "RIVAL_FAIL" in os.environ:
            raise RuntimeError("the training broke")
        return Model.write(ctx, {"skill": torch.tensor(float(images.images[:].mean()))}, {"role": "rival"})

    @task(version=1)
    def improve(self, ctx: Context, params: Params, *, images: ImageSet, model: Model) -> Model:
        """A model that is 10 grey levels better than the one given, 130 at most."""
        skill = (model.state()["skill"] + 10).clamp(max=130)
        return Model.write(ctx, {"skill": skill}, {"role": "rival"})

    @task(version=1)
    def evaluate(self, ctx: Context, params: ScoreParams, *, images: ImageSet, model: Model, baseline: Model | None = None) -> Report:
        """The mean as a share of white, with paired differences."""

        def metric(value: float, role: str) -> Metric:
            return Metric(value, (value - params.spread, value + params.spread), better="up", role=role)

        skill = {n: float(m.state()["skill"]) / 255 for n, m in (("model", model), ("baseline", baseline)) if m is not None}
        found = {n: {"score": metric(value, "headline" if n == "model" else "control")} for n, value in skill.items()}
        if baseline is not None:
            found["difference"] = {"score": metric(skill["model"] - skill["baseline"], "detail")}
        return Report.write(ctx, {"images": len(images), "sources": params.sources, **found})


@hookimpl
def fabloom_methods():
    return [Rival]
