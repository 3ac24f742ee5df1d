"""`denoising-circuits`: a recurrence in latent space as teacher, its quantised trajectories, and a one-step student.

One lifts noise once into a latent, walks the whole denoising trajectory there by small residual steps, and reads the image out at
the end. The end is the start plus the sum of all steps, so a student may predict the start and a few partial sums in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model, OfflineData, Report, offline_specs
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import samples, trained

from .params import CompareParams, DistillParams, ReadParams, RecordParams, SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class DenoisingCircuits(Method):
    """Denoising circuits: a latent recurrence distilled through its recorded residuals into one step."""

    name = "denoising-circuits"
    tags = frozenset({"one-step"})
    preload = ("torch", "torch._dynamo", "diffusers")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse more chunks than the teacher has steps, and simulated images that the U-Net's levels cannot halve."""
        teacher, images = upstream.get("teacher"), upstream.get("images")
        if isinstance(step.params, RecordParams) and teacher is not None and isinstance(teacher.params, TrainParams):
            steps = teacher.params.timesteps - 1 + step.params.apply_t0
            if step.params.chunks > steps:
                why = f"{step.params.chunks} chunks of {steps} recurrent steps: at most {steps}, or raise timesteps of '{teacher.name}'"
                raise PipelineError(f"steps.{step.name}.params.chunks", why)
        if isinstance(step.params, TrainParams) and "base" not in step.inputs and step.params.base_path is None and images is not None:
            size, unit = getattr(images.params, "size", None), step.params.patch * 2 ** (len(step.params.base.channels) - 1)
            if size is not None and size % unit:
                why = f"'{images.name}' makes images of {size} pixels, which patch and levels cannot halve: use a multiple of {unit}"
                raise PipelineError(f"steps.{step.name}.params.base.channels", why)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Images have the shape of the teacher's, rows of offline data that of its latent."""
        match step.params:
            case SampleParams():
                return samples(step.params, inputs)
            case TrainParams() as params if "base" not in step.inputs and params.base_path is None:
                image = inputs["images"].image if "images" in inputs else None
                latent = None if image is None else params.latent(image[0] * params.patch**2)
                return trained(inputs, circuit={"patch": params.patch, "latent_channels": latent})
            case TrainParams():
                return trained(inputs)
            case DistillParams() if "teacher" in inputs:
                config = inputs["teacher"].attrs.get("config", {})
                return Outline.of_model(image=config.get("image"), circuit=config.get("circuit"))
            case RecordParams():
                return recorded(step.params, inputs.get("teacher"))
        return None

    @classmethod
    def joined(cls, step: PlannedStep, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Of a recording also what was measured over all of it."""
        if not isinstance(step.params, RecordParams):
            return super().joined(step, parts)
        from . import recording

        facts = [{name: value for name, value in part.items() if name != recording.BATCHES} for part in parts]
        return recording.measured(super().joined(step, facts), parts)

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """A student: `one-step`, noise to image. A teacher: `start`, `step` and `readout`."""
        from . import exporting

        return exporting.networks(model)

    @task(version=2)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, base: Model | None = None) -> Model:
        """Train Rin, R, Rout and X0out on a base U-Net that is given, loaded or trained first."""
        from . import training

        return training.train(ctx, params, images, base)

    @task(version=3, fanout=Fanout(count="count", unit=("block",)))
    def record(self, ctx: Context, params: RecordParams, *, teacher: Model) -> OfflineData:
        """Run the recurrence from seeded noise and store start, chunk residuals and image, quantised."""
        from . import recording

        return recording.record(ctx, params, teacher)

    @task(version=1)
    def read(self, ctx: Context, params: ReadParams) -> OfflineData:
        """Teacher data that were recorded elsewhere, from the published container: a NumPy archive in zstd for each sample.

        Raises DataError that names the file, for one that is damaged, larger than `max_mib`, of other arrays or of other sizes.
        """
        from . import reading

        return reading.read(ctx, params)

    @task(version=3)
    def distill(self, ctx: Context, params: DistillParams, *, teacher: Model, offline: OfflineData) -> Model:
        """Train a one-step student on the recorded trajectories.

        Rows that were recorded elsewhere want `train_readout` and a teacher of their latent's shape, whose backbone the student starts
        from. Raises DataError for rows of another teacher of this store, and for latents of another shape.
        """
        from . import distillation

        return distillation.distill(ctx, params, teacher, offline)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Images of a teacher or a student; equal noise seeds share x_T, and of a student its grain."""
        from . import sampling

        return sampling.sample(ctx, params, model)

    @task(version=5)
    def compare(self, ctx: Context, params: CompareParams, *, teacher: Model, student: Model, reference: ImageSet) -> Report:
        """How well the student agrees with the recurrence, beside negative controls that must fail."""
        from . import comparison

        return comparison.compare(ctx, params, teacher, student, reference)


def recorded(params: RecordParams, teacher: Outline | None) -> Outline | None:
    """Rows of a teacher whose image and latent are known."""
    config = teacher.attrs.get("config", {}) if teacher is not None else {}
    if not {"image", "circuit"} <= config.keys():
        return None
    (channels, height, width), patch = config["image"], config["circuit"]["patch"]
    latent = (config["circuit"]["latent_channels"], height // patch, width // patch)
    specs = offline_specs((channels, height, width), latent, params.chunks, r_sum=params.r_sum)
    return Outline({name: ((params.count, *spec.shape), spec.dtype) for name, spec in specs.items()})
