"""`score-maps`: how well maps of scores show where defects are, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, Outline, PlannedStep, task

from .params import DensityParams, DifferenceParams, EvaluateParams, RankParams


class ScoreMaps(Method):
    """Judges maps of scores over all thresholds at once, so that no method is judged by how its threshold was chosen.

    Maps of a segmenter that learned from defects, of a memory bank that saw none, and of the cheapest rivals stand side by side.
    """

    name = "score-maps"
    preload = ("torch", "scipy.ndimage", "skimage.segmentation")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Each set of maps has its name."""
        if isinstance(step.params, EvaluateParams | RankParams) and len(step.inputs["maps"]) != len(step.params.entries):
            told = f"{len(step.params.entries)} names are in params.entries ({', '.join(step.params.entries)})"
            raise PipelineError(f"steps.{step.name}.inputs.maps", f"lists {len(step.inputs['maps'])} sets of maps, and {told}")

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """A truth has masks, and maps have scores."""
        if not isinstance(step.params, EvaluateParams | RankParams):
            return
        truth, cure = ("masks", "exact masks") if isinstance(step.params, EvaluateParams) else ("domain", "clean and defect images")
        for port, manifest in manifests.items():
            wanted = truth if port == "images" else "scores"
            if wanted not in manifest["arrays"]:
                give = f"one with {cure}" if port == "images" else "what a task `segment`, `detect` or score-maps.difference made"
                place = f"steps.{step.name}.inputs.{port}"
                raise PipelineError(place, f"ImageSet {str(manifest['key'])[:12]} has no {wanted}; give {give}")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `difference` and `density`: their images with scores."""
        rows = inputs["images"].arrays.get("images") if "images" in inputs else None
        if not isinstance(step.params, DifferenceParams | DensityParams) or rows is None:
            return None
        count, *image = rows[0]
        return Outline.of_images(count, tuple(image), scores=((count, *image[1:]), "float16"))

    @task(version=3)
    def evaluate(self, ctx: Context, params: EvaluateParams, *, images: ImageSet, maps: list[ImageSet]) -> Report:
        """Hold several sets of score maps of the same test images against exact masks, and a constant map beside them.

        Of pixels: average precision, area under the ROC curve. Of regions: AUPRO, the mean overlap of single defects over the share of
        false positive pixels, up to `limit` (Bergmann et al. 2021). Of defects: the share that is found where at most `rate` of the clean
        images have an alarm, by a threshold found on these very images, alike for all. Where maps come with masks, what these find at
        their own threshold is told too, and the Dice of all their pixels together, beside the best Dice that any threshold would have had
        (an oracle). Of images: the chance that one with a defect scores higher than a clean one. A constant map has the share of defect
        pixels, 0.5, `limit` / 2, 0 and 0.5.

        Intervals are percentiles over resamples of the sources of the test images, the threshold of the rate chosen anew in each;
        differences to `baseline` are paired. Pixels of 255 count nowhere. Raises DataError for maps of other images than the test
        images, in their order, for maps of images that their model was made of, and for a test set without a defect.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, maps)

    @task(version=1)
    def rank(self, ctx: Context, params: RankParams, *, images: ImageSet, maps: list[ImageSet]) -> Report:
        """Where only is known which images have a defect (`domain`): how well maps tell them from clean ones, as area under the ROC curve.

        An image's score is the mean of the highest 0.5 % of its map. Beside the maps stand mean brightness, which shows two kinds of image
        that differ in their light alone, and a constant. Raises DataError for maps of other images, and for a test set of one kind.
        """
        from . import images as whole

        return whole.rank(ctx, params, images, maps)

    @task(version=1)
    def difference(self, ctx: Context, params: DifferenceParams, *, images: ImageSet, clean: ImageSet | None = None) -> ImageSet:
        """The cheapest rival: the same images with `scores`, the absolute difference to the nearest clean image, 1 for 255 levels.

        The clean images are those of `clean` (domain 0, or all of a set that says nothing), without it each image's own reference.
        Nothing is moved onto anything. Raises DataError where there is no clean image of that size.
        """
        from . import rivals

        return rivals.difference(ctx, params, images, clean)

    @task(version=1)
    def density(self, ctx: Context, params: DensityParams, *, images: ImageSet) -> ImageSet:
        """The cheapest rival where few pixels are bright, as the failing dies of a wafer map: the images with `scores`, for a bright pixel
        the share of its surroundings that is bright, 0 for a dark one.

        Nothing is learned. A grey pixel counts by its grey level of 255, and of several channels their mean. Raises DataError where no
        channel is left beside those that are `given`.
        """
        from . import rivals

        return rivals.density(ctx, params, images)
