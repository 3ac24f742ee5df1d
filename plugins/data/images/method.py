"""`images`: a user's own image files as an `ImageSet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Survey, task

from .params import AugmentParams, LoadParams
from .parts import JoinParams, SplitParams, TileParams

if TYPE_CHECKING:
    from pathlib import Path

    from fabloom.method import PlannedStep

    from .layout import Found


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
                step.params.scene()
            except DataError as error:
                raise PipelineError(f"steps.{step.name}.params", str(error)) from error

    @staticmethod
    def find(folder: str | Path, **params: Any) -> Found:
        """How a folder is laid out, by names and annotations alone: see `fabloom.plugins.data.images.layout.find`."""
        from .layout import find

        return find(folder, **params)

    @classmethod
    def survey(cls, folder: Path, options: Mapping[str, Any]) -> Survey | None:
        """A folder that `load` reads: layout, sizes, masks, and from the pixels lattice, shifts between images and symmetry."""
        from . import survey

        return survey.survey(folder, options)

    @task(version=3)
    def load(self, ctx: Context, params: LoadParams) -> ImageSet:
        """Read, check and write the files in the order of their names, which the set keeps as its sources.

        Raises DataError that names the file for: no images, two files of one name, mixed sizes, channels or depths,
        unreadable, truncated, animated or multi-page files, images above `max_pixels`, pickled arrays, NaN and infinity, a
        constant set, and masks that do not fit.
        """
        from . import loading

        return loading.run(ctx, params)

    @task(version=4)
    def augment(self, ctx: Context, params: AugmentParams, *, images: ImageSet) -> ImageSet:
        """Registered variations of a few images: flips, shifts along the structure, noise.

        Masks of all classes, scores, references, domain, labels and sources go along; noise is the image's alone.

        The test set released with the SinSEMI paper is, as its images show, `count: 50, flip_x: true, flip_y: true, paired: true,
        noise: 1, noise_low: 0, noise_share: 0.7, rounding: truncate` on the labelled pair. Scores on such variations of two
        images describe those two images; the attribute `distinct_images` counts what differs at all. Raises DataError for a step
        beyond half the image.
        """
        from . import augment

        return augment.augment(ctx, params, images)

    @task(version=1)
    def split(self, ctx: Context, params: SplitParams, *, images: ImageSet) -> ImageSet:
        """One part of a set by source, of clean and defect sources alike; the other part is the same step with the other `part`.

        Images of one source are on one side, and so are images that are equal. Which sources are held out follows from the seed and
        their names, so two steps of one seed agree. Raises DataError where one source is all there is of its sort.
        """
        from . import split

        return split.split(ctx, params, images)

    @task(version=1)
    def tile(self, ctx: Context, params: TileParams, *, images: ImageSet) -> ImageSet:
        """Squares that cover each image; masks, scores, references and sources go along.

        Raises DataError for tiles larger than the images, and for defect images without masks.
        """
        from . import tile

        return tile.tile(ctx, params, images)

    @task(version=1)
    def join(self, ctx: Context, params: JoinParams, *, images: list[ImageSet]) -> ImageSet:
        """Several sets as one: images with masks and sources. Clean images without masks get empty ones.

        Raises DataError for sets of other sizes or classes, and for a set without masks beside one with masks.
        """
        from . import join

        return join.join(ctx, images)
