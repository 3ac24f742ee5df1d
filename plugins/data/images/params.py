"""Parameters of `images`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Source

if TYPE_CHECKING:
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
    grey_range: tuple[float, float] | None = Field(
        None,
        description="values that become 0 and 255 in images of more than 8 bits, those beyond are clipped: give images of one camera one "
        "range, above all those that a trained model is applied to; default: the extremes of the set",
    )
    tile: int | None = Field(None, ge=8, description="cut every image into squares of this many pixels; images may then differ in size")
    stride: int | None = Field(None, ge=1, description="distance of tiles; default: tile, no overlap")
    max_pixels: int = Field(2**26, ge=1, description="refuse larger images before decoding them")

    @model_validator(mode="after")
    def _tiles(self) -> Self:
        if self.stride is not None and self.tile is None:
            raise ValueError("stride has no meaning without tile; set tile too")
        if self.grey_range is not None and not -1e300 < self.grey_range[0] < self.grey_range[1] < 1e300:
            raise ValueError(f"grey_range={list(self.grey_range)} must rise from its first to its second value, both finite")
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
