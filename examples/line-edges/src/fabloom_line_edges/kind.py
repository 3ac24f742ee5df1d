"""The kind `LineEdges`. A kind is an Artifact subclass with a `write` that checks and accessors that are typed.

It also says itself what it holds (`summarise`), what a page shows of it (`exhibits`), and in which formats it leaves (`exports`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fabloom import Artifact, Context, DataError, Exhibit, LazyArray, RowSpec, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Tone = Literal["dark", "bright"]


class LineEdges(Artifact):
    """Edges of vertical lines, one position a row of the image: `edges` float32 [N,E,H] in pixels.

    Position 0 is the centre of the first pixel of a row. Edges alternate: left and right edge of the first line, then of the
    second, so E is even and edge 2k + 1 minus edge 2k is the width of line k. Attributes: `width` of the images in pixels and
    `tone`, the grey of the lines. `filled` bool [N,E,H] is True where an edge was not seen and its position interpolated.
    """

    BLOCK: ClassVar[int] = 256
    """Images of one shard; a task that is killed goes on after the last whole one."""

    @property
    def edges(self) -> LazyArray:
        """float32 [N,E,H], pixels."""
        return self.array("edges")

    @property
    def filled(self) -> LazyArray:
        """bool [N,E,H], True where the position is interpolated."""
        return self.array("filled")

    @property
    def width(self) -> int:
        """Width of the images in pixels."""
        return int(self.attrs["width"])

    @property
    def tone(self) -> Tone:
        """Whether lines are darker or brighter than spaces."""
        tone: Tone = self.attrs["tone"]
        return tone

    def __len__(self) -> int:
        return self.edges.shape[0]

    @property
    def lines(self) -> int:
        """Number of lines in an image, E / 2."""
        return self.edges.shape[1] // 2

    @classmethod
    def write(cls, ctx: Context, edges: NDArray[np.float32], *, width: int, tone: Tone, filled: NDArray[np.bool_] | None = None) -> Self:
        """Write edges of images that are `width` pixels wide.

        Raises DataError for another dtype or shape than float32 [N,E,H] with E even and no axis empty, for positions that are
        NaN or outside the image, and for edges of a row that are not in ascending order.
        """
        import numpy as np

        cls._check(edges, width)
        columns: dict[str, NDArray[Any]] = {"edges": edges, "filled": np.zeros(edges.shape, bool) if filled is None else filled}
        if columns["filled"].shape != edges.shape or columns["filled"].dtype != bool:
            raise DataError(f"filled must be bool {edges.shape}, not {columns['filled'].dtype} {columns['filled'].shape}")
        specs = {name: RowSpec(str(a.dtype), a.shape[1:], dims=("edge", "y")) for name, a in columns.items()}
        writer = ctx.staging.rows(len(edges), cls.BLOCK, specs)
        for start in range(writer.start, len(edges), cls.BLOCK):
            writer.append({name: a[start : start + cls.BLOCK] for name, a in columns.items()})
        writer.close()
        ctx.staging.attrs.update({"width": width, "tone": tone})
        return cls(ctx.staging.as_reader())

    @staticmethod
    def _check(edges: NDArray[np.float32], width: int) -> None:
        import numpy as np

        if edges.dtype != np.float32 or edges.ndim != 3 or 0 in edges.shape or edges.shape[1] % 2:
            raise DataError(f"edges must be float32 [N,E,H] with E even and no axis empty, not {edges.dtype} {edges.shape}")
        inside = np.isfinite(edges) & (edges >= 0) & (edges <= width - 1)  # NaN compares as False
        if not inside.all():
            image, edge, row = (int(i) for i in np.argwhere(~inside)[0])
            raise DataError(f"image {image}, edge {edge}, row {row} is at {edges[image, edge, row]}, outside 0 to {width - 1}")
        crossed = np.diff(edges, axis=1) <= 0
        if crossed.any():
            image, edge, row = (int(i) for i in np.argwhere(crossed)[0])
            raise DataError(f"image {image}, row {row}: edge {edge + 1} is not to the right of edge {edge}")

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """'3 images of 8 lines', from the manifest alone: `fabloom artifacts` opens no array."""
        images, edges, rows = manifest["arrays"]["edges"]["shape"]
        return f"{images} image{'s' * (images != 1)} of {edges // 2} lines over {rows} rows"

    def exhibits(self) -> Iterator[Exhibit]:
        """The lines of the first image, drawn from their edges, and where edges were interpolated."""
        from .reporting import ZOOM, drawn

        edges = self.edges[0].astype("float64")
        caption = f"Image 0, {ZOOM} times enlarged; {self.tone} lines."
        yield Exhibit("Lines from their edges", picture=drawn(edges, self.width, self.tone), caption=caption)
        filled = self.filled[...]
        yield Exhibit(facts={"tone": self.tone, "width of the images": f"{self.width} px", "interpolated": f"{filled.mean():.2%}"})
        missing = [[image, int(rows)] for image, rows in enumerate(filled.any(1).sum(1)) if rows]
        if missing:
            yield Exhibit("Images with missing edges", table=Table(("image", "rows with a gap"), missing), folded=True)

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        """`csv`, for spreadsheets; the zarr group is offered for every kind."""
        return {"csv": self._csv}

    def _csv(self, folder: Path) -> None:
        """`edges.csv`: image, edge, row, position in pixels, and whether it was interpolated."""
        import csv

        with (folder / "edges.csv").open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(("image", "edge", "row", "position_px", "interpolated"))
            for image in range(len(self)):
                positions, filled = self.edges[image], self.filled[image]
                for edge, row in product(*map(range, positions.shape)):
                    lines.writerow((image, edge, row, f"{positions[edge, row]:.4f}", int(filled[edge, row])))
