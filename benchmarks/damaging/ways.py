"""Ways to damage a file."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path


class Skip(Exception):
    """This damage cannot be done to this file, or not on this machine."""


def replace(path: Path, data: bytes) -> None:
    """Another file of that name: what is linked to it elsewhere stays sound."""
    state = path.stat()
    path.unlink()
    path.write_bytes(data)
    os.chown(path, state.st_uid, state.st_gid)


def _zeroed(data: bytes, size: int, chance: random.Random) -> bytes:
    at = size * chance.randrange(-(-len(data) // size))
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flipped,
    "zero 512": lambda data, chance: _zeroed(data, 512, chance),
    "zero 4096": lambda data, chance: _zeroed(data, 4096, chance),
    "truncate": lambda data, chance: data[: chance.randrange(1, len(data))] if len(data) > 1 else data,
    "grow": lambda data, chance: data + chance.randbytes(chance.choice((1, 17, 4096))) + b"\1",
    "empty": lambda data, chance: b"",
}


def damage(path: Path, how: str, family: Sequence[Path], outside: Path, chance: random.Random) -> tuple[str, list[Path]]:
    """Damage a file; `family` are others like it. Gives the name of what was done, and the files that changed. Raises Skip."""
    if how in CHANGES:
        before = path.read_bytes()
        after = CHANGES[how](before, chance) if before else b""
        if after == before:
            raise Skip("it changes nothing")
        replace(path, after)
    elif how in ("swap", "overwrite", "link to a sibling"):
        return _mixed(path, how, family, chance)
    elif how == "torn beside":
        torn = path.with_name(f".{path.name}.{chance.randbytes(8).hex()}.tmp")
        torn.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "no permission":
        replace(path, path.read_bytes())
        path.chmod(0)
    else:
        data = path.read_bytes()
        path.unlink()
        _other(path, how, data, outside, chance)
    return how, [path]


def _mixed(path: Path, how: str, family: Sequence[Path], chance: random.Random) -> tuple[str, list[Path]]:
    """Two files of one kind change places, or one takes the other's."""
    data = path.read_bytes()
    others = [other for other in family if other != path and other.read_bytes() != data]
    if not others:
        raise Skip("there is no other of its kind")
    equal = [other for other in others if other.stat().st_size == len(data)]
    other = chance.choice(equal if equal and chance.random() < 0.7 else others)
    theirs = other.read_bytes()
    if how == "link to a sibling":
        path.unlink()
        path.symlink_to(os.path.relpath(other, path.parent))
    else:
        replace(path, theirs)
    if how == "swap":
        replace(other, data)
    changed = [path, other] if how == "swap" else [path]
    return (f"equal {how}" if len(theirs) == len(data) and path.name != "zarr.json" and "data.zarr" in path.parts else how), changed


def _other(path: Path, how: str, data: bytes, outside: Path, chance: random.Random) -> None:
    """Something that is no file, or is one elsewhere."""
    if how == "folder":
        path.mkdir()
        if chance.random() < 0.5:
            (path / "x").write_bytes(data)
    elif how in ("link out", "link to a copy"):
        target = outside / f"{chance.randbytes(4).hex()}"
        target.write_bytes(data if how == "link to a copy" else chance.randbytes(len(data)))
        path.symlink_to(target)
    elif how == "link to itself":
        path.symlink_to(path.name)
    elif how == "link to a device":
        path.symlink_to("/dev/zero")
    elif how == "FIFO":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(path.parent):
            one.bind(path.name)
    elif how == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            raise Skip("making a device needs root") from None
    elif how != "delete":
        raise ValueError(how)
