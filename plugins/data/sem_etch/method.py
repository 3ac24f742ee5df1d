"""`sem-etch`: labelled top-down SEM images of etched patterns, simulated."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import simulated

from .params import SimulateParams


class SemEtch(Method):
    """Lines, contact holes and L-bends under an electron beam, half of them with a bridge, gap, necking, missing hole, particle or residue.

    Images are not registered: pattern, pitch, duty, position and direction are drawn for each, so that no defect is found by a median
    image. A model of what SEM images look like and not of electrons: bright edges, a Gaussian spot, jitter of scan lines, charging as
    a slope, Poisson and Gaussian noise (Reimer, Scanning Electron Microscopy, 2nd ed. 1998). For folders of real SEM images see
    `images.load` with `layout: splits`.
    """

    name = "sem-etch"
    preload = ("numpy", "scipy.ndimage")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Count and size are parameters."""
        assert isinstance(step.params, SimulateParams)
        return simulated(step.params, references=step.params.references)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> ImageSet:
        """Simulate a labelled set; image i depends on the seed and i only, so a larger count keeps the earlier images.

        Masks are exact: 1 where the noise-free image with the defect differs from the same image without it, under the same jitter and
        charge, by more than `mask_share` of the contrast. A defect has at least 8 such pixels and none in the outermost frame of the
        image. With `references` each image comes with its own pattern without the defect under another draw of the noise, for tests.
        """
        from fabloom.plugins.blocks.imaging.sets import write

        from .stage import EtchStage

        return write(ctx, EtchStage(params), references=params.references)
