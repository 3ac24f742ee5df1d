"""`line-pair`: labelled optical inspection images of line/space patterns, simulated from physics."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import simulated

from .params import SimulateParams


class LinePair(Method):
    """Line/space patterns under a partially coherent microscope, half of them with a bridge, break, necking or particle.

    Image formation is Abbe's sum over source points (Mack, Fundamental Principles of Optical Lithography, 2007, ch. 2-3;
    Goodman, Statistical Optics). The defaults are a 193 nm, NA 0.9 inspection of a 240 nm pitch at 8 pixels a period
    with good contrast. The low contrast of published line-pair simulations (96 x 96, period 18 pixels, grey 54-80, noise
    correlated over 2 pixels) comes from

        {size: 96, pixel_nm: 13.33, line_reflectance: 0.1, ler_nm: 0.5, grey_low: 60.7, grey_high: 77.3, noise_std: 0.6, defects: [bridge]}
    """

    name = "line-pair"
    preload = ("numpy", "scipy.fft")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Count and size are parameters."""
        return simulated(step.params)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> ImageSet:
        """Simulate a labelled set; image i depends on the seed and i only, so a larger count keeps the earlier images.

        Masks are exact: 1 where the noise-free image with the defect differs from the same image without it by more than
        `mask_share` of the contrast. A defect has at least 8 such pixels and none in the outermost frame of the image.
        """
        from fabloom.plugins.blocks.imaging.sets import simulate

        from .structure import LineSpace

        return simulate(ctx, params, LineSpace(params))
