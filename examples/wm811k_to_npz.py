"""Convert WM-811K, a pickle, to an npz file that `wafer-map.load` reads. A step of its own, done once; fabloom itself never unpickles.

python examples/wm811k_to_npz.py LSWMD.pkl wm811k.npz                 the labelled maps, 172,950 as the set is published
python examples/wm811k_to_npz.py LSWMD.pkl wm811k.npz --unlabelled    all maps

Loading a pickle runs whatever it says, so this one is read by an unpickler that knows no code of others: every name that it mentions is
one of the few below, which stand for numpy's and pandas' own and only keep what they are given, or the conversion ends and says which
name it was. Neither pandas nor its old modules need be installed. Arrays are made from their bytes, of plain types alone, and a file
needs about three times its size in memory.

What is written: values uint8, all maps one after the other; shapes uint16 [N,2]; labels int8 [N], an index into classes, -1 where nobody
labelled; classes; lots, names and parts [N] as text (parts: Training, Test or empty). The table is that of Wu et al., IEEE Trans.
Semicond. Manuf. 28, 2015: columns waferMap, lotName, waferIndex, trianTestLabel (so spelt) and failureType.
"""

from __future__ import annotations

import argparse
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np

CLASSES = ("none", "Center", "Donut", "Edge-Loc", "Edge-Ring", "Loc", "Near-full", "Scratch", "Random")
PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|O\d?|[SU]\d{1,4})")
"""Types of which arrays are made: numbers, text, and objects, which come as a list of what was read before."""
LONGEST_SIDE = 1024
DIES = (0, 1, 2)
DEEPEST = 8
"""Arrays within arrays around a text, at most."""


class Refused(Exception):
    """What the file holds is not what it should be."""


class Kept:
    """Stands for a class of pandas or numpy: keeps the arguments and the state that a pickle gives it, and does nothing."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Self:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Frame(Kept):
    """pandas.DataFrame."""


class Manager(Kept):
    """pandas' BlockManager."""


class Index(Kept):
    """An index of pandas of any sort."""


class Slice(Kept):
    """slice."""


class Dtype(Kept):
    """numpy.dtype: its state adds the byte order to its name."""

    def numpy(self) -> np.dtype[Any]:
        """The type, where it is a plain one."""
        name = str(self.arguments[0]) if self.arguments else ""
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "|"
        if not PLAIN.fullmatch(name) or order not in ("<", ">", "|", "="):
            raise Refused(f"an array of {name[:40]!r} is none of numbers, text or objects")
        return np.dtype("O") if name.lstrip("<>|=")[0] == "O" else np.dtype(order + name.lstrip("<>|="))


class Array(Kept):
    """numpy.ndarray, as its bytes or, of objects, as the list of them."""

    def numpy(self) -> Any:
        """The array. Its bytes must be as many as its shape and type say."""
        if not (isinstance(self.state, tuple) and len(self.state) == 5 and isinstance(self.state[2], Dtype)):
            raise Refused("an array has another state than numpy's (version, shape, type, order, data)")
        _, shape, kept, fortran, data = self.state
        dtype = kept.numpy()
        if not (isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)):
            raise Refused(f"an array has the shape {str(shape)[:40]}")
        if dtype.kind == "O":
            if not isinstance(data, list) or len(data) != prod(shape):
                raise Refused("an array of objects is not the list of them")
            found = np.empty(len(data), object)
            for place, one in enumerate(data):  # not all at once, or lists among them would become axes
                found[place] = one
            return found.reshape(shape)  # a list is always in C order
        raw = data.encode("latin1") if isinstance(data, str) else data  # text is how bytes of Python 2 are read
        if not isinstance(raw, bytes) or len(raw) != prod(shape) * dtype.itemsize:
            raise Refused(f"an array of shape {shape} does not hold the bytes that it says")
        if dtype.kind == "U" and np.frombuffer(raw, f"{dtype.str[0]}u4").max(initial=0) > sys.maxunicode:
            raise Refused("an array of text holds letters that do not exist")
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")


def reconstruct(kind: Any, *arguments: Any) -> Array:
    """numpy's `_reconstruct`: an empty array whose state follows."""
    if kind is not Array:
        raise Refused("numpy's _reconstruct is asked for something else than an array")
    return Array(*arguments)


def scalar(dtype: Any, data: Any) -> Any:
    """numpy's `scalar`: one value of its bytes."""
    one = Array()
    one.state = (1, (1,), dtype, False, data)
    return one.numpy()[0]


def new_index(kind: Any, state: Any) -> Index:
    """pandas' `_new_Index`: an index and what it is made of."""
    found = Index()
    found.state = state
    return found


def rebuild(kind: Any, base: Any, state: Any) -> Any:
    """copyreg's `_reconstructor`, of one of the classes above."""
    if not (isinstance(kind, type) and issubclass(kind, Kept)):
        raise Refused("copyreg's _reconstructor is asked for something else than a table's parts")
    return kind()


def as_bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`, which is how Python 2's protocol writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused(f"_codecs.encode is asked for {str(encoding)[:40]!r}")
    return text.encode("latin1")


class Maker:
    """Stands for a function: can be called by a pickle, and not be changed by it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused("it wants to change a function")


KNOWN: dict[str, Callable[..., Any]] = {
    "copyreg._reconstructor": Maker(rebuild),
    "builtins.object": Kept,
    "builtins.slice": Slice,
    "_codecs.encode": Maker(as_bytes),
    "numpy.ndarray": Array,
    "numpy.dtype": Dtype,
    "numpy.core.multiarray._reconstruct": Maker(reconstruct),
    "numpy.core.multiarray.scalar": Maker(scalar),
    "pandas.core.frame.DataFrame": Frame,
    "pandas.core.internals.BlockManager": Manager,
    "pandas.index._new_Index": Maker(new_index),
    "pandas.index.Index": Index,
    "pandas.index.RangeIndex": Index,
    "pandas.index.Int64Index": Index,
}
"""Every name that is known, and what stands for it."""
ALIASES = {
    r"__builtin__": "builtins",
    r"copy_reg": "copyreg",
    r"numpy\._core\.multiarray": "numpy.core.multiarray",
    r"pandas\.(core\.)?index(es\.\w+)?": "pandas.index",
    r"pandas\.core\.internals\.managers": "pandas.core.internals",
}
"""Modules by other names, in Python 2 and in other versions of numpy and pandas."""


class Reader(pickle.Unpickler):
    """An unpickler to which only the names above are known."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name. Raises Refused that says which, for any other."""
        room = next((ours for theirs, ours in ALIASES.items() if re.fullmatch(theirs, module)), module)
        if f"{room}.{name}" not in KNOWN:
            raise Refused(
                f"it wants {module}.{name}, which the table as published does not need; nothing was run. Take the published LSWMD.pkl"
            )
        return KNOWN[f"{room}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        """Nothing lies outside of the file."""
        raise Refused("it wants something from outside of the file")


def read(path: Path) -> dict[str, list[Any]]:
    """The columns of the table in a pickle. Raises Refused for a file that is none, or mentions a name that is not known."""
    with path.open("rb") as file:
        try:
            table = Reader(file, encoding="latin1").load()
        except Refused:
            raise
        except Exception as error:  # a pickle that is damaged may raise whatever its machine meets
            raise Refused(f"it is damaged, or no pickle ({error})") from error
    try:
        return columns(table)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise Refused("it holds no table as pandas 0.14 to 1.2 write it; save it anew with one of those") from error


def columns(table: Any) -> dict[str, list[Any]]:
    """Column name to its cells, of a DataFrame's state: its manager's axes and its blocks of columns of one type."""
    if not isinstance(table, Frame):
        raise Refused("it holds no pandas DataFrame")
    manager = table.state.get("_data", table.state.get("_mgr"))
    told = manager.state[3]["0.14.1"]
    names = [str(name) for name in told["axes"][0].state["data"].numpy()]
    found: dict[str, list[Any]] = {}
    for block in told["blocks"]:
        cells, places = block["values"].numpy(), block["mgr_locs"]
        where = range(len(names))[slice(*places.arguments)] if isinstance(places, Slice) else places.numpy().tolist()
        if len(where) != len(cells):
            raise Refused("its columns and their names are not equally many")
        found |= {names[place]: list(row) for place, row in zip(where, cells, strict=True)}
    missing = {"waferMap", "lotName", "waferIndex", "trianTestLabel", "failureType"} - found.keys()
    if missing:
        raise Refused(f"its table has no column {', '.join(sorted(missing))}")
    return found


def text(cell: Any) -> str:
    """What a cell says in words: the text within arrays in arrays ([['none']]), '' for an empty one."""
    for _ in range(DEEPEST):
        if not isinstance(cell, Array | np.ndarray | list):
            break
        inner = cell.numpy() if isinstance(cell, Array) else cell
        flat = inner.ravel().tolist() if isinstance(inner, np.ndarray) else inner
        if not flat:
            return ""
        if len(flat) > 1:
            raise Refused(f"a cell holds {len(flat)} values where one text is wanted")
        cell = flat[0]
    if isinstance(cell, bytes):
        return cell.decode("latin1")
    return cell if isinstance(cell, str) else ""


def dies(cell: Any, row: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The map of a row, uint8 [h,w] of 0, 1 and 2."""
    found = cell.numpy() if isinstance(cell, Array) else None
    if found is None or found.ndim != 2 or found.dtype.kind not in "biuf" or not 0 < min(found.shape) <= max(found.shape) <= LONGEST_SIDE:
        raise Refused(f"row {row} has no map of up to {LONGEST_SIDE} x {LONGEST_SIDE} dies")
    if not np.isin(found, DIES).all():
        raise Refused(f"row {row} has dies other than 0 (none), 1 (passes) and 2 (fails)")
    codes: np.ndarray[Any, np.dtype[np.uint8]] = found.astype(np.uint8)
    return codes


def convert(table: dict[str, list[Any]], *, unlabelled: bool) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of the npz file, of the labelled maps or of all."""
    index = {name.casefold(): number for number, name in enumerate(CLASSES)} | {"": -1}
    labels = []
    for row, cell in enumerate(table["failureType"]):
        name = text(cell)
        if name.casefold() not in index:
            raise Refused(f"row {row} is labelled {name[:40]!r}; known are {', '.join(CLASSES)}")
        labels.append(index[name.casefold()])
    rows = [row for row, label in enumerate(labels) if unlabelled or label >= 0]
    if not rows:
        raise Refused("none of its maps is labelled; take --unlabelled for all")
    maps = [dies(table["waferMap"][row], row) for row in rows]
    lots = [str(table["lotName"][row]) for row in rows]
    return {
        "values": np.concatenate([one.ravel() for one in maps]),
        "shapes": np.array([one.shape for one in maps], np.uint16),
        "labels": np.array([labels[row] for row in rows], np.int8),
        "classes": np.array(CLASSES),
        "lots": np.array(lots),
        "names": np.array([f"{lot}-{int(table['waferIndex'][row]):02d}" for lot, row in zip(lots, rows, strict=True)]),
        "parts": np.array([text(table["trianTestLabel"][row]) for row in rows]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; 0 where it went well, 1 where the file was refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pickle", type=Path, help="LSWMD.pkl")
    parser.add_argument("npz", type=Path, help="file to write; must not exist")
    parser.add_argument("--unlabelled", action="store_true", help="maps that nobody labelled too")
    given = parser.parse_args(arguments)
    if given.npz.exists() or given.npz.suffix != ".npz":
        parser.error(f"{given.npz}: name a file .npz that does not exist yet")
    if not given.pickle.is_file():
        parser.error(f"{given.pickle}: there is no such file")
    try:
        arrays = convert(read(given.pickle), unlabelled=given.unlabelled)
    except Refused as error:
        print(f"{given.pickle}: {error}", file=sys.stderr)
        return 1
    except (TypeError, ValueError, OverflowError) as error:  # a cell of another type than the column's
        print(f"{given.pickle}: its table is not that of WM-811K ({error})", file=sys.stderr)
        return 1
    partial = given.npz.with_name(f".{given.npz.stem}-partial.npz")  # so that a stopped conversion leaves no half of a file
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(given.npz)
    many, labels = len(arrays["labels"]), arrays["labels"]
    told = ", ".join(f"{int((labels == number).sum()):,} {name}" for number, name in enumerate(CLASSES))
    print(f"{given.npz}: {many:,} maps, {len(set(arrays['lots'].tolist())):,} lots; {told}; {int((labels < 0).sum()):,} unlabelled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
