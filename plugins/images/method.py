"""`images`: a user's own image files as an `ImageSet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from fabloom.artifacts import ImageSet
from fabloom.context import Context
from fabloom.errors import DataError, PipelineError
from fabloom.method import Method, task
from fabloom.params import Params, Source

if TYPE_CHECKING:
    from fabloom.plan import PlannedStep

    from .layout import Entry


class LoadParams(Params):
    """Where the files are and how they become uint8 [N,C,H,W]."""

    path: Source = Field(description="an image file, or a folder: flat, or with clean/ and defect/; masks/ beside them")
    masks: Source | None = Field(None, description="folder of masks that carry the names of the images, instead of masks/")
    clean: tuple[str, ...] = Field((), description="glob patterns of file names that are clean, e.g. ['no_defect*']")
    defect: tuple[str, ...] = Field((), description="glob patterns of file names that have a defect")
    colour: Literal["auto", "grey", "keep"] = Field(
        "auto", description="auto: grey where all channels are equal in the whole set; grey: luma; keep: channels as in the files"
    )
    tile: int | None = Field(None, ge=8, description="cut every image into squares of this many pixels; images may then differ in size")
    stride: int | None = Field(None, ge=1, description="distance of tiles; default: tile, no overlap")
    max_pixels: int = Field(2**26, ge=1, description="refuse larger images before decoding them")

    @model_validator(mode="after")
    def _tiles(self) -> Self:
        if self.stride is not None and self.tile is None:
            raise ValueError("stride has no meaning without tile; set tile too")
        return self

    def entries(self) -> list[Entry]:
        """The image files, by their names alone. Raises DataError for an empty or ambiguous layout and unmatched masks."""
        from .layout import scan

        return scan(self.path.path, self.masks.path if self.masks else None, self.clean, self.defect)


class AugmentParams(Params):
    """Variations that keep the structure registered: only shifts and flips under which it looks the same."""

    count: int = Field(200, ge=1, description="variations; source images are used in turn")
    flip_x: bool = Field(False, description="mirror left-right in half of the variations, image and mask together")
    flip_y: bool = Field(False, description="mirror top-bottom in half of the variations")
    shift_x_step: int = Field(
        0, ge=0, description="cyclic shift along x by random multiples of this many pixels (a line period); 0 is none"
    )
    shift_y_step: int = Field(0, ge=0, description="cyclic shift along y by random multiples of this many pixels (1 along vertical lines)")
    noise: float = Field(
        0.0, ge=0, description="white noise added to each variation, standard deviation in grey levels; 0 lets variations repeat"
    )
    noise_low: float | None = Field(
        None,
        ge=0,
        description="draw each variation's standard deviation between this and `noise` (SinSEMI: 0 and 1); default: always `noise`",
    )
    noise_share: float = Field(1.0, ge=0, le=1, description="share of the variations that get noise, drawn for each (SinSEMI: 0.7)")
    rounding: Literal["nearest", "truncate"] = Field(
        "nearest", description="how noisy levels become whole ones; truncate darkens them by half a level, as in the test set of SinSEMI"
    )
    paired: bool = Field(
        False, description="source images share flip and shift in each turn, so that a clean and a defect image stay a registered pair"
    )

    @model_validator(mode="after")
    def _noise(self) -> Self:
        if self.noise_low is not None and self.noise_low > self.noise:
            raise ValueError(f"noise_low={self.noise_low} is above noise={self.noise}")
        return self


class Images(Method):
    """PNG, JPEG, BMP, TIFF and NPY files.

    Layouts: one file; a flat folder; `clean/` and `defect/` folders, which give the domain. Masks (0 and one other value) are
    matched by name without suffix, from `masks/` or the `masks` parameter. File names are never interpreted unless `clean` or
    `defect` say how. The headers of all files are checked before a pixel is decoded, and all pixels before a row is written.

    Grey levels: an 8-bit set stays as it is. Integers of 16 and 32 bits and floats map linearly to 0..255 with one (low, high),
    the extremes of the whole set, kept as `grey_low` and `grey_high`. Palettes are resolved, EXIF orientation is ignored
    (pixels stay where the sensor saw them), and transparent pixels are composited over black, with a note in the log.
    """

    name = "images"
    preload = ("numpy", "PIL.Image", "tifffile")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse what the names of the files show to be wrong: no images, two of one name, patterns and masks that match nothing."""
        if isinstance(step.params, LoadParams):
            try:
                step.params.entries()
            except DataError as error:
                raise PipelineError(f"steps.{step.name}.params", str(error)) from error

    @task(version=1)
    def load(self, ctx: Context, params: LoadParams) -> ImageSet:
        """Read, check and write the files in the order of their names.

        Raises DataError that names the file for: no images, two files of one name, mixed sizes, channels or depths,
        unreadable, truncated, animated or multi-page files, images above `max_pixels`, pickled arrays, NaN and infinity, a
        constant set, and masks that do not fit.
        """
        from . import loading

        return loading.run(ctx, params)

    @task(version=2)
    def augment(self, ctx: Context, params: AugmentParams, *, images: ImageSet) -> ImageSet:
        """Registered variations of a few images: flips, shifts along the structure, noise; masks and domain go along.

        The test set released with the SinSEMI paper is, as its images show, `count: 50, flip_x: true, flip_y: true, paired: true,
        noise: 1, noise_low: 0, noise_share: 0.7, rounding: truncate` on the labelled pair. Scores on such variations of two
        images describe those two images; the attribute `distinct_images` counts what differs at all. Raises DataError for a step
        beyond half the image.
        """
        from . import augment

        return augment.augment(ctx, params, images)
