"""Recorded trajectories in the container that the code of denoising circuits reads: one archive a sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fabloom.errors import UserError
from fabloom.kinds import OfflineData

if TYPE_CHECKING:
    from .job import Export

BLOCK = 64
"""Rows read at once."""


def published(job: Export) -> Callable[[Path], None]:
    """`sample_NUMBER.zst`: NumPy archives in zstd, with scales in float16. `chunk_size` is the first chunk's, others may be a step off."""
    from fabloom.storage.format.published import ARRAYS, encoded, file_name  # brings NumPy, which `fabloom --help` must not pay for

    rows: OfflineData = job.artifact
    if missing := {*ARRAYS, "sample_id"} - set(rows.names):
        held = ", ".join(rows.names)
        raise UserError(f"rows {rows.key[:12]} hold {held}: without {', '.join(sorted(missing))} they are no recurrence trajectories")
    timesteps, ends = int(rows.attrs["T"]), rows.attrs["boundaries"]

    def write(folder: Path) -> None:
        reader = rows.reader([*ARRAYS, "sample_id"])
        with job.progress(len(rows), "sample") as bar:
            for start in range(0, len(rows), BLOCK):
                index = range(start, min(start + BLOCK, len(rows)))
                block = reader.read(list(index))
                for at in range(len(index)):
                    packed = encoded({name: block[name][at] for name in ARRAYS}, timesteps, ends[1] - ends[0])
                    (folder / file_name(int(block["sample_id"][at]))).write_bytes(packed)
                bar.advance(len(index))

    return write
