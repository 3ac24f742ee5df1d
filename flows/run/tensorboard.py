"""Curves while a run is going on: what steps log, written for TensorBoard as it comes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fabloom.errors import EnvironmentProblem
from fabloom.progress import Emit, Event

FLUSH_SECONDS = 2
"""TensorBoard reads what is on the disk; its own writer would keep points back for two minutes."""


class TensorBoard:
    """A context manager whose `watching` passes events on and writes the numbers among them to FOLDER/<time of the run>/<step>.

    Raises EnvironmentProblem where the tensorboard package is not installed, or the folder cannot be made, before anything runs.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise EnvironmentProblem(f"--tensorboard needs an extra: pip install 'fabloom[tensorboard]' ({error})") from error
        self._make: Any = SummaryWriter
        self.folder = Path(folder) / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(f"--tensorboard: '{self.folder}' cannot be made: {error.strerror}") from error
        self._writers: dict[str, Any] = {}
        self._guard = threading.Lock()

    def watching(self, emit: Emit) -> Emit:
        """Pass every event on to `emit`."""

        def watched(event: Event) -> None:
            emit(event)
            if event["event"] == "scalars":
                self._write(str(event.get("step", "run")), event)
            elif event["event"] == "finished":
                self._end(str(event.get("step", "run")))

        return watched

    def _write(self, step: str, event: Event) -> None:
        with self._guard:
            if step not in self._writers:
                self._writers[step] = self._make(str(self.folder / step), flush_secs=FLUSH_SECONDS)
            for name, value in event["values"].items():
                self._writers[step].add_scalar(f"{event['loop']}/{name}", value, event["at"])

    def _end(self, step: str) -> None:
        with self._guard:
            writer = self._writers.pop(step, None)
            if writer is not None:
                writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for step in list(self._writers):
            self._end(step)
