"""What is said when a run is asked to stop, at once and by a thread of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from fabloom.flows.cli.stopping import StopRequest


@pytest.fixture
def request_(monkeypatch: pytest.MonkeyPatch) -> StopRequest:
    """One whose signals nobody hears."""
    monkeypatch.setattr("fabloom.flows.cli.stopping.answer", lambda numbers, handler: None)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda *arguments, **named: -1)
    return StopRequest()


def test_what_happens_next_is_said_by_what_runs(request_: StopRequest) -> None:
    passed: list[dict[str, object]] = []
    emit = request_.watching(passed.append)
    assert "no step runs yet" in request_.next_words()
    emit({"event": "started", "step": "model"})
    assert "of 'model', which has just begun" in request_.next_words()
    progress = {"event": "progress", "step": "model", "name": "main", "done": 1200, "total": 2000, "unit": "step", "rate": 0.05, "eta": 1.0}
    emit(progress)
    assert "next checkpoint of 'model' (1,200 of 2,000 step), in about 20 s. Press Ctrl-C again" in request_.next_words()
    emit({"event": "finished", "step": "model", "result": {}})
    assert "no step runs yet" in request_.next_words() and len(passed) == 3 and passed[1] is progress


def test_the_first_signal_asks_and_the_second_ends(request_: StopRequest) -> None:
    said: list[str] = []
    done = threading.Event()
    request_.watching(lambda event: None, lambda words: (said.append(words), done.set())[1])
    request_._ask(signal.SIGINT, None)
    assert done.wait(10) and request_() and len(said) == 1
    with pytest.raises(KeyboardInterrupt):
        request_._ask(signal.SIGINT, None)
    assert len(said) == 1


def test_a_signal_is_answered_while_the_main_thread_is_in_a_library() -> None:
    """The main thread sits in a C call that no Python handler interrupts: the answer comes all the same, before the call ends."""
    code = (
        "import ctypes, os\n"
        "from fabloom.flows.cli.stopping import StopRequest\n"
        "stop = StopRequest()\n"
        "stop.watching(lambda event: None, lambda words: os.write(1, f'{words}\\n'.encode()))\n"
        "os.write(1, b'ready\\n')\n"
        "lib = ctypes.CDLL(None)\n"
        "data = ctypes.create_string_buffer(1)\n"
        "while lib.read(0, data, 1) < 0: pass\n"  # no handler in Python runs before it returns
        "os.write(1, b'asked\\n' if stop() else b'not asked\\n')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline().startswith("Stopping at the next checkpoint: no step runs yet")
        child.stdin.write("x")
        child.stdin.close()
        assert child.stdout.readline() == "asked\n"
    assert child.returncode == 0
