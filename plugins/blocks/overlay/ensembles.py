"""The kind `OverlayEnsembles`: several maps generated for each wafer of a set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fabloom.kinds import Exhibit, LazyArray, RowSpec
from fabloom.kinds.artifact import Writing

from .on_raster import OnRaster

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .raster import Raster

SHOWN, ROWS = 3, 4
"""Wafers, and members of each, that a page shows."""


class OverlayEnsembles(OnRaster):
    """`values` float32 [N*M,2,H,W] in nm: M maps for each of N wafers, those of a wafer one after the other.

    `sigma` float16 [N*M,2,H,W] is the standard deviation in nm that the model predicts for the error of its conditional mean.
    """

    @property
    def sigma(self) -> LazyArray:
        """float16 [N*M,2,H,W], nm."""
        return self.array("sigma")

    @property
    def members(self) -> int:
        """M."""
        return int(self.attrs["members"])

    @property
    def wafers(self) -> int:
        """N."""
        return len(self) // self.members

    @property
    def barcodes(self) -> list[str]:
        """Barcode of each wafer [N]."""
        return list(self.attrs["barcodes"])

    def by_wafer(self, name: str = "values", wafers: slice = slice(None)) -> NDArray[Any]:
        """An array of some wafers, the members of each beside each other: [n,M,...]."""
        first, last, _ = wafers.indices(self.wafers)
        rows = self.array(name)[first * self.members : last * self.members]
        return rows.reshape(last - first, self.members, *rows.shape[1:])

    @classmethod
    def write_ensembles(
        cls,
        ctx: Writing,
        values: NDArray[np.float32],
        *,
        sigma: NDArray[np.float16],
        valid: NDArray[np.bool_],
        members: int,
        barcodes: list[str],
        raster: Raster,
        source: NDArray[np.int32],
        source_names: list[str],
        attrs: Mapping[str, Any],
    ) -> Self:
        """Write them; `barcodes` [N] and `source` [N*M], which counts lots, are those of the wafers that the maps are for."""
        beside = {"sigma": (RowSpec("float16", sigma.shape[1:], dims=("channel", "y", "x"), units="nm"), sigma)}
        return cls.write_on(
            ctx,
            values,
            valid=valid,
            raster=raster,
            source=source,
            source_names=source_names,
            beside=beside,
            attrs={**attrs, "members": members, "barcodes": barcodes},
        )

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        """`csv`: means, deviations and the predicted sigma a pixel, terms a wafer; the zarr group is offered for every kind."""
        from .tables import write_foretold

        return {"csv": lambda folder: write_foretold(self, folder)}

    def exhibits(self) -> Iterator[Exhibit]:
        """Members of the first wafers, and how far they spread and the model says that it errs."""
        import numpy as np

        from .drawing import heat, sheet, tiled

        some = slice(SHOWN)
        values, valid = self.by_wafer(wafers=some), self.by_wafer("valid", some)[:, 0].astype(bool)
        picture, full = sheet(list(values[:, :ROWS].swapaxes(0, 1)), valid, self.raster)
        caption = f"A column a wafer, a row a member; darkest at {full:.1f} nm."
        yield Exhibit("Members of the first ensembles", picture=picture, caption=caption, section="images")
        maps = {"predicted sigma": self.by_wafer("sigma", some).astype(np.float32).mean(1)}
        if self.members > 1:
            maps = {"deviation of the members": values.std(1, ddof=1)} | maps
        lengths = [np.hypot(*np.moveaxis(one, 1, 0)) for one in maps.values()]
        most = max(float(one[valid].max()) for one in lengths)
        drawn = tiled([[heat(one, mask, most) for one, mask in zip(row, valid, strict=True)] for row in lengths])
        yield Exhibit("Uncertainty", picture=drawn, caption=f"Rows: {', '.join(maps)}; darkest at {most:.2f} nm.", section="images")
        strange = self.attrs.get("unmet", {})
        unmet = {"not met in training": ", ".join(f"{name} ({wafers:,})" for name, wafers in strange.items())} if strange else {}
        yield Exhibit(facts={"wafers": self.wafers, "members": self.members, "method": self.attrs.get("method", ""), **unmet})
