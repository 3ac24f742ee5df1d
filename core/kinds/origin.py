"""Which file or row an image comes from: `source`, an index [N] into names that the attributes keep.

Images of one source (tiles, noise copies, repeated measurements) are no independent evidence; who resamples draws sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

from .artifact import Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 1024
"""Most characters of a name."""


def printable(name: str) -> str:
    """A file's name as plain text of at most `LONGEST` characters: what cannot be printed is escaped, of a longer one the end kept."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    return text if len(text) <= LONGEST else "…" + text[1 - LONGEST :]


def check_names(what: str, names: Sequence[str]) -> list[str]:
    """The names as a list. Raises DataError for what is no plain text, is empty or too long, and for a name that is there twice."""
    found = list(names)
    for place, name in enumerate(found):
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST or not name.isprintable():
            raise DataError(f"{what}[{place}] is {str(name)[:80]!r}: a name is printable text of 1 to {LONGEST} characters")
    if len(set(found)) < len(found):
        twice = next(name for place, name in enumerate(found) if name in found[:place])
        raise DataError(f"{what} holds '{twice}' twice; give one name to one source and use its index again")
    return found


def check_source(count: int, source: Any | None, names: Sequence[str] | None) -> tuple[NDArray[np.int32], list[str]]:
    """`source` int32 [count] and the names that it counts. Raises DataError where one lacks the other or an index its name."""
    import numpy as np

    if source is None or names is None:
        raise DataError("source and source_names belong together: for each image an index, for each index a name")
    kept, index = check_names("source_names", names), np.asarray(source)
    if index.dtype != np.int32 or index.shape != (count,):
        raise DataError(f"source must be int32 of shape ({count},), not {index.dtype} {index.shape}")
    if index.min() < 0 or index.max() >= len(kept):
        raise DataError(f"source runs from {int(index.min())} to {int(index.max())} but source_names holds {len(kept)} names")
    return index, kept


def read_origins(reader: Reader, rows: Any) -> dict[str, Any]:
    """`source` and `source_names` of some rows, as `write` takes them; {} where the artifact has none."""
    import numpy as np

    source = reader.array("source")
    if source is None:
        return {}
    return {"source": np.asarray(source[...])[rows], "source_names": list(reader.attrs["source_names"])}


def row_origins(rows: Any) -> dict[str, Any]:
    """The same for images made from the numbered rows [N] of a set that knows no sources."""
    import numpy as np

    used, index = np.unique(np.asarray(rows), return_inverse=True)
    return {"source": index.astype(np.int32), "source_names": [f"row {row}" for row in used.tolist()]}


def named(attrs: Mapping[str, Any]) -> list[str]:
    """`source_names` of the attributes, [] where there are none."""
    return list(attrs.get("source_names", []))
