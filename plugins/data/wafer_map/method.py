"""`wafer-map`: maps of passing and failing dies, simulated with known membership or read from MixedWM38 and WM-811K."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, Survey, task

from .params import LoadParams, SimulateParams

if TYPE_CHECKING:
    from pathlib import Path


class WaferMap(Method):
    """Maps of the dies of round wafers: random fails everywhere, and on half of the wafers fails that follow one or several patterns.

    Patterns and names are those of WM-811K (Wu et al., IEEE Trans. Semicond. Manuf. 28, 2015) and MixedWM38 (Wang et al., same journal 33,
    2020). A map is an image of two channels, uint8 [2,H,W] of 0 and 255: which dies fail, and where dies are. Mixed types are classes of
    their own (C+EL); the attribute `patterns` says which patterns each class has.
    """

    name = "wafer-map"
    preload = ("numpy", "scipy.fft")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse a file that is damaged, too large, of another layout, or leaves no map, before anything runs."""
        if isinstance(step.params, LoadParams):
            from .loading import foreseen

            try:
                foreseen(step.params)
            except DataError as error:
                raise PipelineError(f"steps.{step.name}.params", str(error)) from error

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Count and size are parameters, or follow from the labels of the file."""
        return simulated(step.params) if isinstance(step.params, SimulateParams) else loaded(cast(LoadParams, step.params))

    @classmethod
    def survey(cls, folder: Path, options: Mapping[str, Any]) -> Survey | None:
        """A file that `load` reads, or a folder of such a file alone: maps, sizes, labels. No die is read."""
        from . import survey

        return survey.survey(folder, options)

    @task(version=1)
    def simulate(self, ctx: Context, params: SimulateParams) -> ImageSet:
        """Simulate a labelled set; wafer i depends on the seed and i only, so a larger count keeps the earlier wafers.

        Masks mark the failing dies that a pattern made fail, whether or not they would have failed at random too; a die that passes is
        in no mask, though it lie in the middle of a pattern. A pattern makes at least 5 dies fail. With `references` each map comes
        with the same wafer without its pattern: other dies are the same, random fails included.
        """
        from .simulating import simulate

        return simulate(ctx, params)

    @task(version=1)
    def load(self, ctx: Context, params: LoadParams) -> ImageSet:
        """Read MixedWM38 as published, or WM-811K as examples/wm811k_to_npz.py converts it, both npz files; nothing is ever unpickled.

        Maps stay in the order of the file. Domain and labels are those of the file; no masks, since nobody says which dies a pattern
        made fail. A source is a lot of WM-811K, or a map of MixedWM38. Dies are never mixed: `fit: nearest` repeats or leaves out
        whole dies, `fit: pad` keeps all. An illegal 3 in MixedWM38 is read as a fail, counted in the attribute `repaired` and said.

        Raises DataError that names the file for: arrays above `max_mib`, damaged or encrypted members, pickled objects, other arrays
        than these, a die other than 0, 1 and 2, patterns that do not go together, and choices that leave no map.
        """
        from .loading import load

        return load(ctx, params)


def loaded(params: LoadParams) -> Outline | None:
    """A set without masks, of as many maps as are taken."""
    from .loading import foreseen

    try:
        count = foreseen(params)
    except DataError:  # which `check` has told
        return None
    known: dict[str, Any] = {"domain": ((count,), "int8"), "labels": ((count,), "int16")} if params.labelled else {}
    return Outline.of_images(count, (2, params.size, params.size), source=((count,), "int32"), **known)


def simulated(params: SimulateParams) -> Outline:
    """A labelled set of `params.count` maps, as `simulate` writes it."""
    count, plane = params.count, (params.size, params.size)
    beside: dict[str, Any] = {"references": ((count, 2, *plane), "uint8")} if params.references else {}
    return Outline.of_images(
        count, (2, *plane), masks=((count, *plane), "uint8"), domain=((count,), "int8"), labels=((count,), "int16"), **beside
    )
