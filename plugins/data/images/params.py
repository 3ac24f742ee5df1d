"""Parameters of `images`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from math import hypot
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Source

from .lots import checked

if TYPE_CHECKING:
    from .entries import Scene


class LoadParams(Params):
    """Where the files are and how they become uint8 [N,C,H,W]."""

    path: Source = Field(description="a folder of images in one of the layouts, or one image file")
    layout: Literal["auto", "flat", "domains", "classes", "splits", "mvtec", "pairs", "coco", "labelme", "cvat", "voc", "yolo", "klarf"] = (
        Field("auto", description="how the folder is laid out; auto: the only layout that fits, refused where several do")
    )
    masks: Source | None = Field(None, description="folder of masks that carry the names of the images, instead of masks/")
    clean: tuple[str, ...] = Field((), description="glob patterns of file names that are clean, e.g. ['no_defect*']")
    defect: tuple[str, ...] = Field((), description="glob patterns of file names that have a defect")
    clean_class: str | None = Field(
        None, description="the class (folder, label) without a defect, called clean from then on; default: clean, and good in mvtec"
    )
    classes: tuple[str, ...] | dict[str, int] = Field(
        (),
        description="classes of masks that tell several by value: names of 1, 2, ... ([bridge, open]; 255 is 'cannot tell'), or each "
        "name's value ({bridge: 128, open: 255}, classes in the order of the values); default: classes.txt beside masks/, else one class",
    )
    test: str | None = Field(None, description="pairs: name of a test image relative to the folder, e.g. '{name}_test.jpg'")
    reference: str | None = Field(None, description="pairs: name of its reference, e.g. '{name}_temp.jpg'")
    box_lists: str | None = Field(
        None,
        description="pairs: name of the list of boxes of each image, such as '{name}.txt': a line LEFT TOP RIGHT BOTTOM and perhaps a "
        "class each, in pixels. Masks are whole boxes; reference-difference.label with `given: within` finds the defect inside",
    )
    annotations: str | None = Field(None, description="the annotation file, where the folder holds several: its name or a glob pattern")
    boxes: Literal["refuse", "labels", "fill"] = Field(
        "refuse", description="annotations with boxes alone: labels: the class of each image and no masks; fill: all pixels of a box"
    )
    unlisted: Literal["refuse", "clean", "skip"] = Field(
        "refuse", description="an image that no mask and no annotation names, where others have some; skip also leaves out what is missing"
    )
    split: Literal["all", "train", "val", "test"] = Field(
        "all", description="splits and mvtec: which of the folders; MVTec has no val, and train is also LOCO's validation"
    )
    lot: str | None = Field(
        None,
        description="splits: regular expression that finds the lot in a file's name, as its group or whole; a lot in two of the folders is "
        "refused",
    )
    view: int = Field(1, ge=1, description="klarf: which image of each defect, from 1")
    strict: bool = Field(False, description="refuse a folder with files that are not read, instead of naming them in the log")
    colour: Literal["auto", "grey", "keep"] = Field(
        "auto", description="auto: grey where all channels are equal in the whole set; grey: luma; keep: channels as in the files"
    )
    channels: int | None = Field(
        None, ge=1, le=64, description="channels of NPY and TIFF files of more than 3, as [H,W,C]; they are kept as they are"
    )
    grey_range: tuple[float, float] | None = Field(
        None,
        description="values that become 0 and 255 in images of more than 8 bits, those beyond are clipped: give images of one camera one "
        "range, above all those that a trained model is applied to; default: grey_percentiles of the whole set",
    )
    grey_percentiles: tuple[float, float] = Field(
        (0.1, 99.9), description="percentiles of the set that become 0 and 255 in images of more than 8 bits; 0 and 100 are the extremes"
    )
    crop_bottom: int = Field(0, ge=0, description="rows cut off below every image, mask and reference: the data bar of a microscope")
    info_bar: bool = Field(
        False,
        description="find the data bar of a microscope below the images (even ground with writing on it), cut it off like crop_bottom, and "
        "say how many rows; refused where there is none or not the same one in all images",
    )
    stretch: bool = Field(False, description="map grey_percentiles, or grey_range, of images of 8 bits to 0 and 255 too")
    orientation: Literal["auto", "apply", "ignore"] = Field(
        "auto",
        description="EXIF orientation; apply: each file is turned as its tag says; ignore: pixels stay where the sensor saw them; auto: "
        "applied, but refused where an image and its mask, reference or annotation may be turned differently",
    )
    invert_masks: bool = Field(False, description="mask files mark what is clean: 0 is the defect")
    tile: int | None = Field(None, ge=8, description="cut every image into squares of this many pixels; images may then differ in size")
    stride: int | None = Field(None, ge=1, description="distance of tiles; default: tile, no overlap")
    max_pixels: int = Field(2**26, ge=1, description="refuse larger images before decoding them")

    @model_validator(mode="after")
    def _tiles(self) -> Self:
        if self.stride is not None and self.tile is None:
            raise ValueError("stride has no meaning without tile; set tile too")
        if self.grey_range is not None and not -1e300 < self.grey_range[0] < self.grey_range[1] < 1e300:
            raise ValueError(f"grey_range={list(self.grey_range)} must rise from its first to its second value, both finite")
        if not 0 <= self.grey_percentiles[0] < self.grey_percentiles[1] <= 100:
            raise ValueError(f"grey_percentiles={list(self.grey_percentiles)} must rise within 0..100")
        if self.info_bar and self.crop_bottom:
            raise ValueError("crop_bottom and info_bar are two ways to cut the data bar: give one")
        checked(self.lot)
        return self

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        for name in ("test", "reference"):
            pattern = getattr(self, name)
            if pattern is not None and pattern.count("{name}") != 1:
                raise ValueError(f"{name}={pattern!r} wants {{name}} once, where the names of a pair are equal")
        if self.box_lists is not None and self.box_lists.count("{name}") != 1:
            raise ValueError(f"box_lists={self.box_lists!r} wants {{name}} once, where the name of the pair stands")
        if (self.test is None) != (self.reference is None):
            raise ValueError("test and reference belong together: a pattern for each image and one for its reference")
        if self.test is not None and self.layout not in ("auto", "pairs"):
            raise ValueError(f"test and reference are patterns of layout pairs, not of {self.layout}")
        return self

    @model_validator(mode="after")
    def _classes(self) -> Self:
        values = self.values()
        if len(set(values.values())) < len(self.classes) or not all(0 < value < 2**24 for value in values):
            raise ValueError("classes are names, each once, of different values above 0")
        if "clean" in values.values() or len(values) > 254:
            raise ValueError("classes names at most 254 kinds of defects; 0 is clean without saying so")
        if self.invert_masks and values:
            raise ValueError("invert_masks has no meaning for masks of several values; leave out classes")
        return self

    def values(self) -> dict[int, str]:
        """Class name of each mask value that `classes` says."""
        if isinstance(self.classes, dict):
            return {value: name for name, value in self.classes.items()}
        return dict(enumerate(self.classes, start=1))

    def scene(self) -> Scene:
        """The images by their names and annotations alone. Raises DataError for an empty or ambiguous layout and unmatched masks."""
        from .layout import scene

        return scene(self)


class AugmentParams(Params):
    """Variations that keep the structure registered: only shifts and flips under which it looks the same."""

    count: int = Field(200, ge=1, description="variations; source images are used in turn")
    flip_x: bool = Field(False, description="mirror left-right in half of the variations, image and mask together")
    flip_y: bool = Field(False, description="mirror top-bottom in half of the variations")
    shift_x_step: int = Field(
        0, ge=0, description="cyclic shift along x by random multiples of this many pixels (a line period); 0 is none"
    )
    shift_y_step: int = Field(0, ge=0, description="cyclic shift along y by random multiples of this many pixels (1 along vertical lines)")
    shift_lattice: tuple[tuple[float, float], tuple[float, float]] | None = Field(
        None,
        description="shift by random whole multiples of these two steps (down, right) in pixels between the sites of an array, such as "
        "[[0, 16], [13.856, 8]] of a hexagonal one; what comes in from outside is taken from sites inside, and a defect stays in the image "
        "(one that nobody has drawn stays where it is)",
    )
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
    def _steps(self) -> Self:
        if self.shift_lattice is None:
            return self
        if self.shift_x_step or self.shift_y_step:
            raise ValueError("shift_lattice and shift_x_step or shift_y_step are two ways to shift: give one")
        (one, other), (down, right) = self.shift_lattice
        lengths = hypot(one, other), hypot(down, right)
        if min(lengths) < 2 or abs(one * right - other * down) < 0.2 * lengths[0] * lengths[1]:
            raise ValueError(f"shift_lattice wants two steps (down, right) of 2 pixels or more in two directions, not {self.shift_lattice}")
        return self

    @model_validator(mode="after")
    def _noise(self) -> Self:
        if self.noise_low is not None and self.noise_low > self.noise:
            raise ValueError(f"noise_low={self.noise_low} is above noise={self.noise}")
        return self
