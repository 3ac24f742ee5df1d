"""Marks: what tells a data file from another sound one of its size, for no more than a read of four bytes when it is opened.

Every chunk is sound in itself, so two files that changed places pass every crc32c. The manifest holds for each data file

* of a tensor, its crc32c: the tensor is read whole anyway;
* of a shard, the crc32c of its index and of its first chunk, 4 bytes each.

Shards whose first chunks and chunk sizes are equal have one mark; only `fabloom verify`, which hashes everything, tells those apart.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fabloom.errors import DamagedArtifact

from .files import OpenFile

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tensor_mark(path: Path) -> str:
    """The crc32c at the end of a tensor's file, in hex."""
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), 4, max(os.fstat(file.fileno()).st_size - 4, 0)).hex()


def shard_mark(file: OpenFile, index: NDArray[Any]) -> str:
    """The crc32c of a shard's index and of its first chunk, in hex. `index` is the stored one, uint8, crc32c included."""
    offset, size = index[:16].view("<u8").tolist()
    first = np.empty(4, np.uint8)
    if offset + size > file.size or size < 4 or not file.fill([first], offset + size - 4):
        raise DamagedArtifact(f"'{file.path}': its first chunk is missing, or does not lie in the shard. Run `fabloom verify`.")
    return index[-4:].tobytes().hex() + first.tobytes().hex()
