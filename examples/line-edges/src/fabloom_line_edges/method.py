"""`line-edges`: positions of line edges in images, and the roughness they add up to."""

from __future__ import annotations

from pydantic import Field

from fabloom import Context, ImageSet, Method, Params, Report, task

from .kind import LineEdges, Tone


class MeasureParams(Params):
    """How an edge is found in a row of an image."""

    tone: Tone = Field("dark", description="whether lines are darker or brighter than spaces")
    level: float = Field(0.5, gt=0, lt=1, description="grey of an edge, from 0 (darkest of the mean profile) to 1 (brightest)")
    smooth: float = Field(1.0, ge=0, le=10, description="deviation in pixels of the Gaussian across the lines, against noise")
    smooth_along: float = Field(0.0, ge=0, le=10, description="the same along the lines; it lowers the measured roughness")
    gap: int = Field(
        0, ge=0, description="rows in a run where an edge may be missing (bridge, break) and is interpolated; 0 refuses such images"
    )


class ReportParams(Params):
    """Units of the report."""

    pixel_nm: float | None = Field(None, gt=0, description="pixel pitch in nm; left out, lengths are in pixels")


class LineEdgeMetrology(Method):
    """Line widths and edge roughness of vertical lines, as in CD metrology.

    The edge of a row is where its grey crosses a level between line and space, interpolated linearly between two pixels.
    Roughness is three standard deviations of the edge positions about a straight line (LER) and of the line width along a
    line (LWR), after SEMI P47. Camera noise is part of both.
    """

    name = "line-edges"
    preload = ("numpy", "scipy.ndimage")

    @task(version=1)
    def measure(self, ctx: Context, params: MeasureParams, *, images: ImageSet) -> LineEdges:
        """The edges of all whole lines. The images must show the same number of lines.

        Raises DataError, naming image, edge and rows, where an edge is missing for more than `gap` rows, where no line is found,
        and where images have different numbers of lines.
        """
        from . import measuring

        return measuring.run(ctx, params, images)

    @task(version=2)
    def report(self, ctx: Context, params: ReportParams, *, edges: LineEdges) -> Report:
        """Mean line width (CD), pitch, LER and LWR, over all images and of each image."""
        from . import reporting

        return reporting.run(ctx, params, edges)
