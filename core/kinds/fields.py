"""Maps of physical quantities: `Fields`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fabloom.errors import DataError

from .arrays import LazyArray
from .artifact import Artifact, RowSpec, RowWriter, Writing
from .origin import check_names, check_source, named, read_origins
from .streaming import rebatched

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

DIMS = {"values": ("channel", "y", "x"), "valid": ("y", "x")}


class Fields(Artifact):
    """Maps float32 [N,C,H,W] of physical quantities (overlay, phase, height), each channel with a name and a unit.

    `valid` uint8 [N,H,W] says where a map was measured: 1 valid, 0 not. Values are finite; where `valid` is 0 they are stored as
    0, whatever was given, NaN included, so that equal measurements give equal bytes. Means must be taken over valid pixels.
    """

    BLOCK: ClassVar[int] = 64

    @property
    def values(self) -> LazyArray:
        """float32 [N,C,H,W] in `units`, 0 where not valid."""
        return self.array("values")

    @property
    def valid(self) -> LazyArray:
        """uint8 [N,H,W], 1 where the map was measured."""
        return self.array("valid")

    @property
    def channel_names(self) -> list[str]:
        """Name of each channel, e.g. overlay_x."""
        return list(self.attrs["channel_names"])

    @property
    def units(self) -> list[str]:
        """Unit of each channel, e.g. nm; 1 for a pure number."""
        return list(self.attrs["units"])

    @property
    def source(self) -> LazyArray | None:
        """int32 [N], an index into `source_names`; None where nobody noted where maps come from."""
        return self._reader.array("source")

    @property
    def source_names(self) -> list[str]:
        """Names of the files (relative to their folder) or rows that `source` counts."""
        return named(self.attrs)

    def origins(self, rows: Any = slice(None)) -> dict[str, Any]:
        """`source` and `source_names` of some rows, to be passed on to `write` by who makes maps from them; {} without sources."""
        return read_origins(self._reader, rows)

    def __len__(self) -> int:
        return self.values.shape[0]

    def to_torch(self, name: str = "values", rows: Any = slice(None)) -> torch.Tensor:
        """An array of the maps as a tensor on the CPU, whole or some rows of it: `values` float32 [N,C,H,W], `valid` uint8 [N,H,W]."""
        from .conversion import tensor

        return tensor(self.array(name)[rows])

    @classmethod
    def write(
        cls,
        ctx: Writing,
        values: NDArray[np.float32] | Iterable[NDArray[np.float32]],
        *,
        units: Sequence[str],
        channel_names: Sequence[str],
        valid: NDArray[np.uint8] | NDArray[np.bool_] | Iterable[NDArray[Any]] | None = None,
        count: int | None = None,
        source: NDArray[np.int32] | None = None,
        source_names: Sequence[str] | None = None,
        beside: Mapping[str, tuple[RowSpec, NDArray[Any]]] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write maps float32 [N,C,H,W] and their `valid` [N,H,W] (bool, or 0 and 1; everywhere where left out).

        Both are arrays, or iterables of batches. With `count`, the N to come, batches are written as they come; without it they are
        held. `beside` are further arrays [N,...] of a kind derived from this one, by name, each with what a row of it is. Raises
        DataError for a wrong dtype or shape, no maps, a number of names or units that is not C, NaN or infinity where `valid` is 1, and
        more or fewer maps than `count`.
        """
        batches: Iterable[Any] = [values] if hasattr(values, "dtype") else values
        if count is None:
            batches = held = list(batches)
            count = sum(len(batch) for batch in held)
        kept: dict[str, Any] = {"channel_names": check_names("channel_names", channel_names), "units": list(units)}
        beside = dict(beside or {})
        for name, (spec, column) in beside.items():
            if str(column.dtype) != spec.dtype or column.shape != (count, *spec.shape):
                raise DataError(f"{name} must be {spec.dtype} {(count, *spec.shape)}, not {column.dtype} {column.shape}")
        index = None
        if source is not None or source_names is not None:
            index, kept["source_names"] = check_source(count, source, source_names)
        blocks = _blocks_of_maps(batches, valid, index, {name: column for name, (_, column) in beside.items()}, cls.BLOCK)
        first = next(blocks, None)
        if first is None:
            raise DataError("there are no maps to write: values must have shape N,C,H,W with no empty axis")
        _check_channels(first["values"].shape[1], kept["channel_names"], kept["units"])
        specs = {name: RowSpec(str(a.dtype), a.shape[1:], dims=DIMS.get(name, ())) for name, a in first.items()}
        specs |= {name: spec for name, (spec, _) in beside.items()}
        _append(ctx.staging.rows(count, cls.BLOCK, specs), chain([first], blocks), count)
        ctx.staging.attrs.update({**(attrs or {}), **kept})
        return cls(ctx.staging.as_reader())


def _append(writer: RowWriter, blocks: Iterable[Mapping[str, NDArray[Any]]], count: int) -> None:
    """Append what an earlier, killed writer did not. Raises DataError for another number of maps than declared."""
    done = 0
    for block in blocks:
        start, done = done, done + len(block["values"])
        if done > count:
            raise DataError(f"more than {count} maps came, but count says {count}")
        if start >= writer.start:
            writer.append(block)
    if done < count:
        raise DataError(f"{done} maps came, but count says {count}")
    writer.close()


def _blocks_of_maps(
    values: Iterable[Any], valid: Any, source: NDArray[np.int32] | None, beside: Mapping[str, NDArray[Any]], block: int
) -> Iterator[dict[str, NDArray[Any]]]:
    """Blocks of values, of where they are valid, of sources and of what lies beside, checked; what is not valid is 0."""
    import numpy as np

    masks = None if valid is None else rebatched([valid] if hasattr(valid, "dtype") else valid, block)
    row = 0
    for maps in rebatched(values, block):
        if maps.dtype != np.float32 or maps.ndim != 4 or 0 in maps.shape:
            raise DataError(f"values must be float32 of shape N,C,H,W with no empty axis, not {maps.dtype} {maps.shape}")
        wanted = (len(maps), *maps.shape[2:])
        drawn = np.ones(wanted, np.uint8) if masks is None else next(masks, np.empty(0, np.uint8))
        if drawn.dtype not in (np.uint8, np.bool_) or drawn.shape != wanted or drawn.max() > 1:
            raise DataError(
                f"valid must be bool or 0 and 1 in uint8, of shape {wanted} for maps {row} to {row + len(maps) - 1}; "
                f"it is {drawn.dtype} {drawn.shape}"
            )
        found = {"values": _finite(maps, drawn.astype(bool), row), "valid": drawn.astype(np.uint8)}
        rows = slice(row, row + len(maps))
        columns = dict(beside) if source is None else {"source": source, **beside}
        yield found | {name: column[rows] for name, column in columns.items()}
        row += len(maps)
    if masks is not None and next(masks, None) is not None:
        raise DataError(f"valid holds more maps than the {row} of values")


def _finite(maps: NDArray[np.float32], valid: NDArray[np.bool_], row: int) -> NDArray[np.float32]:
    """Maps [N,C,H,W] with 0 where not valid [N,H,W]. Raises DataError for NaN and infinity elsewhere; `row` is that of the first."""
    import numpy as np

    seen = np.broadcast_to(valid[:, None], maps.shape)
    wrong = seen & ~np.isfinite(maps)
    if wrong.any():
        n, channel, y, x = (int(place) for place in np.argwhere(wrong)[0])
        raise DataError(
            f"map {row + n}, channel {channel}: {maps[n, channel, y, x]} at row {y}, column {x}, where valid is 1; "
            "give valid=np.isfinite(values).all(1), or mend the values"
        )
    return np.where(seen, maps, np.float32(0))


def _check_channels(channels: int, names: Sequence[str], units: Sequence[str]) -> None:
    if not len(names) == len(units) == channels:
        raise DataError(f"values have {channels} channels, but there are {len(names)} channel_names and {len(units)} units: one each")
    for name, unit in zip(names, units, strict=True):
        if not isinstance(unit, str) or not 0 < len(unit) <= 64 or not unit.isprintable():
            raise DataError(f"the unit of channel '{name}' is {str(unit)[:80]!r}: give text such as nm, rad or 1 (a pure number)")
