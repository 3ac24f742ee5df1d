"""`edge-roughness`: the spectrum of edge roughness of every image against that of the reference image."""

from __future__ import annotations

from pydantic import Field

from fabloom import Context, ImageSet, Method, Params, Report, task


class ScoreParams(Params):
    """The bands of the spectrum, and the rows to compare with: give those of the `quality.evaluate` step."""

    bands: int = Field(8, ge=2, le=64, description="bands of the spectrum, of equal width on a logarithmic axis")
    reference_row: int | None = Field(None, ge=0, description="row of the reference image; left out: the only one with a defect")
    clean_row: int | None = Field(None, ge=0, description="row of the clean image; left out: the first clean one (domain 0)")


class EdgeRoughness(Method):
    """A metric: how far the roughness spectrum of an image's edges is from that of the reference, in decibels.

    Generators err in two ways that a mean square error does not see: edges that are too smooth, and jitter that real resist
    does not have. Both change the power spectral density of the edges along the lines. Lines are vertical.
    """

    name = "edge-roughness"
    preload = ("numpy",)

    @task(version=2)
    def score(self, ctx: Context, params: ScoreParams, *, images: ImageSet, reference: ImageSet) -> Report:
        """The log-spectral distance of each image, ready for the input `metrics` of `quality.evaluate`.

        Raises DataError for images of another size than the reference and for images with fewer rows than the bands need.
        """
        from . import scoring

        return scoring.run(ctx, params, images, reference)
