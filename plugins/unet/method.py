"""`unet`: trains a U-Net that finds defects, and says honestly how well it does."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fabloom.artifacts import ImageSet, Model, Report
from fabloom.context import Context
from fabloom.method import Method, task
from fabloom.params import Params


class Augment(Params):
    """Random changes to every training image; geometry changes image and mask together."""

    flip_x: bool = Field(True, description="mirror half of the images left-right, masks with them")
    flip_y: bool = Field(True, description="mirror half of the images top-bottom, masks with them")
    shift: int = Field(0, ge=0, description="shift by up to this many pixels each way, the border mirrored in; bends no line but the seam")
    gain: float = Field(0.05, ge=0, lt=1, description="contrast is multiplied by 1 +- this, drawn for each image")
    offset: float = Field(0.05, ge=0, lt=1, description="brightness moves by +- this share of half the grey range, drawn for each image")
    noise: float = Field(0.0, ge=0, lt=1, description="white noise, standard deviation as a share of half the grey range")


class TrainParams(Params):
    """Segmenter. The defaults reach their plateau on some hundred 32 x 32 images in half a minute of one CPU core."""

    encoder: str = Field("tu-regnetx_002", description="encoder of segmentation-models-pytorch, or `tu-NAME` of timm; starts random")
    depth: int = Field(3, ge=3, le=5, description="times that the encoder halves the image")
    decoder_channels: tuple[int, ...] = Field((64, 32, 16), description="widths of the decoder, coarsest first; one for each halving")
    steps: int = Field(300, ge=0, description="optimizer steps; 0 gives the untrained network, an anchor to compare with")
    batch: int = Field(32, ge=1, description="images a step, drawn with replacement")
    lr: float = Field(3e-3, gt=0, description="largest learning rate of the one-cycle schedule")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decay")
    dice_weight: float = Field(0.5, ge=0, le=1, description="loss = dice_weight * Dice + (1 - dice_weight) * binary cross-entropy")
    augment: Augment = Field(Augment(), description="random changes to training images")
    limit: int | None = Field(None, ge=2, description="use the first images only, clean and defect in the proportion of the set")
    validation: float = Field(0.1, ge=0, lt=1, description="share of the images, of each domain, that is held out to watch the training")

    @model_validator(mode="after")
    def _widths(self) -> Self:
        if len(self.decoder_channels) != self.depth:
            raise ValueError(f"decoder_channels names {len(self.decoder_channels)} widths; depth={self.depth} needs {self.depth}")
        return self


class EvaluateParams(Params):
    """How predictions are scored."""

    threshold: float = Field(0.5, gt=0, lt=1, description="a pixel is a defect where its probability is above this")
    min_area: int = Field(4, ge=1, description="fewest pixels of a predicted component that raises an alarm; IoU counts every pixel")
    batch: int = Field(256, ge=1, description="images predicted at once")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    shown: int = Field(8, ge=1, description="images in a row of the pictures")


class UNet(Method):
    """U-Net (Ronneberger et al. 2015) of segmentation-models-pytorch with a small encoder, always from random weights.

    Use it twice in a pipeline: once on synthetic images, once on the real ones (`limit` for a handful of them, `augment` for
    plain variations). `evaluate` scores both on the same test images, so that the difference says what the synthesis was worth.
    """

    name = "unet"
    preload = ("torch", "torch._dynamo", "segmentation_models_pytorch")

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on images with masks.

        Raises DataError for a set without masks or without a single defect pixel, and for an encoder that does not exist or
        does not fit. The grey range of the training set and a hash of every image it used are kept in the model.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1)
    def evaluate(self, ctx: Context, params: EvaluateParams, *, images: ImageSet, model: Model, baseline: Model | None = None) -> Report:
        """Score `model`, `baseline` and 'no defect anywhere' on held-out images with exact masks.

        `iou` is the published protocol: the mean over images of intersection / union, 1 where both masks are empty. A set
        that is half clean then gives 0.5 to a network that never finds anything, so `iou_defect` (defect images alone) and
        `false_alarm_rate` (clean images with a predicted component) stand beside it. Every number carries a percentile
        bootstrap interval over images; the paired difference says whether the model helped. Raises DataError where a test
        image was trained on.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, model, baseline)
