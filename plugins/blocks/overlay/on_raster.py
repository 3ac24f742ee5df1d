"""Maps of overlay on the raster of a wafer: what measured and generated ones have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fabloom.kinds import Fields, RowSpec
from fabloom.kinds.artifact import Writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .raster import Raster

CHANNELS = ("overlay_x", "overlay_y")


class OnRaster(Fields):
    """`values` float32 [N,2,H,W] are dx and dy in nm, row 0 at the top of the wafer; `source` counts the lots. Base of two kinds."""

    BLOCK: ClassVar[int] = 256

    @property
    def raster(self) -> Raster:
        """Where pixels lie on the wafer."""
        from .raster import Raster

        return Raster.of(self.attrs["raster"])

    @classmethod
    def write_on(
        cls,
        ctx: Writing,
        values: NDArray[np.float32],
        *,
        valid: NDArray[np.bool_],
        raster: Raster,
        source: NDArray[np.int32],
        source_names: Sequence[str],
        beside: Mapping[str, tuple[RowSpec, NDArray[Any]]],
        attrs: Mapping[str, Any],
    ) -> Self:
        """Write maps with arrays `beside` them. Raises DataError as `Fields.write` does."""
        return cls.write(
            ctx,
            values,
            units=["nm", "nm"],
            channel_names=list(CHANNELS),
            valid=valid,
            source=source,
            source_names=source_names,
            beside=beside,
            attrs={**attrs, "raster": raster.stored()},
        )
