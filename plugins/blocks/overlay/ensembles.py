"""The kind `OverlayEnsembles`: several maps generated for each wafer of a set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fabloom.kinds import Exhibit, Fields, LazyArray, RowSpec
from fabloom.kinds.artifact import Writing

from .maps import CHANNELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .raster import Raster

SHOWN = 3


class OverlayEnsembles(Fields):
    """`values` float32 [N*M,2,H,W] in nm: M maps for each of N wafers, those of a wafer one after the other.

    `spread` float16 [N*M,2,H,W] is what the model itself says of the error of its conditional mean, a standard deviation in nm.
    """

    BLOCK: ClassVar[int] = 256

    @property
    def spread(self) -> LazyArray:
        """float16 [N*M,2,H,W], nm."""
        return self.array("spread")

    @property
    def members(self) -> int:
        """M."""
        return int(self.attrs["members"])

    @property
    def wafers(self) -> int:
        """N."""
        return len(self) // self.members

    @property
    def raster(self) -> Raster:
        """Where pixels lie on the wafer."""
        from .raster import Raster

        return Raster.of(self.attrs["raster"])

    @classmethod
    def write_ensembles(
        cls,
        ctx: Writing,
        values: NDArray[np.float32],
        *,
        spread: NDArray[np.float16],
        valid: NDArray[np.bool_],
        members: int,
        barcodes: list[str],
        raster: Raster,
        source: NDArray[np.int32],
        source_names: list[str],
        attrs: Mapping[str, Any],
    ) -> Self:
        """Write them; `barcodes` [N] and `source` [N*M], which counts lots, are those of the wafers that the maps are for."""
        beside = {"spread": (RowSpec("float16", spread.shape[1:], dims=("channel", "y", "x"), units="nm"), spread)}
        return cls.write(
            ctx,
            values,
            units=["nm", "nm"],
            channel_names=list(CHANNELS),
            valid=valid,
            source=source,
            source_names=source_names,
            beside=beside,
            attrs={**attrs, "members": members, "barcodes": barcodes, "raster": raster.stored()},
        )

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        """`csv`: means, deviations and the model's own spread a pixel, terms a wafer; the zarr group is offered for every kind."""
        from .tables import write_foretold

        return {"csv": lambda folder: write_foretold(self, folder)}

    def exhibits(self) -> Iterator[Exhibit]:
        """Members of the first wafers, and how far they and the model's own word spread."""
        import numpy as np

        from .drawing import heat, sheet, tiled

        count, shown = min(self.wafers, SHOWN), min(self.members, 4)
        values = self.values[: count * self.members].reshape(count, self.members, *self.values.shape[1:])
        valid = self.valid[: count * self.members].astype(bool)[:: self.members]
        picture, full = sheet([values[:, member] for member in range(shown)], valid, self.raster)
        caption = f"A column a wafer, a row a member; darkest at {full:.1f} nm."
        yield Exhibit("Members of the first ensembles", picture=picture, caption=caption, section="images")
        over = np.hypot(*np.moveaxis(values.std(1), 1, 0)) if self.members > 1 else None
        own = self.spread[: count * self.members].astype(np.float32).reshape(values.shape).mean(1)
        maps = [np.hypot(own[:, 0], own[:, 1])] if over is None else [over, np.hypot(own[:, 0], own[:, 1])]
        most = max(float(one[valid].max()) for one in maps)
        drawn = tiled([[heat(one, mask, most) for one, mask in zip(row, valid, strict=True)] for row in maps])
        told = "the model's own word" if over is None else "Above over the members, below by the model's own word"
        yield Exhibit("Standard deviation", picture=drawn, caption=f"{told}; darkest at {most:.2f} nm.", section="images")
        yield Exhibit(facts={"wafers": self.wafers, "members": self.members, "method": self.attrs.get("method", "")})
