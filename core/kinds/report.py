"""Numbers, tables and pictures: `Report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from fabloom.errors import DataError, did_you_mean

from .artifact import Artifact, Writing
from .exhibit import Chart, Exhibit, Table
from .gallery import Gallery
from .metric import check_headline, described, facts, leaves, plain

if TYPE_CHECKING:
    import numpy as np
    import pandas
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
        """Title to table, in the order in which they were written."""
        kept = self.attrs["tables"]
        return {title: Table(kept[title]["columns"], kept[title]["rows"]) for title in self.attrs.get("table_order", kept)}

    @property
    def charts(self) -> dict[str, Chart]:
        """Title to chart."""
        kept = self.attrs.get("charts", [])
        return {title: Chart(**{**chart, "series": dict(chart["series"])}) for title, chart in kept}

    @property
    def verdict(self) -> str:
        """What the numbers say, in a sentence; '' where the author left that to their intervals."""
        return str(self.attrs.get("verdict", ""))

    @property
    def gallery(self) -> Gallery | None:
        """The judged images by name; None where the report shows none."""
        kept = self.attrs.get("gallery")
        return None if kept is None else Gallery.read(kept, self.array)

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
        charts: Mapping[str, Chart] | None = None,
        gallery: Gallery | None = None,
        charts_first: bool = False,
        verdict: str = "",
        notes: Sequence[str] = (),
    ) -> Self:
        """Write a report. Metrics are JSON numbers (None where undefined) or `Metric`s, nested; pictures uint8 [H,W] or [H,W,C].

        `charts_first` shows the charts above the metrics, where they are what a person looks at.

        A plain number is a detail: only what a `Metric` declares is called a result, a control, or better. `verdict` is one sentence that
        says what the headline metric shows; without it a page says what the intervals show.
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
        for name, array in (gallery.arrays if gallery is not None else {}).items():
            ctx.staging.put(name, array)
        ctx.staging.attrs.update({
            "metrics": plain(metrics),
            **({"described": said} if (said := facts(metrics)) else {}),
            "tables": {title: {"columns": list(t.columns), "rows": [list(r) for r in t.rows]} for title, t in (tables or {}).items()},
            "pictures": names,
            "notes": list(notes),
            **({"table_order": list(tables)} if tables and list(tables) != sorted(tables) else {}),
            **({"charts": [[title, {**asdict(c), "series": list(c.series.items())}] for title, c in charts.items()]} if charts else {}),
            **({"charts_first": True} if charts_first else {}),
            **({"verdict": verdict} if verdict else {}),
            **({"gallery": gallery.attrs} if gallery is not None else {}),
        })  # fmt: skip
        return cls(ctx.staging.as_reader())

    def to_frame(self, table: str | None = None) -> pandas.DataFrame:
        """A row for each metric: its path, value, interval (low, high), unit, better, role; or the table of that title.

        Raises DataError for a title that is none, EnvironmentProblem where pandas is not installed.
        """
        from .conversion import frame

        if table is not None:
            tables = self.tables
            if table not in tables:
                raise DataError(f"the report has no table '{table}'.{did_you_mean(table, tables)}")
            rows, names = tables[table].rows, tables[table].columns
            return frame({str(name): [row[place] for row in rows] for place, name in enumerate(names)})
        found = leaves(self.described)
        return frame({
            "metric": [" / ".join(path) for path in found],
            "value": [one.value for one in found.values()],
            "low": [one.interval[0] if one.interval else None for one in found.values()],
            "high": [one.interval[1] if one.interval else None for one in found.values()],
            **{name: [getattr(one, name) for one in found.values()] for name in ("unit", "better", "role")},
        })  # fmt: skip

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """The number of metrics and pictures."""
        count, pictures = (
            len(leaves(described(manifest.get("metrics") or {}))),
            sum(name.startswith("picture_") for name in manifest["arrays"]),
        )
        told = f"{count:,} metric{'s' * (count != 1)}"
        return f"{told}, {pictures} picture{'s' * (pictures != 1)}" if pictures else told

    def exhibits(self) -> Iterator[Exhibit]:
        """Metrics, charts, pictures, tables, the notes that say how to read them, and the judged images."""
        numbers = Exhibit(metrics=self.described, verdict=self.verdict, section="result")
        plots = [Exhibit(title, chart=chart, section="result") for title, chart in self.charts.items()]
        yield from [*plots, numbers] if self.attrs.get("charts_first") else [numbers, *plots]
        for title, pixels in self.pictures.items():
            yield Exhibit(title, picture=pixels, section="result", folded="gallery" in self.attrs)
        for title, table in self.tables.items():
            yield Exhibit(title, table=table, section="result")
        if self.notes:
            yield Exhibit("To read this rightly", notes=self.notes, section="result")
        gallery = self.gallery
        if gallery is not None:
            yield Exhibit("Test images", gallery=gallery, section="result")
