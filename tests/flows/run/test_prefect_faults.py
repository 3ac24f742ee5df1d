"""A short version of `benchmarks/prefect_faults.py`: a deployed run is stopped, and Prefect's server goes while the next one goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import EnvironmentProblem

FAULTS = Path(__file__).parents[3] / "benchmarks" / "prefect_faults.py"


def test_a_stopped_flow_leaves_its_checkpoint_and_a_run_without_a_server_ends_well() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PREFECT_CLIENT_MAX_RETRIES": "0"}  # a minute of patience otherwise
    command = [sys.executable, FAULTS, "--cases", "stop-away", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    (outcome,) = json.loads(done.stdout)["outcomes"]
    lines = "\n".join(outcome["lines"])
    command_lines = outcome["lines"][outcome["lines"].index("images: reused") :]
    assert outcome["tasks"]["model"] == "Cancelled" and outcome["flow"] == "Crashed", outcome
    assert outcome["goes_on"] == "5" and "model: going on from step 5 of 'main'" in command_lines, outcome
    assert outcome["committed"] == 4 and not outcome["problems"], outcome
    assert "Traceback" not in lines and "the step server" not in lines and "EventsWorker" not in lines, lines
    told = [line for line in outcome["lines"] if "could not be told how the run ended" in line]
    assert len(told) == 1, lines
    assert len([line for line in command_lines if "WARNING" in line or "ERROR" in line]) <= 2, lines
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_deployed_flow_refuses_a_store_with_a_password_in_its_url() -> None:
    """The URL is in the parameters of the deployment then, where nothing can be done about it any more but say so."""
    from fabloom.flows.run.prefect.order import Order
    from fabloom.flows.run.prefect.session import run

    state: Any = run(Order("one-step", store="demo://user:hunter2Xy@host/x", device="cpu"))
    assert state.is_failed() and "holds a password" in state.message and "hunter2Xy" not in state.message


def test_a_password_of_prefects_server_is_in_no_message() -> None:
    from fabloom.flows.run.prefect.outage import answering

    with pytest.raises(EnvironmentProblem, match="http://host/api/flows") as caught, answering():
        raise RuntimeError("404 for url\n'http://user:hunter2Xy@host/api/flows'")
    assert "hunter2Xy" not in str(caught.value)
