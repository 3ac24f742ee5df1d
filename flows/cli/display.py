"""What the terminal shows of a run: one live line a step, or plain lines where nobody watches, then a summary.

Everything goes to stderr, since stdout belongs to `--json` and to pipes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from fabloom.method import StepResult
from fabloom.progress import Event

from .output import Lasting, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

PLAIN_PERIOD = 30.0
"""Seconds between two progress lines of a step where there is no terminal."""

SYMBOLS = {
    "running": ("▸", "cyan"), "ran": ("✓", "green"), "reused": ("=", "blue"), "failed": ("✗", "red"), "skipped": ("–", "dim"),
    "stopped": ("■", "yellow"),
}  # fmt: skip
AGAIN = "run the same command again: finished steps are reused"
NEXT = {
    2: f"Mend the command, the pipeline or the data, then {AGAIN}.",
    3: f"Mend the machine (see `fabloom doctor`), then {AGAIN}.",
    130: f"Stopped on request. To go on, {AGAIN}, and a step that was stopped goes on from its last checkpoint.",
}
OTHERWISE = f"When the cause is gone, {AGAIN}. The failed step goes on from its last checkpoint, or starts over where its code changed."


@dataclass
class Line:
    """What is known of one step."""

    name: str
    began: float
    told: float
    task: str = ""
    status: str = "running"
    seconds: float | None = None
    progress: Event | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the step began, or that it took."""
        return time.monotonic() - self.began if self.seconds is None else self.seconds


class LiveDisplay:
    """A context manager whose `emit` takes the events of `core/progress.py`, from any thread. `summary` follows after the end."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(file=cast("IO[str]", Lasting(sys.stderr)), highlight=False)
        self._lines: dict[str, Line] = {}
        self._logged: set[str] = set()
        self._lock = threading.RLock()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def emit(self, event: Event) -> None:
        """Show an event. Kinds that are not known are passed over, so that a plugin may send its own."""
        with self._lock:
            name = str(event.get("step", ""))
            kind = event["event"]
            if kind not in ("started", "progress", "log", "finished"):
                return
            if kind == "log":
                self._tell_log(name, str(event["message"]))
                return
            known = name in self._lines
            now = time.monotonic()
            line = self._lines.setdefault(name, Line(name, began=now, told=now))
            line.task = str(event.get("task", line.task))
            if kind == "progress":
                line.progress = event
                self._tell_progress(line)
            elif kind == "finished":
                self._finish(line, event["result"], known)
            else:
                line.began, line.progress = now, None  # before it, something may have been fetched for the step
                if self._live is None:
                    self._say(f"{name}: started on {event.get('device', 'this machine')}")

    def _tell_log(self, name: str, message: str) -> None:
        """A line that any step has said already is not said again: what is so of the machine is so of every step."""
        if message not in self._logged:
            self._logged.add(message)
            self._say(f"{name}: {message}" if name else message, "dim")

    def _finish(self, line: Line, result: dict[str, Any], known: bool) -> None:
        line.task, line.status, line.progress = str(result["task"]), StepResult(**result).outcome, None
        line.seconds = float(result["seconds"]) or (line.elapsed if known else 0.0)
        if self._live is None:
            took = f" in {clock(line.seconds)}" if line.status in ("ran", "failed", "stopped") else ""
            self._say(f"{line.name}: {line.status}{took}")

    def _tell_progress(self, line: Line) -> None:
        """At most one line every `PLAIN_PERIOD` seconds, where there is no live display."""
        if self._live is None and line.progress is not None and time.monotonic() - line.told >= PLAIN_PERIOD:
            line.told = time.monotonic()
            told = ", ".join(part for part in describe(line.progress) if part)
            self._say(f"{line.name}: {line.progress['name']} {told}")

    def say(self, message: str) -> None:
        """One line of the command's own, above the live lines."""
        with self._lock:
            self._say(message, "bold")

    def _say(self, message: str, style: str = "") -> None:
        """One line above the live lines. Text is never markup: messages come from third parties."""
        from rich.text import Text

        self._console.print(Text(printable(message), style), soft_wrap=True)

    def _render(self) -> Table:
        """The live lines."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        for _ in range(7):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        # no lock: rich draws while it holds its own, which `emit` waits for under ours
        for line in list(self._lines.values()):
            if not line.name:
                continue
            symbol, style = SYMBOLS.get(line.status, SYMBOLS["running"])
            bar: ProgressBar | Text = Text("")
            counted = pace = ""
            progress = line.progress
            if progress is not None:
                bar = ProgressBar(max(progress["total"], 1), progress["done"], width=20)
                counted, pace = describe(progress)
            elif line.status != "running":
                counted = line.status
            elapsed = clock(line.elapsed) if line.status in ("running", "ran", "failed", "stopped") else ""
            grid.add_row(
                Text(symbol, style), Text(printable(line.name), "bold"), Text(printable(line.task), "dim"),
                bar, Text(counted), Text(elapsed, "dim"), Text(pace, "dim"),
            )  # fmt: skip
        return grid

    def summary(self, results: Sequence[StepResult], report_path: Path | None, closing: Sequence[str] = ()) -> None:
        """Steps with status, seconds and short key; failures in full and what to do next; the path of the report; last lines."""
        from rich.table import Table
        from rich.text import Text

        width = self._console.width if self._console.is_terminal else max(self._console.width, 120)
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("", "step", "task", "status", "took", "key"):
            grid.add_column(column, justify="right" if column == "took" else "left", overflow="fold")
        for r in results:
            status = r.outcome
            symbol, style = SYMBOLS.get(status, SYMBOLS["skipped"])
            took = clock(r.seconds) if r.status == "ran" else ""
            cells = (symbol, r.name, r.task, status, took, r.key[:12])
            grid.add_row(*(Text(printable(cell), style if place in (0, 3) else "") for place, cell in enumerate(cells)))
        self._console.print(grid, width=width)
        for r in results:
            if r.status == "failed":
                self._say("")
                status = r.outcome
                self._say(f"{r.name} {status}: {r.error}" if r.name not in r.error else r.error, "red" if status == "failed" else "yellow")
                self._say(NEXT.get(r.exit_code, OTHERWISE))
        waiting = [r for r in results if r.status == "skipped" and r.error.startswith("it needs")]  # with --keep-going
        if waiting:
            self._say("")
        for r in waiting:
            self._say(f"{r.name} was skipped: {r.error}", "dim")
        if report_path is not None:
            self._say("")
            self._say(f"Report: {report_path}", "bold")
        for line in closing:
            self._say(printable(line))


def describe(progress: Event) -> tuple[str, str]:
    """('400/2,000 steps', '12.3/s, 2:10 left') of a progress event."""
    counted = f"{progress['done']:,}/{progress['total']:,} {progress['unit']}"
    rate, eta = progress.get("rate") or 0.0, progress.get("eta")
    pace = "" if rate <= 0 else f"{rate:.3g}/s" if rate >= 0.1 else f"{1 / rate:.3g} s each"
    if pace and eta is not None and progress["done"] < progress["total"]:
        pace += f", {clock(eta)} left"
    return printable(counted), pace


def clock(seconds: float) -> str:
    """'0.4 s', '34 s', '2:10', '3:20:00'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
