"""A process in which the kit runs tasks: forked for each run from a server that has torch imported, watched, and killed on request.

There are two servers with different hash seeds, so that a result that hangs on the order of a set shows itself.

    kit  ──a request in one line of JSON──>  server  ──fork──>  run: guards on, the task, commit
    kit  <──{"status", "overdue"}──          server             events.jsonl, outcome.json and log.txt in the request's folder
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from fabloom.progress import Event


EVENTS, OUTCOME, LOG, PLACE = "events.jsonl", "outcome.json", "log.txt", "cwd"


@dataclass(frozen=True)
class Run:
    """What to run, and what is to happen to it. `die` is (point, n): SIGKILL right after the n-th of these points.

    Points: "checkpoint" of a loop, "block" of rows, "return" of the task before its commit. `stop` asks for a stop as soon as
    progress is shown. `sparse` writes a loop's last checkpoint only, otherwise there is one at every step. With several `workers` a task
    with a `Fanout` is made in that many parts, one after the other, which are joined.
    """

    method: str
    task: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: int
    store: str
    folder: str
    seconds: float
    preload: tuple[str, ...] = ()
    sparse: bool = False
    stop: bool = False
    die: tuple[str, int] | None = None
    workers: int = 1


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `status` is the exit status, negative for a signal; `error` is empty where it committed."""

    status: int
    overdue: bool
    events: list[Event]
    log: str
    error: str = ""
    kind: str = ""
    digest: str = ""
    seconds: float = 0.0
    forbidden: list[tuple[str, str]] = field(default_factory=list)
    points: dict[str, int] = field(default_factory=dict)
    litter: list[str] = field(default_factory=list)
    attrs_changed: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


class Sandbox:
    """The server as the kit sees it; it starts with the first run and ends with this process."""

    _all: ClassVar[dict[int, Sandbox]] = {}

    def __init__(self, hash_seed: int) -> None:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "OMP_NUM_THREADS": "1",
            "FABLOOM_THREADS": "1",
            "FABLOOM_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__package__}.server import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.path = list(sys.path)
        atexit.register(self.close)

    @classmethod
    def shared(cls, hash_seed: int) -> Sandbox:
        """The one server of this process and hash seed; a new one where it has ended or could not see newer entries of `sys.path`."""
        one = cls._all.get(hash_seed)
        if one is None or one._server.poll() is not None or one.path != sys.path:
            if one is not None:
                one.close()
            one = cls._all[hash_seed] = cls(hash_seed)
        return one

    def run(self, wanted: Run) -> Outcome:
        """Run it to its end, whatever that is."""
        folder = Path(wanted.folder)
        (folder / PLACE).mkdir(parents=True)
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(dataclasses.asdict(wanted)).encode() + b"\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox died: {self._server.wait()}")
        told = json.loads(line)
        events = [json.loads(text) for text in _text(folder / EVENTS).splitlines() if text.endswith("}")]
        litter = sorted(path.relative_to(folder / PLACE).as_posix() for path in (folder / PLACE).rglob("*"))
        outcome = json.loads(_text(folder / OUTCOME) or "{}")
        outcome["forbidden"] = [(what, detail) for what, detail in outcome.get("forbidden", [])]
        return Outcome(told["status"], told["overdue"], events, _text(folder / LOG), litter=litter, **outcome)

    def close(self) -> None:
        """End the server and whatever it runs."""
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server.kill()
        self._server.wait()


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""
