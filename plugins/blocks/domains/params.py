"""Parameters of what is done between two domains. Light, since `fabloom plan` reads them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params, Precision


class Batched(Params):
    """How many images at once."""

    batch: int = Field(64, ge=1, description="images translated at once; another number changes results by rounding only")


class Found(Batched):
    """When a difference between the domains is a defect."""

    against: Literal["input", "reconstruction"] = Field(
        "input", description="what the clean estimate is held against: the image itself, or the image led into the noise and back under "
        "its own domain, which takes out what the way itself changes (choose it in latents, where the autoencoder's blur is in both)"
    )  # fmt: skip
    smooth: float = Field(1.0, ge=0, description="deviation in pixels of the Gaussian over a difference")
    false_alarms: float = Field(
        0.01, gt=0, lt=1, description="share of clean images with an alarm that the threshold is chosen for, by clean images that the "
        "model did not learn from; no label of a pixel is looked at"
    )  # fmt: skip
    reach: float = Field(
        0.5, gt=0, le=1, description="share of the threshold above which a defect goes on from where it rose above it; 1: nowhere"
    )
    outline: float = Field(
        0.35, ge=0, lt=1, description="of that the mask holds what is at least this share of the largest within 6 pixels; 0: all of it"
    )
    min_area: int = Field(4, ge=1, description="fewest pixels of a defect, and of an alarm; smaller 8-connected components are left out")


class Paired(Found):
    """How twins are made."""

    composite: bool = Field(
        True, description="put what is made into the image that it is made of, along its mask: the two are then equal but for the defect"
    )


class Varied(Paired):
    """Defect images that are made of others."""

    count: int = Field(500, ge=1, description="images, made of those of the set in turn")
    of: Literal["clean", "defect", "both"] = Field(
        "clean", description="what they are made of: clean, a defect on a clean image; defect, a variation of an image with a defect"
    )
    attempts: int = Field(4, ge=1, description="tries, with other noise, until an image shows a defect; then it is left out")


class Route(Params):
    """The way of a diffusion model from one domain to the other."""

    depth: float = Field(
        0.7, gt=0, le=0.95, description="how far into the noise, as a share of all times: defects must drown in it, the pattern must not"
    )
    steps: int = Field(4, ge=1, description="steps each way, each of two network evaluations (published: 50 or more of one)")
    guidance: float = Field(1.0, ge=1, description="classifier-free guidance on the way back: 1 none")
    precision: Precision = "auto"
