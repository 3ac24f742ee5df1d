"""Numbers, tables and pictures: `Report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from fabloom.errors import DataError

from .artifact import Artifact, Writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """A table of a report: column names and rows of JSON scalars."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Report(Artifact):
    """Deterministic metrics, tables and pictures; no times, hosts or paths."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Named numbers, nested one or more levels deep."""
        return dict(self.attrs["metrics"])

    @property
    def tables(self) -> dict[str, Table]:
        """Title to table."""
        return {name: Table(t["columns"], t["rows"]) for name, t in self.attrs["tables"].items()}

    @property
    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Title to uint8 [H,W,C]."""
        return {title: self.array(name)[...] for name, title in self.attrs["pictures"].items()}

    @property
    def notes(self) -> list[str]:
        """What a reader must know to read the numbers rightly."""
        return list(self.attrs["notes"])

    @classmethod
    def write(
        cls,
        ctx: Writing,
        metrics: Mapping[str, Any],
        *,
        tables: Mapping[str, Table] | None = None,
        pictures: Mapping[str, NDArray[np.uint8]] | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """Write a report. Metrics are JSON numbers (None where undefined), pictures uint8 [H,W] or [H,W,C]."""
        import numpy as np

        names = {}
        for index, (title, picture) in enumerate((pictures or {}).items()):
            pixels = np.asarray(picture)
            if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
                raise DataError(f"picture '{title}' must be uint8 [H,W] or [H,W,C], not {pixels.dtype} {pixels.shape}")
            ctx.staging.put(f"picture_{index}", pixels if pixels.ndim == 3 else pixels[..., None])
            names[f"picture_{index}"] = title
        ctx.staging.attrs.update({
            "metrics": dict(metrics),
            "tables": {title: {"columns": list(t.columns), "rows": [list(r) for r in t.rows]} for title, t in (tables or {}).items()},
            "pictures": names,
            "notes": list(notes),
        })  # fmt: skip
        return cls(ctx.staging.as_reader())
