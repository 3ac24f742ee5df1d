"""`unet`: trains a U-Net that finds defects, and says honestly how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task

from .params import EvaluateParams, SegmentParams, TrainParams, WorthParams

if TYPE_CHECKING:
    from fabloom.network import Network


class UNet(Method):
    """U-Net (Ronneberger et al. 2015) of segmentation-models-pytorch with a small encoder, always from random weights.

    Use it twice in a pipeline: once on synthetic images, once on the real ones (`limit` for a handful of them, `augment` for
    plain variations). `evaluate` scores both on the same test images, so that the difference says what the synthesis was worth.
    `segment` applies a trained one to new images, as `fabloom predict` does to a folder.
    """

    name = "unet"
    preload = ("torch", "torch._dynamo", "segmentation_models_pytorch")

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """Images without masks teach and judge nothing."""
        images = manifests.get("images")
        if step.spec.name in ("train", "evaluate") and images is not None and "masks" not in images["arrays"]:
            place, key = f"steps.{step.name}.inputs.images", str(images["key"])[:12]
            raise PipelineError(place, f"{step.task} needs masks, and ImageSet {key} has none; label it first (reference-difference.label)")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """`segmenter-0` and so on, one for each training: image to logits."""
        from . import exporting

        return exporting.networks(model)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `segment`: its images with masks and scores; of `train` that it holds all of its images."""
        if isinstance(step.params, TrainParams) and "images" in inputs:
            return Outline().holding(inputs["images"].size)
        rows = inputs["images"].arrays.get("images") if "images" in inputs else None
        if not isinstance(step.params, SegmentParams) or rows is None:
            return None
        count, *image = rows[0]
        plane = (count, *image[1:])
        return Outline.of_images(count, tuple(image), masks=(plane, "uint8"), scores=(plane, "float16"))

    @task(version=7, fanout=Fanout(count="repeats", unit=(1,), rows=False))
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on images with masks, `repeats` times from different random streams; the model holds all of the networks.

        Classes that the masks tell apart are learned apart (`classes`); pixels of 255 (cannot tell) are left out of the loss. Images may
        have any size: of large ones random windows are trained on. The model keeps a threshold that was chosen on the images that were
        held out, for a stated rate of false alarms, and how it was chosen.
        The published preset departs from the released script where that is at fault: validation runs in evaluation mode,
        without gradients and without noise. Raises DataError for a set without masks or without a single defect pixel, and
        for an encoder that does not exist or does not fit. The grey range and a hash of every image used are kept in the model.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=8)
    def evaluate(self, ctx: Context, params: EvaluateParams, *, images: ImageSet, model: Model, baseline: Model | None = None) -> Report:
        """Score `model`, `baseline` and 'no defect anywhere' on held-out images with exact masks, under two protocols.

        The paper's: `iou` is the mean over images of intersection / union, 1 where both masks are empty, with `iou_sd`, the
        population deviation over images. A set that is half clean gives 0.50 +- 0.50 to a network that finds nothing, and
        0.74 +- 0.42 to one that misses the mirrored half of the defects.
        The honest one: defect images alone (`iou_defect`, `detection_rate`), alarms on clean images (`false_alarm_rate`), pooled
        IoU, and the same over flips and shifts of the test images (`iou_defect_moved` and so on; a table has them one by one).

        Single defects beside images: `defect_sensitivity` and `false_alarms_per_image` at the threshold, and both over all thresholds
        (free-response ROC), with precision and recall, and by size and class of the defects. Up to 200 test images are kept by name.

        Scores are means over the trainings of a model. Intervals are percentiles over resamples of the sources of the test images
        (of the distinct images where a set knows no sources); where a model holds several trainings they also contain the choice
        of training (Student's t, wide for three). Where no source shows an event the exact bound stands in, in the paired difference
        too: 0 in each of N sources is known to 3.7 / N (at 95 %). The paired difference says whether the model helped; images with a
        defect of fewer than six sources give no verdict. Pixels of 255 (cannot tell) in the masks count nowhere. Raises DataError where a
        test image was trained on.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, model, baseline)

    @task(version=5)
    def worth(self, ctx: Context, params: WorthParams, *, images: ImageSet, models: list[Model]) -> Report:
        """Hold segmenters of several recipes and numbers of real images against each other, as learning curves over one test set.

        For each recipe and number n of real images with a defect: IoU of images with a defect, single defects found where at most 1 in
        100 clean images has an alarm (`rate`; the threshold for that is found on the test images, as on a FROC, alike for all), clean
        images with an alarm at the threshold in the model. What a recipe's score is worth is the n' at which the curve of
        `baseline`, made monotone and interpolated in log n, reaches it, minus n. Differences to the baseline and the rivals are paired by
        draw and by test image.

        A draw of n images is the unit: networks of one draw are averaged, and the choice of the draw is in the intervals (Student's t, as
        that of the training in `evaluate`; one draw alone is not covered). Raises DataError for a list of models of another length than
        `cells`, a test set without defect images or without clean ones, and where a test image was trained on.
        """
        from . import worth

        return worth.compare(ctx, params, images, models)

    @task(version=4)
    def segment(self, ctx: Context, params: SegmentParams, *, images: ImageSet, model: Model) -> ImageSet:
        """The same images with masks of the defects that the model finds (0, 1..K), and `scores`, their probability at every pixel.

        The probability is the mean over the trainings that the model holds, that of a defect of any class; the threshold is the
        model's own unless another is given. References go along. Images may have another size than those of the training,
        at the same scale: large ones are cut into overlapping tiles. File names stay. Raises DataError for a model that is no
        segmenter, and for images of another number of channels.
        """
        from . import segmentation

        return segmentation.segment(ctx, params, images, model)
