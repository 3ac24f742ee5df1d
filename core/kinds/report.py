"""Numbers, tables and pictures: `Report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from fabloom.errors import DataError

from .artifact import Artifact, Writing
from .exhibit import Exhibit, Table
from .metric import check_headline, described, facts, leaves, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Report(Artifact):
    """Deterministic metrics, tables and pictures; no times, hosts or paths."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Named numbers, nested one or more levels deep; `x_ci` is the interval of `x`."""
        return dict(self.attrs["metrics"])

    @property
    def described(self) -> dict[str, Any]:
        """The same, nested alike, each number as a `Metric` with its interval and what its author said of it."""
        return described(self.attrs["metrics"], self.attrs.get("described"))

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
        """Write a report. Metrics are JSON numbers (None where undefined) or `Metric`s, nested; pictures uint8 [H,W] or [H,W,C].

        A plain number is a detail: only what a `Metric` declares is called a result, a control, or better.
        """
        import numpy as np

        check_headline(metrics)
        names = {}
        for index, (title, picture) in enumerate((pictures or {}).items()):
            pixels = np.asarray(picture)
            if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
                raise DataError(f"picture '{title}' must be uint8 [H,W] or [H,W,C], not {pixels.dtype} {pixels.shape}")
            ctx.staging.put(f"picture_{index}", pixels if pixels.ndim == 3 else pixels[..., None])
            names[f"picture_{index}"] = title
        ctx.staging.attrs.update({
            "metrics": plain(metrics),
            **({"described": said} if (said := facts(metrics)) else {}),
            "tables": {title: {"columns": list(t.columns), "rows": [list(r) for r in t.rows]} for title, t in (tables or {}).items()},
            "pictures": names,
            "notes": list(notes),
        })  # fmt: skip
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of metrics and pictures."""
        count, pictures = len(leaves(described(manifest.get("metrics") or {}))), len(manifest["arrays"])
        told = f"{count:,} metric{'s' * (count != 1)}"
        return f"{told}, {pictures} picture{'s' * (pictures != 1)}" if pictures else told

    def exhibits(self) -> Iterator[Exhibit]:
        """Metrics, pictures, tables, and the notes that say how to read them."""
        yield Exhibit(metrics=self.described, section="result")
        for title, pixels in self.pictures.items():
            yield Exhibit(title, picture=pixels, section="result")
        for title, table in self.tables.items():
            yield Exhibit(title, table=table, section="result")
        if self.notes:
            yield Exhibit("To read this rightly", notes=self.notes, section="result")
