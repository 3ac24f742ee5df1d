"""`wafer-map`: maps of passing and failing dies, simulated with known membership or read from MixedWM38 and WM-811K."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task

from .params import SimulateParams


class WaferMap(Method):
    """Maps of the dies of round wafers: random fails everywhere, and on half of the wafers fails that follow one or several patterns.

    Patterns and names are those of WM-811K (Wu et al., IEEE Trans. Semicond. Manuf. 28, 2015) and MixedWM38 (Wang et al., same journal 33,
    2020). A map is an image of two channels, uint8 [2,H,W] of 0 and 255: which dies fail, and where dies are. Mixed types are classes of
    their own (C+EL); the attribute `patterns` says which patterns each class has.
    """

    name = "wafer-map"
    preload = ("numpy", "scipy.fft")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Count and size are parameters."""
        params = step.params
        assert isinstance(params, SimulateParams)
        return simulated(params)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> ImageSet:
        """Simulate a labelled set; wafer i depends on the seed and i only, so a larger count keeps the earlier wafers.

        Masks mark the failing dies that a pattern made fail, whether or not they would have failed at random too; a die that passes is
        in no mask, though it lie in the middle of a pattern. A pattern makes at least 5 dies fail. With `references` each map comes
        with the same wafer without its pattern: other dies are the same, random fails included.
        """
        from .simulating import simulate

        return simulate(ctx, params)


def simulated(params: SimulateParams) -> Outline:
    """A labelled set of `params.count` maps, as `simulate` writes it."""
    count, plane = params.count, (params.size, params.size)
    beside = {"references": ((count, 2, *plane), "uint8")} if params.references else {}
    return Outline.of_images(
        count, (2, *plane), masks=((count, *plane), "uint8"), domain=((count,), "int8"), labels=((count,), "int16"), **beside
    )
