"""`contact-hole`: labelled optical inspection images of arrays of contact holes, simulated from physics."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import simulated

from .params import SimulateParams


class ContactHole(Method):
    """Square and hexagonal arrays of holes under a partially coherent microscope, half of them with one hole that is not as it should be.

    Image formation, camera and masks are those of `line-pair`: Abbe's sum over source points (Mack, Fundamental Principles of
    Optical Lithography, 2007, ch. 2-3). The defaults are a 193 nm, NA 0.9 inspection of holes of 240 nm at a pitch of 16 pixels.
    """

    name = "contact-hole"
    preload = ("numpy", "scipy.fft")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Count and size are parameters."""
        assert isinstance(step.params, SimulateParams)
        return simulated(step.params, references=step.params.references)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> ImageSet:
        """Simulate a labelled set; image i depends on the seed and i only, so a larger count keeps the earlier images.

        Masks are exact: 1 where the noise-free image with the defect differs from the same image without it by more than
        `mask_share` of the contrast. A displaced hole is in the mask where it is and where it is not. A defect has at least 8 such
        pixels and none in the outermost frame of the image. With `references` each image comes with the same array of holes, their
        sizes and places included, without the defect.
        """
        from fabloom.plugins.blocks.imaging.sets import simulate

        from .structure import HoleArray

        return simulate(ctx, params, HoleArray(params), references=params.references)
