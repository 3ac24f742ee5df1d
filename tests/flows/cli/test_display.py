"""The terminal display on recorded consoles: live lines, plain lines, and the summary."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fabloom.flows.cli import display
from fabloom.flows.cli.display import LiveDisplay, clock, describe, printable
from fabloom.method import StepResult


def result(name: str, status: str, **more: Any) -> StepResult:
    return StepResult(name, f"toy.{name}", "ImageSet", "0123456789abcdef" * 4, status, **more)


def finished(name: str, status: str, **more: Any) -> dict[str, Any]:
    return {"event": "finished", "step": name, "result": result(name, status, **more).as_dict()}


def progress(name: str, done: int, total: int = 100, rate: float = 4.0, eta: float | None = 130.0) -> dict[str, Any]:
    return {"event": "progress", "step": name, "name": "main", "done": done, "total": total, "unit": "steps", "rate": rate, "eta": eta}


def recorded(*, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=110, highlight=False, _environ={"TERM": "xterm-256color"} if terminal else {}
    )


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_what_one_step_said_is_not_said_again_by_the_next() -> None:
    console = recorded(terminal=False)
    with LiveDisplay(console) as live:
        for step in ("teacher", "student"):
            live.emit({"event": "log", "step": step, "message": "other work keeps 1 core busy"})
            live.emit({"event": "log", "step": step, "message": f"{step} of its own"})
    assert text(console).splitlines() == [
        "teacher: other work keeps 1 core busy", "teacher: teacher of its own", "student: student of its own",
    ]  # fmt: skip


def test_plain_lines_stay_few(clocked: list[float]) -> None:
    console = recorded(terminal=False)
    with LiveDisplay(console) as live:
        live.emit({"event": "started", "step": "teacher", "device": "cpu"})
        for second in range(70):
            clocked[0] += 1
            live.emit(progress("teacher", second))
            live.emit({"event": "scalars", "step": "teacher", "at": second, "values": {"loss": 1.0}})
        live.emit({"event": "log", "step": "teacher", "message": "half of it"})
        live.emit(finished("teacher", "ran", seconds=70.0))
        live.emit(finished("report", "reused"))
    assert text(console).splitlines() == [
        "teacher: started on cpu",
        "teacher: main 29/100 steps, 4/s, 2:10 left",
        "teacher: main 59/100 steps, 4/s, 2:10 left",
        "teacher: half of it",
        "teacher: ran in 1:10",
        "report: reused",
    ]
    assert "\x1b" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_live_lines_show_each_step(clocked: list[float]) -> None:
    console = recorded(terminal=True)
    live = LiveDisplay(console)
    with live:
        live.emit(finished("images", "reused"))
        live.emit({"event": "started", "step": "teacher", "task": "toy.teacher", "device": "cpu"})
        live.emit(progress("teacher", 40))
        clocked[0] += 12
        console.print(live._render())
        live.emit({"event": "log", "step": "teacher", "message": "a line [bold]above[/bold]"})
        live.emit(finished("teacher", "failed", seconds=13.0))
        live.emit(finished("report", "skipped"))
    shown = text(console)
    assert "▸ teacher toy.teacher" in shown and re.search("━ 40/100 steps +12 s +4/s, 2:10 left", shown)
    assert "teacher: a line [bold]above[/bold]" in shown  # messages are no markup
    last = shown.split("above[/bold]")[-1]
    assert "= images" in last and "✗ teacher" in last and "– report" in last and "━" not in last
    assert live._live is None


def test_live_ends_when_the_run_raises() -> None:
    console = recorded(terminal=True)
    live = LiveDisplay(console)
    with pytest.raises(KeyboardInterrupt), live:
        raise KeyboardInterrupt
    assert live._live is None
    assert console.file.getvalue().endswith("\x1b[?25h")  # type: ignore[attr-defined]  # the cursor is shown again


def test_dumb_terminals_get_plain_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "dumb"})
    with LiveDisplay(console) as live:
        live.emit({"event": "started", "step": "teacher"})
        assert live._live is None
    assert "teacher: started on this machine" in text(console)


def test_control_characters_do_not_reach_the_terminal() -> None:
    console = recorded(terminal=False)
    with LiveDisplay(console) as live:
        live.emit({"event": "log", "step": "x", "message": "\x1b[2Jgone\rback\x07"})
    assert text(console) == "x: \ufffd[2Jgone\ufffdback\ufffd\n"
    assert printable("µm\tü\n") == "µm\tü\n"


def test_events_from_many_threads_are_whole_lines() -> None:
    console = recorded(terminal=True)
    with LiveDisplay(console) as live:

        def talk(name: str) -> None:
            for count in range(40):
                live.emit(progress(name, count))
                live.emit({"event": "log", "step": name, "message": f"line {count} of {name}."})

        threads = [threading.Thread(target=talk, args=(f"step{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shown = text(console)
    for i in range(4):
        assert [int(n) for n in re.findall(rf"step{i}: line (\d+) of step{i}\.", shown)] == list(range(40))


def test_unknown_events_are_passed_over() -> None:
    console = recorded(terminal=False)
    with LiveDisplay(console) as live:
        live.emit({"event": "confetti", "step": "x"})
        live.emit({"event": "log", "message": "of the engine itself"})
    assert text(console) == "of the engine itself\n"


def test_summary_of_a_good_run() -> None:
    console = recorded(terminal=False)
    path = Path("/a/very/long") / ("folder" * 30) / "one-step.html"
    LiveDisplay(console).summary([result("images", "reused"), result("teacher", "ran", seconds=34.2)], path)
    lines = text(console).splitlines()
    assert lines[1].split() == ["=", "images", "toy.images", "reused", "0123456789ab"]
    assert lines[2].split() == ["✓", "teacher", "toy.teacher", "ran", "34", "s", "0123456789ab"]
    assert lines[-1] == f"Report: {path}"  # on one line, so that it can be copied
    assert "again" not in text(console)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (1, "The failed step goes on from its last checkpoint, or starts over where its code changed"),
        (2, "Mend the command"),
        (3, "fabloom doctor"),
        (130, "Stopped on request"),
    ],
)
def test_summary_of_a_failure_says_what_to_do(code: int, hint: str) -> None:
    console = recorded(terminal=False)
    error = "step 'teacher' failed: DataError: " + "image 3 is upside down, and a long story follows. " * 8 + "[/red]"
    LiveDisplay(console).summary([result("teacher", "failed", error=error, exit_code=code), result("report", "skipped", error="")], None)
    shown = text(console)
    assert error in shown
    assert hint in shown and "run the same command again: finished steps are reused" in shown
    assert "Report" not in shown.replace("report", "")


def test_what_was_skipped_says_what_it_waits_for() -> None:
    """With --keep-going each one has its own reason; without it there is one for all, which has just been told."""
    console = recorded(terminal=False)
    told = [("b", "it needs 'a', which failed"), ("c", "step 'a' failed")]
    bad = result("a", "failed", error="step 'a' failed: no", exit_code=1)
    LiveDisplay(console).summary([bad, *(result(name, "skipped", error=error) for name, error in told)], None)
    assert "b was skipped: it needs 'a', which failed" in text(console) and "c was skipped" not in text(console)


def test_a_stop_that_was_asked_for_is_no_red_failure() -> None:
    console = recorded(terminal=True)
    with LiveDisplay(console) as live:
        live.emit(finished("teacher", "failed", seconds=13.0, exit_code=130))
        live.summary([result("teacher", "failed", error="stopped after 3 of 9", exit_code=130), result("report", "skipped")], None)
    assert "■ teacher" in text(console) and "failed" not in text(console) and "teacher stopped: stopped after 3 of 9" in text(console)
    assert "\x1b[31m" not in console.file.getvalue(), "red"  # type: ignore[attr-defined]
    console = recorded(terminal=True)
    LiveDisplay(console).summary([result("teacher", "failed", error="cold", exit_code=1)], None)
    assert "✗" in text(console) and "\x1b[31m" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_display_without_its_terminal_lets_the_run_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stderr", full)
        with LiveDisplay() as live:
            live.emit({"event": "started", "step": "teacher"})
            live.emit(finished("teacher", "ran", seconds=1.0))
            live.summary([result("teacher", "ran")], None)
        with pytest.raises(OSError, match="No space"):
            print("x", file=full, flush=True)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, full.fileno())  # what is held is written when it is closed
        os.close(null)


def test_what_is_printed_beside_a_live_display_is_printed_once() -> None:
    """rich puts a stream of its own before stderr while it is live, and what that prints comes back here."""
    code = "import sys; from fabloom.flows.cli.display import LiveDisplay\n"
    code += "with LiveDisplay() as live:\n    assert live._live is not None; live.emit({'event': 'log', 'message': 'one'}); print('two', file=sys.stderr)"
    master, slave = pty.openpty()
    done = subprocess.run([sys.executable, "-c", code], stderr=slave, env={**os.environ, "TERM": "xterm"}, check=False)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal that nobody holds
        while piece := os.read(master, 65536):
            shown += piece
    os.close(master)
    assert done.returncode == 0 and shown.count(b"one") == shown.count(b"two") == 1


def test_times_and_rates_as_text() -> None:
    assert [clock(s) for s in (0, 9.94, 9.96, 59.4, 59.6, 130, 3600, 12000)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1:00",
        "2:10",
        "1:00:00",
        "3:20:00",
    ]
    assert describe(progress("x", 1000, 2000, rate=0.05, eta=None)) == ("1,000/2,000 steps", "20 s each")
    assert describe(progress("x", 0, rate=0.0, eta=None)) == ("0/100 steps", "")
    assert describe(progress("x", 100, rate=12.345, eta=0.0)) == ("100/100 steps", "12.3/s")


def test_display_is_light_to_import() -> None:
    heavy = ("torch", "numpy", "prefect", "zarr")
    code = f"import sys, fabloom.flows.cli.display as d; d.LiveDisplay(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
