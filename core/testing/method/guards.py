"""Watching a task while it runs: what it must not do is refused, and remembered even where the task swallows the error.

Installed in a process of its own (see `sandbox.py`), because an audit hook of Python cannot be taken out again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NETWORK = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "urllib.Request"}
CHANGES = {
    "os.mkdir": (0,), "os.rmdir": (0,), "os.remove": (0,), "os.rename": (0, 1), "os.link": (1,), "os.symlink": (1,), "os.truncate": (0,),
    "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "shutil.rmtree": (0,), "shutil.copyfile": (1,), "shutil.move": (0, 1),
    "sqlite3.connect": (0,),
}  # fmt: skip
"""Audit events that change a file system, and which of their arguments are the paths."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEVICES = ("/dev/", "/proc/self/")
CHECKPOINTS = "fabloom.method.checkpoint"
"""The one module that may use torch.save: its checkpoints are read back with weights_only."""


class Refused(PermissionError):
    """Raised inside the task at the forbidden act."""


class Watch:
    """Forbidden acts while `on`: `found` lists (what, detail) in the order in which they were tried.

    What lies below `allowed` may be written; `own` is where the method's code lies.
    """

    def __init__(self, allowed: tuple[Path, ...], own: Path) -> None:
        self.own = str(own)
        self.allowed = tuple(path.resolve() for path in allowed)
        self.found: list[tuple[str, str]] = []
        self.on = False
        sys.addaudithook(self._audit)
        self._guard_pickle()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what happens inside."""
        self.on = True
        try:
            yield
        finally:
            self.on = False

    def refuse(self, what: str, detail: str) -> None:
        """Remember, with the line of the method's own code that led to it, and raise."""
        detail += self._place()
        self.found.append((what, detail))
        raise Refused(f"{what}: {detail}")

    def _place(self) -> str:
        for frame, line in traceback.walk_stack(None):
            if frame.f_code.co_filename.startswith(self.own):
                return f" (at {Path(frame.f_code.co_filename).name}:{line})"
        return ""

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in NETWORK:
            self._network(event, arguments)
        elif event == "open":
            path, _mode, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and (flags or 0) & WRITING:
                self._change(path)
        elif event in CHANGES:
            for index in CHANGES[event]:
                self._change(arguments[index])
        elif event == "pickle.find_class":
            self.refuse("pickle", f"unpickling {arguments[0]}.{arguments[1]}")

    def _network(self, event: str, arguments: tuple[Any, ...]) -> None:
        first = arguments[0]
        if isinstance(first, socket.socket) and first.family == socket.AF_UNIX:
            return
        address = arguments[1] if isinstance(first, socket.socket) else first
        self.refuse("network", f"{event} {address}")

    def _change(self, path: Any) -> None:
        if isinstance(path, int):  # a descriptor that was opened, and judged, before
            return
        place = Path(os.fsdecode(path))
        if str(place).startswith(DEVICES) or any(place.resolve().is_relative_to(room) for room in self.allowed):
            return
        self.refuse("write", str(place))

    def _guard_pickle(self) -> None:
        """`pickle` has no audit event for writing, so its doors are wrapped; torch.save goes through them too."""
        import torch

        watch, save, inside = self, torch.save, False  # a checkpoint's torch.save comes back through pickle.Pickler

        def guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                if watch.on and not inside:
                    watch.refuse("pickle", name)
                return original(*arguments, **named)

            return call

        class Pickler(pickle.Pickler):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                if watch.on and not inside:
                    watch.refuse("pickle", "pickle.Pickler")
                super().__init__(*arguments, **named)

        def checkpoint(*arguments: Any, **named: Any) -> Any:
            nonlocal inside
            if watch.on and sys._getframe(1).f_globals.get("__name__") != CHECKPOINTS:
                watch.refuse("pickle", "torch.save")
            inside = True
            try:
                return save(*arguments, **named)
            finally:
                inside = False

        torch.save = checkpoint
        pickle.Pickler = Pickler  # type: ignore[misc]
        for name in ("dump", "dumps", "load", "loads"):
            setattr(pickle, name, guarded(f"pickle.{name}", getattr(pickle, name)))
