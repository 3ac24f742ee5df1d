"""Parameters of `unet`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from fabloom.params import Params, Precision


class Augment(Params):
    """Random changes to every training image; geometry changes image and mask together."""

    flip_x: bool = Field(True, description="mirror half of the images left-right, masks with them")
    flip_y: bool = Field(True, description="mirror half of the images top-bottom, masks with them")
    shift: int = Field(0, ge=0, description="shift by up to this many pixels each way, the border mirrored in; bends no line but the seam")
    gain: float = Field(0.05, ge=0, lt=1, description="contrast is multiplied by 1 +- this, drawn for each image")
    offset: float = Field(0.05, ge=0, lt=1, description="brightness moves by +- this share of half the grey range, drawn for each image")
    noise: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="white noise; standard deviation drawn for each image, up to this share of half the grey range",
    )


PUBLISHED_ENCODER = "milesial"
PRESETS: dict[str, dict[str, Any]] = {
    "small": {
        "encoder": "tu-regnetx_002", "depth": 3, "decoder_channels": (64, 32, 16), "steps": 300, "epochs": None, "batch": 32,
        "lr": 3e-3, "weight_decay": 1e-4, "dice_weight": 0.5, "augment": Augment(), "validation": 0.1, "crop": 256,
        "pixels": 32 * 96**2,
    },
    "published": {
        "encoder": PUBLISHED_ENCODER, "depth": 4, "decoder_channels": (256, 128, 64, 64), "steps": None, "epochs": 100, "batch": 1,
        "lr": 1e-5, "weight_decay": 0.0, "dice_weight": 0.0, "validation": 0.05, "crop": 1024, "pixels": None,
        "augment": Augment(flip_x=False, flip_y=False, gain=0, offset=0, noise=1 / 255),
    },
}  # fmt: skip
"""What a preset puts in the place of fields that are left out."""
MIN_AREA = 4
"""Fewest pixels of a defect, and of an alarm, unless another number is given."""


class TrainParams(Params):
    """Segmenter. A field that is left out takes the value of the preset.

    `small` reaches its plateau on some hundred 32 x 32 images in half a minute of one CPU core. `published` is the recipe of
    SinSEMI: the 17,261,825-parameter U-Net, grey / 255, batches in the order of the set, x0.1 every 20 epochs, the weights of
    the smallest validation loss, stop after 20 epochs without a smaller one; 0.3 CPU seconds a 96 x 96 image.
    """

    preset: Literal["small", "published"] = Field("small", description="small: minutes on a CPU; published: the recipe of SinSEMI")
    repeats: int = Field(
        1, ge=1, description="independent trainings (weights, batches, held-out images) kept in one model; 3 or more for statistical claims"
    )
    encoder: str | None = Field(
        None,
        description="encoder of segmentation-models-pytorch, `tu-NAME` of timm, or milesial (the published network); "
        "small tu-regnetx_002, published milesial",
    )
    depth: int | None = Field(None, ge=3, le=5, description="times that the encoder halves the image; small 3, milesial 4")
    decoder_channels: tuple[int, ...] | None = Field(
        None, description="widths of the decoder, coarsest first, one for each halving; small (64, 32, 16)"
    )
    steps: int | None = Field(
        None,
        ge=0,
        description="optimizer steps on random batches, one learning-rate cycle; 0 gives the untrained network, an anchor; small 300",
    )
    epochs: int | None = Field(
        None, ge=1, description="at most this many passes in the order of the set, instead of `steps`; keeps the best; published 100"
    )
    batch: int | None = Field(
        None, ge=1, description="images a step, fewer of large ones (`pixels`); small 32, drawn with replacement; published 1"
    )
    pixels: int | None = Field(
        None, ge=2**10, description="most pixels a step: of larger images, or windows, a step takes fewer, two at least; fewer images cost "
        "little, smaller windows much (docs/methods/unet.md). small 294912, which is 32 of 96 x 96; published: no bound"
    )  # fmt: skip
    lr: float | None = Field(None, gt=0, description="largest learning rate; small 3e-3, published 1e-5")
    weight_decay: float | None = Field(None, ge=0, description="AdamW decay; small 1e-4, published 0, which is Adam")
    dice_weight: float | None = Field(
        None, ge=0, le=1, description="loss = dice_weight * Dice + (1 - dice_weight) * binary cross-entropy; small 0.5, published 0"
    )
    augment: Augment | None = Field(
        None, description="random changes to training images, instead of the preset's; published: noise of up to 1 grey level alone"
    )
    accept_clean: bool = Field(
        False, description="train also where no image has a defect, so that a comparison goes on; the network then learns to find none"
    )
    limit: int | None = Field(None, ge=2, description="use the first images only, clean and defect in the proportion of the set")
    validation: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the images that is held out to watch the training: small 0.1, of each domain at random; "
        "with epochs the last of the set (published 0.05), where no image is left the last weights are kept",
    )

    crop: int | None = Field(
        None, ge=32, description="train on random windows of this many pixels of images with a longer side, half of them on a defect "
        "where an image has one; small 256, published 1024"
    )  # fmt: skip
    classes: Literal["given", "one"] = Field(
        "given", description="given: tell the classes apart that the masks tell apart; one: all of them are a defect"
    )
    false_alarms: float = Field(
        0.01, gt=0, lt=1, description="share of clean validation images with an alarm that the threshold in the model may give; of the "
        "thresholds that stay below it, the one that finds most defects, and fits them best. 0.5 where too few images are held out to tell"
    )  # fmt: skip
    precision: Precision = "auto"

    @model_validator(mode="before")
    @classmethod
    def _published_arithmetic(cls, given: Any) -> Any:
        published = isinstance(given, Mapping) and given.get("preset") == "published"
        return {"precision": "fp32", **given} if published else given

    def filled(self) -> dict[str, Any]:
        """All fields, with the preset's values in the place of those that are left out."""
        given = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if self.steps is not None or self.epochs is not None:
            given |= {"steps": self.steps, "epochs": self.epochs}
        recipe = PRESETS[self.preset] | {"limit": None} | given
        if recipe["encoder"] == PUBLISHED_ENCODER:
            recipe |= {name: PRESETS["published"][name] for name in ("depth", "decoder_channels")}
        return recipe

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps (random batches) or epochs (passes in the order of the set), not both")
        recipe = self.filled()
        if recipe["encoder"] == PUBLISHED_ENCODER:
            if self.depth is not None or self.decoder_channels is not None:
                raise ValueError(f"the widths of {PUBLISHED_ENCODER} are fixed; leave out depth and decoder_channels")
        elif len(recipe["decoder_channels"]) != recipe["depth"]:
            raise ValueError(
                f"decoder_channels names {len(recipe['decoder_channels'])} widths; depth={recipe['depth']} needs {recipe['depth']}"
            )
        return self


class EvaluateParams(Params):
    """How predictions are scored."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="a pixel is a defect where its probability is above this; left out: the model's own, else 0.5"
    )
    min_area: int = Field(4, ge=1, description="fewest pixels of a predicted component that raises an alarm; IoU counts every pixel")
    batch: int = Field(256, ge=1, description="images predicted at once; fewer of large ones")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    margin: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="two predictors are called equivalent where the whole interval of their difference is smaller than this",
    )
    shifts: tuple[PositiveInt, ...] = Field(
        (1, 4),
        description="pixels by which test images are also moved right and down, the border mirrored in; empty: flips alone",
    )
    shown: int = Field(8, ge=1, description="images in a row of the pictures")


class SegmentParams(Params):
    """How masks come of probabilities."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="a pixel is a defect where the mean probability of the trainings is above this; left out: the "
        "model's, as unet.train chose it (`false_alarms`)"
    )  # fmt: skip
    min_area: int = Field(MIN_AREA, ge=1, description="fewest pixels of a defect; smaller 8-connected components are left out of the mask")
    tile: int = Field(512, ge=64, description="images with a longer side are cut into overlapping tiles of this many pixels, and blended")
    overlap: int = Field(64, ge=0, description="pixels that neighbouring tiles share; as wide as what the network sees around a pixel")
    batch: int = Field(32, ge=1, description="images predicted at once; fewer of large ones")
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.overlap * 2 > self.tile:
            raise ValueError(f"overlap={self.overlap} must be at most half of tile={self.tile}")
        return self


class Cell(Params):
    """What one of the models that `worth` compares was trained on."""

    recipe: str = Field(min_length=1, description="name of the recipe, as in tables and curves")
    size: int = Field(ge=1, description="real images with a defect that the recipe had")
    draw: int = Field(0, ge=0, description="which draw of that many it had; draws of one number are of the same images")


class WorthParams(Params):
    """What each of the models is, and how they are held against each other."""

    cells: tuple[Cell, ...] = Field(min_length=1, description="one for each model, in their order")
    baseline: str = Field("augmented", description="recipe whose learning curve says what a score is worth in real images")
    rivals: tuple[str, ...] = Field(("copy-paste",), description="further recipes that every other is held against, where they are there")
    controls: tuple[str, ...] = Field((), description="recipes that must fail, and are no advice to anybody")
    remarks: tuple[str, ...] = Field((), description="what a reader must know of the images and the recipes; told below the tables")
    rate: float = Field(
        0.01, gt=0, lt=1, description="share of the clean test images that may have a false alarm where single defects are counted"
    )
    min_area: int = Field(MIN_AREA, ge=1, description="fewest pixels of a predicted component that is a defect or an alarm")
    batch: int = Field(256, ge=1, description="images predicted at once; fewer of large ones")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")

    @model_validator(mode="after")
    def _tells(self) -> Self:
        if len({(c.recipe, c.size, c.draw) for c in self.cells}) < len(self.cells):
            raise ValueError("two of the cells are of one recipe, size and draw")
        if self.baseline not in {cell.recipe for cell in self.cells}:
            raise ValueError(f"baseline '{self.baseline}' is the recipe of no cell")
        return self
