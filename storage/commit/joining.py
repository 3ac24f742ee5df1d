"""An artifact joined from parts: the rows of each, one after the other, as they would have been written in one go.

Whole shards are handed on as they lie encoded, under another name of the same file where the disk allows; rows of parts that were cut
elsewhere are read and written again. Both give the same bytes: those of a shard follow from its rows, their dtype and the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fabloom.errors import DamagedArtifact, DataError
from fabloom.kinds import RowSpec
from fabloom.storage.format.arrays import axes

if TYPE_CHECKING:
    from fabloom.storage.format.layout import Layout

    from .reader import ArtifactReader
    from .rows import StagedRows
    from .staging import StagedArtifact


def join(staged: StagedArtifact, parts: Sequence[ArtifactReader]) -> None:
    """Write the rows of the parts in their order; goes on after a kill. Attributes are the caller's business.

    Raises DataError for parts of other arrays than the first, and for arrays that are not row-wise.
    """
    specs, block = _layout(parts[0])
    counts = []
    for part in parts:
        if _layout(part) != (specs, block):
            raise DataError(f"the parts {parts[0].key[:12]} and {part.key[:12]} of one artifact hold other arrays, or in other blocks")
        counts.append(len(part.rows(list(specs), 1)))
    writer = staged.rows(sum(counts), block, specs)
    start = 0
    for part, count in zip(parts, counts, strict=True):
        first = max(0, writer.written - start)
        if start % block == 0 and (count % block == 0 or part is parts[-1]):
            for index in range(first // block, -(-count // block)):
                _hand_on(staged, writer, part, index, min(block, count - index * block))
        else:
            rows = part.rows(list(specs))
            for at in range(first, count, block):
                writer.append(rows.read(np.arange(at, min(at + block, count))))
        start += count
    writer.close()


def _hand_on(staged: StagedArtifact, writer: StagedRows, part: ArtifactReader, index: int, rows: int) -> None:
    """The next block of the writer is shard `index` of the part's arrays."""
    own = writer.written // writer.block
    names = {}
    for name, spec in writer.specs.items():
        tail = "/0" * len(spec.shape)
        names[staged.folder(name).joinpath(*f"c/{own}{tail}".split("/"))] = f"{name}/c/{index}{tail}"
    for target, name in names.items():
        part.copy(name, target)
    for found, name in zip(writer.take(list(names), rows), names.values(), strict=True):
        if found != part.entry(name):
            raise DamagedArtifact(f"artifact {part.key[:12]}: '{name}' differs from what was committed. Run again.")


def _layout(part: ArtifactReader) -> tuple[dict[str, RowSpec], int]:
    """What the arrays of a part were declared as, and the rows in a block."""
    specs, blocks = {}, set()
    for name in part.names():
        array = part.array(name)
        layout: Layout | None = array.layout if array is not None else None
        if layout is None or not layout.shard:
            raise DataError(f"array '{name}' of a part is not row-wise; a task with a fanout writes rows alone")
        dims = layout.dims[1:]
        named = () if list(dims) == axes(name, len(dims)) else dims
        specs[name] = RowSpec(str(layout.dtype), layout.shape[1:], layout.compressed, named)
        blocks.add(layout.shard)
    if len(blocks) != 1:
        raise DataError(f"part {part.key[:12]} holds rows in blocks of {sorted(blocks)}; all arrays of an artifact have one block")
    return specs, blocks.pop()
