"""`images`: a user's own image files as an `ImageSet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError, PipelineError
from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, Survey, task

from .params import AugmentParams, LoadParams
from .parts import ClassMaskParams, DrawParams, JoinParams, ShuffleParams, SplitParams, TileParams

if TYPE_CHECKING:
    from pathlib import Path

    from fabloom.method import PlannedStep


class Images(Method):
    """Image files of a folder, whatever its layout: flat, clean/ and defect/, class folders, train/, val/ and test/ of these, MVTec's
    (AD and LOCO), pairs of test image and reference, or images with annotations of COCO, LabelMe, CVAT, VOC, YOLO or KLARF.

    Formats: PNG, JPEG, BMP, GIF of one frame, WebP, PPM, PGM, PBM, PFM, JPEG 2000, TGA, PCX, SGI, TIFF and NPY. `layout: auto` takes a
    layout only where it is the only one that fits. File names are never interpreted unless a parameter says how. The headers of all
    files are checked before a pixel is decoded, and all pixels before a row is written; files that are not read are named in the log.

    Masks are files of the images' names (a value for each class, or a folder), or drawn from annotations: 0 is clean, 1..K a class,
    255 cannot tell. Of a file that leaves in doubt what it marks (soft edges, an unclear palette) the refusal says so.

    Grey levels: an 8-bit set stays as it is, unless `stretch` is on. More bits and floats map linearly to 0..255 with one (low, high),
    percentiles of the whole set, kept as `grey_low` and `grey_high`. Palettes are resolved, pictures are turned as their EXIF tag says, and
    transparent pixels are composited over black, with a note in the log.
    """

    name = "images"
    preload = ("numpy", "PIL.Image", "tifffile")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse what names and annotations show to be wrong: no layout, no images, two of one name, masks that match nothing."""
        if isinstance(step.params, LoadParams):
            try:
                step.params.scene()
            except DataError as error:
                raise PipelineError(f"steps.{step.name}.params", str(error)) from error

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """`class_masks` needs masks, and labels that say of which class they are."""
        images = manifests.get("images")
        if not isinstance(step.params, ClassMaskParams) or images is None:
            return
        missing = " and no ".join(name for name in ("masks", "labels") if name not in images["arrays"])
        if missing:
            place, key = f"steps.{step.name}.inputs.images", str(images["key"])[:12]
            raise PipelineError(place, f"{step.task} needs masks and labels of classes, and ImageSet {key} has no {missing}")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """As many images as files or variations, of the size that the first file has; parts of a set have its images at most."""
        from .expecting import expected

        sets = step.inputs.get("images", "")
        return expected(step.params, inputs, 1 if isinstance(sets, str) else len(sets))

    @classmethod
    def survey(cls, folder: Path, options: Mapping[str, Any]) -> Survey | None:
        """A folder that `load` reads: layout, sizes, masks, and from the pixels lattice, shifts between images and symmetry."""
        from . import survey

        return survey.survey(folder, options)

    @task(version=3)
    def load(self, ctx: Context, params: LoadParams) -> ImageSet:
        """Read, check and write the files in the order of their names, which the set keeps as its sources.

        Raises DataError that names the file for: no images, no layout or several that fit, two files of one name, mixed sizes, channels or
        depths, unreadable, truncated, animated or multi-page files, images above `max_pixels`, pickled arrays, NaN and infinity, a
        constant set, and masks, annotations or references that do not fit.
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

        Images of one source are on one side, and so are images that are equal and, with `lot`, those of one lot. Which sources are held
        out follows from the seed and their names, so two steps of one seed agree. Raises DataError where one source is all there is of its
        sort, and for a name without a lot.
        """
        from . import split

        return split.split(ctx, params, images)

    @task(version=1)
    def draw(self, ctx: Context, params: DrawParams, *, images: ImageSet) -> ImageSet:
        """A few images of a set, so many with a defect and so many without: what somebody has who has labelled only those.

        Which ones follows from the seed and their names; with one seed, a draw of five holds the draw of one. At most one image of a
        source is drawn. Raises DataError for a set that has fewer, or that does not say which images have a defect.
        """
        from . import draw

        return draw.draw(ctx, params, images)

    @task(version=1)
    def shuffle_masks(self, ctx: Context, params: ShuffleParams, *, images: ImageSet) -> ImageSet:
        """The same images, those with a defect with the masks of one another: a control from which nothing can be learned of where.

        A score that does not fall with it does not measure what masks teach. Raises DataError for a set without masks, and for one
        with fewer than two defect images or with one mask alone.
        """
        from . import draw

        return draw.shuffle_masks(ctx, images)

    @task(version=2)
    def tile(self, ctx: Context, params: TileParams, *, images: ImageSet) -> ImageSet:
        """Squares that cover each image; masks, scores, references and sources go along.

        The last pixels of a defect that lies in the next square are no defect that somebody could find: they are 255, 'cannot tell'.

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

    @task(version=1)
    def class_masks(self, ctx: Context, params: ClassMaskParams, *, images: ImageSet) -> ImageSet:
        """The same images with masks whose values are the classes that `labels` tell: for a segmenter that tells K classes apart.

        For sets whose masks say only where a defect is (0 and 1): simulated ones, folders of classes labelled by difference, sets stored
        before masks told classes. Every defect of an image gets the image's class; 255 stays. The first class is the clean one, unless
        every image of it is marked. Raises DataError for a set without masks or labels, masks that tell classes already, a marked image
        of the clean class, and an image of another class whose mask marks nothing.
        """
        from . import class_masks

        return class_masks.class_masks(ctx, images)
