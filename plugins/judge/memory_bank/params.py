"""Parameters of `memory-bank`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

OWN = "filters"
NETS: dict[str, str] = {"squeeze": "squeezenet1_1", "alex": "alexnet", "vgg": "vgg16"}
"""Trunks whose weights are in fabloom's table, by their name there."""
TIMM = "timm/"
SIDE = 224
"""Pixels a side for which networks of ImageNet are made."""
MIN_AREA = 4
"""Fewest pixels of a defect, and of an alarm, unless another number is given."""


class FitParams(Params):
    """What is remembered of clean images, and how far from it a defect begins."""

    trunk: str = Field(
        OWN, description="where features come from. filters: Gaussian derivatives, no weights; squeeze, alex, vgg: the frozen trunk of "
        "that network, whose weights must be at hand; timm/NAME: a network of timm, such as timm/vit_small_patch14_dinov2, whose weights "
        "lie as NAME.safetensors in the folder FABLOOM_WEIGHTS_DIR"
    )  # fmt: skip
    layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="which layers of a network, 0 for the finest that it offers; left out: two of its middle ones "
        "(published layers 2 and 3 of a wide ResNet-50)"
    )  # fmt: skip
    zoom: int | None = Field(
        None, ge=1, le=8, description="times that an image is enlarged before the trunk sees it, so that small defects fill a cell; left "
        "out: 1 for filters, for a network as often as brings the shorter side to 224 pixels (published: resized to 224), at most 4"
    )  # fmt: skip
    patch: int | None = Field(
        None, ge=1, le=9, description="cells a side over which features are averaged, odd; left out: 1 for filters, which average already, "
        "3 for a network (published 3)"
    )  # fmt: skip
    share: float = Field(0.1, gt=0, le=1, description="share of all clean patches that the bank keeps (published 0.01 to 0.25)")
    entries: int = Field(
        2048, ge=16, description="most patches of a bank that is searched as a whole; of registered images a share at every place is kept"
    )
    registered: Literal["auto", "yes", "no"] = Field(
        "auto", description="whether the images show one place: then a patch is held against those of the same place alone. auto: where "
        "the clean images lie on one another, a measured shift apart at most"
    )  # fmt: skip
    radius: float = Field(
        4.0, ge=0, description="of registered images: pixels, each way, within which a patch of the bank is of the same place"
    )
    smooth: float = Field(1.0, ge=0, description="deviation in pixels of the Gaussian over a map of distances (published 4, on 224 pixels)")
    false_alarms: float = Field(0.01, gt=0, lt=1, description="share of clean images with an alarm that the threshold is chosen for")
    folds: int = Field(
        4, ge=2, description="parts into which the clean images are cut to choose the threshold: each is scored by a bank of the others"
    )

    @property
    def averaged(self) -> int:
        """`patch`, or what it is where it is left out."""
        return self.patch or (1 if self.trunk == OWN else 3)

    def enlarged(self, side: int) -> int:
        """`zoom`, or what it is where it is left out, for images whose shorter side has so many pixels."""
        return self.zoom or (1 if self.trunk == OWN else max(1, min(4, round(SIDE / side))))

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.trunk not in (OWN, *NETS) and not self.trunk.removeprefix(TIMM).strip("/.") * self.trunk.startswith(TIMM):
            raise ValueError(f"trunk: '{self.trunk}' is none of {OWN}, {', '.join(NETS)} and {TIMM}NAME")
        if self.trunk == OWN and self.layers is not None:
            raise ValueError(f"layers: trunk '{OWN}' has none to choose from; leave it out")
        if self.averaged % 2 == 0:
            raise ValueError(f"patch={self.patch} must be odd, so that a patch has a middle")
        return self


class SegmentParams(Params):
    """How masks come of distances."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="a pixel is a defect where its score is above this; left out: 0.5, which is the distance that "
        "memory-bank.fit chose (`false_alarms`)"
    )  # fmt: skip
    min_area: int = Field(MIN_AREA, ge=1, description="fewest pixels of a defect; smaller 8-connected components are left out of the mask")
    outline: float = Field(
        0.5, ge=0, lt=1, description="of what is above the threshold the mask holds pixels whose distance is at least this share of the "
        "largest within 6 pixels, since a strong defect is seen from some pixels away; 0: all of it"
    )  # fmt: skip
