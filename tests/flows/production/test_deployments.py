"""A short version of `benchmarks/deployments.py`: registered twice, run by a real worker, served by nobody, looked at by doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "deployments.py"


def test_a_deployment_is_registered_once_run_by_a_worker_and_its_server_mended() -> None:
    command = [sys.executable, BENCHMARK, "--cases", "short", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert outcome["sound"], outcome
    assert outcome["seen"]["last run"] == ["fabloom/nightly", "Completed"]
    assert done.returncode == 0, done.stderr[-4000:]
