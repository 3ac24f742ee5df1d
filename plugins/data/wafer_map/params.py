"""Parameters of `wafer-map`: what is simulated, and which maps of a file are taken."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Source

from .types import CODES, MOST_MIXED, TYPES, Pattern, types_of


class SimulateParams(Params):
    """Wafers, random fails and patterns of a simulated set. Lengths are in dies, shares are of dies."""

    count: int = Field(512, ge=1, description="number of wafers")
    size: int = Field(32, ge=16, le=512, description="dies across the wafer, which is also height and width of a map; MixedWM38 has 52")
    fail_low: float = Field(0.02, ge=0, lt=1, description="smallest share of dies that fail at random, drawn for each wafer")
    fail_high: float = Field(0.08, ge=0, lt=1, description="largest such share")
    defect_share: float = Field(0.5, ge=0, le=1, description="share of wafers with a pattern, exact to one wafer in each block of 20")
    patterns: tuple[Pattern, ...] = Field(tuple(CODES), min_length=1, description="patterns to draw from")
    mixed_share: float = Field(0.25, ge=0, le=1, description="share of the wafers with a pattern that have several at once, drawn for each")
    most_mixed: int = Field(3, ge=2, le=MOST_MIXED, description="most patterns on one wafer")
    density_low: float = Field(
        0.6,
        gt=0,
        le=1,
        description="smallest share of the dies in a pattern's zone that it makes fail; Random and Near-full have their own",
    )
    density_high: float = Field(0.95, gt=0, le=1, description="largest such share")
    references: bool = Field(False, description="give each map its `references`: the same wafer with its random fails, without the pattern")

    def types(self) -> dict[str, tuple[Pattern, ...]]:
        """Name and patterns of each class of the set, `none` first."""
        return types_of(self.patterns, self.most_mixed if self.mixed_share else 1)

    @model_validator(mode="after")
    def _drawable(self) -> Self:
        for low, high in (("fail_low", "fail_high"), ("density_low", "density_high")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low}={getattr(self, low)} is above {high}={getattr(self, high)}")
        if len(set(self.patterns)) < len(self.patterns):
            raise ValueError("patterns are named once each")
        if self.mixed_share and not any(len(members) > 1 for members in self.types().values()):
            raise ValueError(f"no two of {', '.join(self.patterns)} go together; name others or set mixed_share to 0")
        return self


class LoadParams(Params):
    """Which maps of which file, and how maps of any size come to one."""

    path: Source = Field(description="MixedWM38's npz as published, or WM-811K as examples/wm811k_to_npz.py writes it")
    size: int = Field(52, ge=8, le=512, description="height and width of a map in the set, in dies")
    fit: Literal["nearest", "pad"] = Field(
        "nearest",
        description="nearest: stretched to size, each die of the map is one of the wafer; pad: dies as they are, in the middle",
    )
    too_large: Literal["refuse", "skip"] = Field("refuse", description="pad: what becomes of maps that are larger than size")
    labelled: bool = Field(True, description="maps that somebody labelled; false: only those that nobody did, without domain and labels")
    classes: tuple[str, ...] = Field((), description="classes to take, as none, Center or C+EL; default: all")
    split: Literal["all", "training", "test"] = Field("all", description="WM-811K: which of the parts that its authors made")
    per_class: int | None = Field(None, ge=1, description="most maps of a class, drawn by the seed; default: all")
    count: int | None = Field(None, ge=1, description="most maps of all, drawn by the seed from what the rest leaves; default: all")
    source: Literal["lot", "wafer"] = Field(
        "lot", description="WM-811K: what counts as one source, which `images.split` keeps on one side; maps of a lot are alike"
    )
    max_mib: int = Field(4096, ge=1, description="refuse a file whose arrays are larger than this when decompressed, before reading them")

    @model_validator(mode="after")
    def _known(self) -> Self:
        unknown = [name for name in self.classes if name not in TYPES]
        if unknown:
            raise ValueError(f"no class is called {unknown[0]!r}; there are {', '.join(TYPES)}")
        if self.classes and not self.labelled:
            raise ValueError("maps that nobody labelled have no classes; leave out classes or set labelled to true")
        if self.per_class is not None and not self.labelled:
            raise ValueError("maps that nobody labelled have no classes; give count instead of per_class")
        if self.too_large == "skip" and self.fit != "pad":
            raise ValueError("too_large has no meaning for fit: nearest, which takes maps of any size")
        return self
