"""Overlay maps as tensors of a network: in units of their deviation, with coordinates, standardised logs and barcodes as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.plugins.blocks.overlay.maps import CHARACTERS, LONGEST, OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import HEIGHT, RADIUS, WIDTH, Real

from .conditions import Told

SPREAD = 0.5
"""Deviation of maps in units of the model: overlay is smooth and survives much noise, which smaller maps drown in sooner."""
FURTHEST = 6.0
"""Deviations at which a log is cut off: what lies farther is a wrong entry."""


@dataclass(frozen=True)
class Units:
    """Of a training set: nm of one unit of the map and of that below, mean, deviation, name and unit of each log, where pixels lie, and
    how many fields of a barcode, from the left between |, say who exposed a wafer.
    """

    current: float
    previous: float
    means: list[float]
    deviations: list[float]
    log_names: list[str]
    log_units: list[str]
    raster: dict[str, Any]
    group_parts: int

    @classmethod
    def of(cls, maps: OverlayMaps, group_parts: int) -> Self:
        """Those of a set, with which its maps have the deviation `SPREAD`. Means and deviations of logs are of their middle 98 %."""
        valid = maps.valid[...].astype(bool)
        deviations = [float(np.moveaxis(maps.array(name)[...], 1, -1)[valid].std()) for name in ("values", "previous")]
        if min(deviations) <= 0:
            raise DataError(f"set {maps.key[:12]}: all overlay is alike, and nothing can be learned from it")
        logs = np.where(maps.logged[...] == 1, maps.logs[...], np.nan).astype(np.float64)
        silent = np.isnan(logs).all(0)
        logs[:, silent] = 0
        low, high = np.nanquantile(logs, (0.01, 0.99), axis=0)
        inner = np.where((logs < low) | (logs > high), np.nan, logs)
        scale = np.nanstd(inner, axis=0)
        return cls(
            deviations[0] / SPREAD, deviations[1] / SPREAD, np.nanmean(inner, axis=0).tolist(),
            np.where(scale > 0, scale, 1).tolist(), maps.log_names, list(maps.attrs["log_units"]), maps.raster.stored(), group_parts,
        )  # fmt: skip

    def standardised(self, logs: NDArray[np.floating], logged: NDArray[Any]) -> Real:
        """Logs [N,F] less their mean over their deviation, cut off far out; 0 where not `logged`."""
        scaled: Real = np.clip(self._deviating(logs), -FURTHEST, FURTHEST) * logged
        return scaled

    def _deviating(self, logs: NDArray[np.floating]) -> Real:
        """Logs [N,F] less their mean over their deviation."""
        found: Real = (logs - np.array(self.means)) / np.array(self.deviations)
        return found

    def beyond(self, logs: NDArray[np.floating], logged: NDArray[Any]) -> dict[str, str]:
        """Logs [N,F] that are cut off on most wafers for which they were `logged`, as in another unit: by name, what is told of each.

        A single one so far out is a wrong entry, which every fab has and which is cut off in silence.
        """
        far = (np.abs(self._deviating(logs)) > FURTHEST) & (logged == 1)
        return {
            f"{name} [{unit}]": f"{far[:, at].sum():,} of {logged[:, at].sum():,} wafers, as {logs[far[:, at], at][0]:g} where "
            f"{self.means[at]:.4g} +- {self.deviations[at]:.2g} was learned"
            for at, (name, unit) in enumerate(zip(self.log_names, self.log_units, strict=True))
            if 2 * far[:, at].sum() > logged[:, at].sum()
        }

    def stored(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def inside(cls, config: Mapping[str, Any]) -> Self:
        """Those of a model's config."""
        return cls(**config["units"])

    def check(self, maps: OverlayMaps, model: Model) -> None:
        """Raise DataError for maps that a model of these units does not know."""
        if maps.raster.stored() != Raster.of(self.raster).stored():
            raise DataError(
                f"set {maps.key[:12]} lies on the raster {maps.raster.stored()}, model {model.key[:12]} knows {self.raster}: simulate or "
                "load with the same size and fields"
            )
        given = maps.log_names
        if given != self.log_names:
            more, fewer = ([n for n in one if n not in other] for one, other in ((given, self.log_names), (self.log_names, given)))
            raise DataError(
                f"set {maps.key[:12]} has other logs than model {model.key[:12]} learned from: it lacks {', '.join(fewer) or 'none'}, has "
                f"{', '.join(more) or 'none'} beside, or another order; give the same in the same order, an empty cell where one was not "
                "written"
            )
        units = list(maps.attrs["log_units"])
        for name, mine, theirs in zip(given, self.log_units, units, strict=True):
            if mine != theirs:
                raise DataError(
                    f"log '{name}' of set {maps.key[:12]} is in '{theirs}', model {model.key[:12]} learned it in '{mine}': convert it, or "
                    "name the unit alike if it is the same"
                )


@dataclass(frozen=True)
class Material:
    """Maps [N,2,H,W] in the model's unit, where they are valid [N,1,H,W], places [10,H,W], and what they are generated from.

    `groups` [N] number what wafers have in common by their barcode, and `own` [N,40] are the characters behind that, of lot and wafer.
    """

    maps: Tensor
    valid: Tensor
    places: Tensor
    told: Told
    groups: Tensor
    own: Tensor

    def drawn(self, rows: Tensor, draw: torch.Generator) -> Told:
        """What these rows are told by, for training: with other names of lot and wafer."""
        return self.told.rows(rows).renamed(self.own[rows], draw)

    @classmethod
    def of(cls, maps: OverlayMaps, units: Units) -> Self:
        """Those of a set."""
        valid = torch.from_numpy(maps.valid[...]).float()[:, None]
        previous = torch.from_numpy(maps.previous[...]) / units.previous
        logged = torch.from_numpy(maps.logged[...]).float()
        logs = torch.from_numpy(units.standardised(maps.logs[...], maps.logged[...])).float()
        told = Told(
            torch.cat([previous, valid], 1),
            logs,
            logged,
            torch.from_numpy(codes(maps.barcodes)),
        )
        return cls(
            torch.from_numpy(maps.values[...]) / units.current,
            valid,
            places_of(units.raster),
            told,
            *grouped(maps.barcodes, units.group_parts),
        )

    def given(self, told: Told, hidden: Tensor) -> Tensor:
        """Channels [B,13,H,W] beside noisy maps: the layer below, 0 where that is `hidden` [B,3], where it is valid, and places."""
        below = told.previous[:, :2].masked_fill(hidden[:, :1, None, None], 0)
        return given_channels(torch.cat([below, told.previous[:, 2:]], 1), self.places)


def places_of(raster: dict[str, Any]) -> Tensor:
    """Where pixels lie, [10,H,W]: wafer and field coordinates of -1 to 1 or about, their powers within a field, and the scan direction."""
    where = Raster.of(raster).places
    x, y = where.x / WIDTH, where.y / HEIGHT
    channels = (where.X / RADIUS, where.Y / RADIUS, x, y, x * x, x * y, y * y, x**3, y**3, where.scan)
    return torch.from_numpy(np.stack(channels)).float()


def given_channels(previous: Tensor, places: Tensor) -> Tensor:
    """Channels [B,13,H,W] beside noisy maps, of the layer below [B,3,H,W] and places [10,H,W]."""
    return torch.cat([previous, places.to(previous.device).expand(previous.shape[0], -1, -1, -1)], 1)


def codes(barcodes: list[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers of their characters [N,40], 0 behind the last."""
    found = np.zeros((len(barcodes), LONGEST), np.int64)
    for row, code in enumerate(barcodes):
        found[row, : len(code)] = [1 + CHARACTERS.index(letter) for letter in code]
    return found


def grouped(barcodes: list[str], parts: int) -> tuple[Tensor, Tensor]:
    """(a number of each [N], the same where the first `parts` fields between | are; which characters lie behind those [N,40])."""
    keys = ["|".join(code.split("|")[:parts]) for code in barcodes]
    own = torch.tensor([[len(key) < place < len(code) for place in range(LONGEST)] for key, code in zip(keys, barcodes, strict=True)])
    return torch.from_numpy(np.unique(keys, return_inverse=True)[1].astype(np.int64)), own


def met(barcodes: list[str], parts: int) -> list[list[str]]:
    """The values of each of the first `parts` fields between |, sorted."""
    fields = [code.split("|")[:parts] for code in barcodes]
    return [sorted({one[place] for one in fields if place < len(one)}) for place in range(parts)]


def unmet(barcodes: list[str], known: list[list[str]]) -> dict[str, int]:
    """Wafers of each value that none of the `known` fields of a training had, most first."""
    found = Counter(field for code in barcodes for field, values in zip(code.split("|"), known, strict=False) if field not in values)
    return dict(found.most_common())
