"""A short version of `benchmarks/fuzz.py`: odd YAML, command lines, manifests and names end with a code and one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WRONG = (
    "exit code 1", "a traceback", "lines on stderr", "CPU seconds", " MB", "outside: open", "left behind", "store that is only looked at",
)  # fmt: skip
FUZZ = Path(__file__).parents[3] / "benchmarks" / "fuzz.py"


def test_whatever_is_written_ends_with_a_code_and_one_line_and_the_instrument_sees_what_does_not() -> None:
    """With cases that break each rule on purpose, which alone are to be found."""
    command = [sys.executable, FUZZ, "--light", "--json", "--cases", "100", "--seed", "1", "--anchors", "1", "--control"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    found = [fault for fault in summary["faults"] if "control: " not in fault]
    assert not found, "\n".join(found)
    for wrong in WRONG:
        assert any(wrong in fault for fault in summary["faults"]), (wrong, summary["faults"])
    assert (summary["cases"], summary["anchors"], summary["differing"]) == (107, 1, 0)
    assert set(summary["kinds"]) == {"yaml", "line", "manifest", "name"} and {"0", "2"} <= set(summary["codes"])
    assert done.returncode == 1 and not summary["sound"]
