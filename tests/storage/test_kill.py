"""A short version of `benchmarks/kill.py`: SIGKILL to the whole group at random moments breaks nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

KILL = Path(__file__).parents[2] / "benchmarks" / "kill.py"


def test_six_kills_and_nothing_is_damaged_lost_or_made_twice() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, KILL, "--kills", "6", "--json"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    summary = json.loads(done.stdout)
    assert done.returncode == 0 and summary["sound"], summary
    assert summary["kills"] >= 6 and summary["lives"] > summary["whole_runs"] >= 1
    assert (summary["found_damaged"], summary["started_again"], summary["wrong_digests"]) == (0, 0, 0)
    assert sum(summary["killed_in"].values()) == summary["kills"]
