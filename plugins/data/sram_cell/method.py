"""`sram-cell`: labelled optical inspection images of arrays of 6T SRAM cells, simulated from physics."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import simulated

from .params import SimulateParams


class SramCell(Method):
    """Arrays of 6T SRAM cells under a partially coherent microscope, half of them with a bridge, an open or a contact that is missing.

    The cell is the wide one with straight gates: two inverters whose gates run from left to right over four active areas, related
    by half a turn about its centre; its neighbours are its mirror images (Ishida et al., IEDM 1998). Image formation, camera and
    masks are those of `line-pair` (Mack, Fundamental Principles of Optical Lithography, 2007, ch. 2-3).
    """

    name = "sram-cell"
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
        `mask_share` of the contrast. A defect has at least 8 such pixels and none in the outermost frame of the image. With
        `references` each image comes with the same array, its edges and overlay included, without the defect.
        """
        from fabloom.plugins.blocks.imaging.sets import simulate

        from .structure import CellArray

        return simulate(ctx, params, CellArray(params), references=params.references)
