"""Parameters that every simulated structure has: `Drawn` whatever the tool, `Simulation` under a microscope."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fabloom.params import Params

References = Annotated[
    bool, Field(description="give each image its `references`: the same picture without the defect, under another draw of the noise")
]
"""Declare it as `references: References = False`."""


class Drawn(Params):
    """What every simulated set says: images, grey levels, and how many defects of which size. Sizes of images in pixels.

    A structure's own parameters say with their defaults what `defects`, `defect_low` and `defect_high` are.
    """

    count: int = Field(512, ge=1, description="number of images")
    size: int = Field(64, ge=16, le=1024, description="height and width of an image in pixels")
    grey_low: float = Field(70.0, ge=0, le=255, description="grey level of the darkest point of the ideal clean pattern")
    grey_high: float = Field(180.0, ge=0, le=255, description="grey level of its brightest point; defects may go beyond both")
    noise_std: float = Field(3.0, ge=0, description="standard deviation of the camera noise in grey levels")
    defect_share: float = Field(0.5, ge=0, le=1, description="share of images with a defect, exact to one image in each block of 20")
    defects: tuple[str, ...] = Field(min_length=1, description="kinds to draw from")
    defect_low: float = Field(gt=0, description="smallest extent of a defect")
    defect_high: float = Field(gt=0, description="largest extent")
    mask_share: float = Field(0.3, gt=0, lt=1, description="a pixel is in the mask where the defect changes it by more than this share "
                              "of grey_high - grey_low")  # fmt: skip

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.grey_low >= self.grey_high:
            raise ValueError(f"grey_low={self.grey_low} must be below grey_high={self.grey_high}")
        if self.defect_low > self.defect_high:
            raise ValueError(f"defect_low={self.defect_low} is above defect_high={self.defect_high}")
        return self


class Simulation(Drawn):
    """Optics and camera of a simulated set. Lengths in nm on the wafer.

    A structure's own parameters extend this, and say with their default what `pitch_nm` is.
    """

    pixel_nm: float = Field(30.0, gt=0, description="pixel pitch of the camera on the wafer; at most wavelength / (4 NA)")
    pitch_nm: float = Field(gt=0, description="smallest period of the pattern; above the resolution limit wavelength / (NA (1 + sigma))")
    random_phase: bool = Field(False, description="draw the position of the pattern for each image; off keeps all images registered")
    wavelength_nm: float = Field(193.0, gt=0, description="wavelength of the light")
    na: float = Field(0.9, gt=0, lt=1.5, description="numerical aperture of the objective")
    sigma: float = Field(0.6, gt=0, le=1, description="outer partial coherence: radius of the source in the pupil, 1 fills it")
    sigma_inner: float = Field(0.0, ge=0, lt=1, description="inner radius of an annular source; 0 is a disc")

    @property
    def resolved_nm(self) -> float:
        """Periods below this are not resolved: wavelength / (NA (1 + sigma))."""
        return self.wavelength_nm / (self.na * (1 + self.sigma))

    @model_validator(mode="after")
    def _physical(self) -> Self:
        if self.pitch_nm <= self.resolved_nm:
            raise ValueError(
                f"pitch_nm={self.pitch_nm} is not resolved: it must exceed wavelength / (NA (1 + sigma)) = {self.resolved_nm:.1f} nm"
            )
        coarsest = self.wavelength_nm / (4 * self.na)
        if self.pixel_nm > coarsest:
            raise ValueError(f"pixel_nm={self.pixel_nm} aliases the image: it must not exceed wavelength / (4 NA) = {coarsest:.1f} nm")
        if self.size * self.pixel_nm < 2 * self.pitch_nm:
            raise ValueError(f"size={self.size} pixels show less than two periods: raise size to {2 * self.pitch_nm / self.pixel_nm:.0f}")
        if self.sigma_inner >= self.sigma:
            raise ValueError(f"sigma_inner={self.sigma_inner} must be below sigma={self.sigma}")
        return self
