"""`ikddit`: a diffusion transformer whose student sees half of the patches, aligned to a teacher that sees them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.errors import PipelineError
from fabloom.kinds import Model, Report
from fabloom.method import Context, Method, task
from fabloom.plugins.blocks.overlay.ensembles import OverlayEnsembles
from fabloom.plugins.blocks.overlay.maps import OverlayMaps

from .params import EmbedParams, EvaluateParams, SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.method import PlannedStep
    from fabloom.network import Network


class Ikddit(Method):
    """IKDDiT (Yang & Hsiao, ICCV 2025): overlay maps of the next layer from the layer below, equipment logs and barcode.

    A student encoder sees a part of the patches, a light decoder fills in the rest, and an implicit discriminator brings the student's
    tokens to those of a teacher, its own average, that sees all: L = L_DSM + lambda1 L_MAE + lambda2 L_D (equation 8).
    """

    name = "ikddit"
    preload = ("torch", "torch._dynamo", "diffusers")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """Of a model of `train`: an evaluation of the student, on all patches and on those that are seen; none of a model of `embed`."""
        from . import exporting

        return exporting.networks(model) if model.config.get("role") == cls.name else {}

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Patches must divide maps of known size, samples need names, and wafers that are judged must not be those of the training."""
        size = getattr(upstream["maps"].params, "size", None) if "maps" in upstream else None
        if isinstance(step.params, TrainParams) and size is not None and (size % step.params.patch or size % 8):
            where = f"steps.{step.name}.params.patch"
            raise PipelineError(where, f"patches of {step.params.patch} px, and 8 x 8 ones, must divide maps of {size} px")
        if isinstance(step.params, EvaluateParams):
            given, names = len(step.inputs["samples"]), len(step.params.entries)
            if given != names:
                raise PipelineError(f"steps.{step.name}.inputs.samples", f"lists {given} steps, but params.entries names {names}")
            if step.inputs["training"] == step.inputs["maps"]:
                raise PipelineError(f"steps.{step.name}.inputs.maps", "is the training set: what was learned from tells nothing")

    @task(version=2)
    def embed(self, ctx: Context, params: EmbedParams, *, maps: OverlayMaps) -> Model:
        """Train the encoders of layer below, logs and barcode to find what belongs together (unified contrastive learning).

        Wafers of the last lots are held out; how well the encoders know them stands in the model. Raises DataError for too few wafers or
        lots, and for maps that do not divide into 8 x 8 patches.
        """
        from . import embedding

        return embedding.embed(ctx, params, maps)

    @task(version=5, signature="overlay")
    def train(self, ctx: Context, params: TrainParams, *, maps: OverlayMaps, embedding: Model | None = None) -> Model:
        """Train the transformer, on encoders of `embed` or on ones that start with it.

        Raises DataError for maps on another raster or with other logs than the encoders know, and for a patch that does not divide them.
        """
        from . import training

        return training.train(ctx, params, maps, embedding)

    @task(version=3, signature="overlay")
    def sample(self, ctx: Context, params: SampleParams, *, maps: OverlayMaps, model: Model) -> OverlayEnsembles:
        """Generate maps for wafers of which layer below, logs and barcode are known; the maps of `maps` itself are not looked at.

        Tools, reticles and layers that the training had not are named in the log and on the page: such maps err more.
        Raises DataError for maps on another raster or with other logs than the model knows.
        """
        from . import sampling

        return sampling.sample(ctx, params, maps, model)

    @task(version=4)
    def evaluate(
        self, ctx: Context, params: EvaluateParams, *, training: OverlayMaps, maps: OverlayMaps, samples: list[OverlayEnsembles]
    ) -> Report:
        """Hold ensembles against the measured maps of `maps`, beside ridge regression on `training` and the layer below as it is.

        R2 is left out where no term can be foretold; wafers of fewer than six lots give no verdict. Raises DataError for samples of other
        maps, for lots that are in both sets, and for sets on different rasters.
        """
        from .judging import evaluating

        return evaluating.evaluate(ctx, params, training, maps, samples)
