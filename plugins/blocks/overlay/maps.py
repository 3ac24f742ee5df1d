"""The kind `OverlayMaps`: overlay of a layer, that of the layer before, what the equipment logged, and the barcode of the wafer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fabloom.errors import DataError
from fabloom.kinds import Exhibit, LazyArray, RowSpec
from fabloom.kinds.artifact import Writing

from .on_raster import OnRaster

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .raster import Raster

LONGEST = 40
"""Characters of a barcode."""
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-|_."
SHOWN = 4


class OverlayMaps(OnRaster):
    """Wafers: `values` float32 [N,2,H,W] are dx and dy in nm of the current layer, `previous` those of the layer below.

    `logs` float32 [N,F] are numbers of the equipment, 0 where `logged` uint8 [N,F] is 0, and `barcodes` text such as
    T03-C2|R0417A|L07|LOT4K29|W12 (tool and chuck, reticle, layer, lot, wafer). `source` counts the lots. Simulated maps know their
    terms: `truth` float32 [N,K], in the units of `fabloom.plugins.blocks.overlay.terms`.
    """

    @property
    def previous(self) -> LazyArray:
        """float32 [N,2,H,W] in nm, 0 where not valid."""
        return self.array("previous")

    @property
    def logs(self) -> LazyArray:
        """float32 [N,F] in `log_units`, 0 where not logged."""
        return self.array("logs")

    @property
    def logged(self) -> LazyArray:
        """uint8 [N,F], 1 where the equipment logged a value."""
        return self.array("logged")

    @property
    def log_names(self) -> list[str]:
        """Name of each log."""
        return list(self.attrs["log_names"])

    @property
    def barcodes(self) -> list[str]:
        """Barcode of each wafer."""
        return [bytes(row).rstrip(b"\0").decode("ascii") for row in self.array("barcodes")[...]]

    @property
    def truth(self) -> LazyArray | None:
        """float32 [N,K], the terms of simulated maps; None of measured ones."""
        return self._reader.array("truth")

    @property
    def told(self) -> LazyArray | None:
        """float32 [N,K], what of `truth` follows from the layer below, the logs and the barcode: the rest nobody can foresee."""
        return self._reader.array("told")

    @classmethod
    def write_maps(
        cls,
        ctx: Writing,
        values: NDArray[np.float32],
        *,
        previous: NDArray[np.float32],
        valid: NDArray[np.bool_],
        logs: NDArray[np.float32],
        log_names: Sequence[str],
        log_units: Sequence[str],
        barcodes: Sequence[str],
        raster: Raster,
        source: NDArray[np.int32],
        source_names: Sequence[str],
        truth: NDArray[np.float32] | None = None,
        told: NDArray[np.float32] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write maps; a log that is NaN was not logged.

        Raises DataError as `Fields.write` does, for no logs, logs or barcodes of another number than maps, infinite logs, NaN in `previous`
        where `valid`, and barcodes of more than 40 characters or others than A-Z, 0-9 and -|_.
        """
        import numpy as np

        check_barcodes(barcodes, len(values))
        wanted = (len(values), len(log_names))
        if not log_names or logs.shape != wanted or len(log_units) != len(log_names) or np.isinf(logs).any():
            raise DataError(
                f"logs must be finite or NaN, at least one, of shape {wanted} for their names, not {logs.shape}, with a unit each"
            )
        if previous.shape != values.shape or valid.shape != (len(values), *values.shape[2:]):
            raise DataError(f"previous {previous.shape} and valid {valid.shape} must be those of values {values.shape}")
        if not (np.isfinite(previous).all(1) | ~valid.astype(bool)).all():
            raise DataError("previous holds NaN or infinity where valid is 1; a pixel is valid where both layers were measured")
        codes = np.zeros((len(values), LONGEST), np.uint8)
        for row, code in enumerate(barcodes):
            codes[row, : len(code)] = np.frombuffer(code.encode("ascii"), np.uint8)
        logged = ~np.isnan(logs)
        plane = ("channel", "y", "x")
        beside: dict[str, tuple[RowSpec, NDArray[Any]]] = {
            "previous": (
                RowSpec("float32", previous.shape[1:], dims=plane, units="nm", meaning="overlay of the layer below"),
                np.where(valid[:, None], previous, np.float32(0)),
            ),
            "logs": (RowSpec("float32", logs.shape[1:], dims=("log",)), np.where(logged, logs, np.float32(0))),
            "logged": (RowSpec("uint8", logs.shape[1:], dims=("log",)), logged.astype(np.uint8)),
            "barcodes": (RowSpec("uint8", (LONGEST,), dims=("character",), meaning="ASCII, 0 behind the last character"), codes),
        }
        for name, terms in (("truth", truth), ("told", told)):
            if terms is not None:
                beside[name] = (RowSpec("float32", terms.shape[1:], dims=("term",), meaning="terms of the simulation"), terms)
        return cls.write_on(
            ctx,
            values,
            valid=valid,
            raster=raster,
            source=source,
            source_names=source_names,
            beside=beside,
            attrs={**(attrs or {}), "log_names": list(log_names), "log_units": list(log_units)},
        )

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of wafers, pixels and logs."""
        count, _, height, width = manifest["arrays"]["values"]["shape"]
        logs = manifest["arrays"]["logs"]["shape"][1]
        return f"{count:,} wafers of {height} × {width} with {logs} logs"

    def exhibits(self) -> Iterator[Exhibit]:
        """The first wafers, with arrows; what they hold."""
        from .drawing import sheet

        count = min(len(self), SHOWN)
        values, valid = self.values[:count], self.valid[:count].astype(bool)
        picture, full = sheet([self.previous[:count], values], valid, self.raster)
        caption = f"Above overlay of the layer below, under it that of the layer. Colour: length, white 0 to full {full:.1f} nm; arrows."
        yield Exhibit("First wafers", picture=picture, caption=caption, section="images")
        lots = len(self.source_names)
        facts = {"wafers": len(self), "lots": lots, "logs": ", ".join(self.log_names), "first barcode": self.barcodes[0]}
        yield Exhibit(facts=facts)

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        """`csv`: a row a pixel in the columns that `overlay-map.load` reads; the zarr group is offered for every kind."""
        return {"csv": self._csv}

    def _csv(self, folder: Path) -> None:
        from .tables import write_tables

        write_tables(self, folder)


def check_barcodes(barcodes: Sequence[str], count: int) -> None:
    """Raise DataError for barcodes of another number, too long, empty, or of other characters."""
    if len(barcodes) != count:
        raise DataError(f"there are {len(barcodes)} barcodes for {count} maps; give each wafer its own")
    for row, code in enumerate(barcodes):
        if not 0 < len(code) <= LONGEST or set(code) - set(CHARACTERS):
            raise DataError(f"barcode {row} is {code[:60]!r}: one has 1 to {LONGEST} characters of A-Z, 0-9 and -|_.")
