"""Nights of a line with real segmenters: a poor one first, a better one, the same again, a worse one, a rollback, the better one again.

python benchmarks/nights.py             through the command, without Prefect
python benchmarks/nights.py --flow      through the flow of a deployment, on a Prefect server that it starts; states and task runs are told

Two minutes of one CPU core; with --flow one more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = {"first, a training of 5 steps": 5, "200 steps": 200, "the same": 200, "5 steps": 5}
PIPELINE = """\
name: nights
seed: 7
steps:
  images:    {task: line-pair.simulate, params: {count: 96, size: 32}}
  heldout:   {task: line-pair.simulate, params: {count: 64, size: 32}, seed: 1}
  segmenter: {task: unet.train, inputs: {images: images}, params: {steps: 5, repeats: 1}}
"""
SPEC = """\
line: nights
pipeline: PIPELINE
set: [steps.segmenter.params.steps=COUNT]
challenger: segmenter
evaluate: {task: unet.evaluate, test: heldout}
gate:
  - {metric: iou_defect, better: up, by: 0.01}
  - {metric: false_alarm_rate, better: down, no_worse_than: 0.1}
check: {step: images, count: {at_least: 20}}
options: {device: cpu}
"""
FLOW = """
import json, sys
from fabloom.flows.run.prefect.settings import prefer
prefer()
from fabloom.flows.run.prefect.server import start_server
from fabloom.flows.run.prefect.settings import quiet
quiet(); start_server()
from fabloom.flows.production.flow import retrain
from prefect import get_client
state = retrain(sys.argv[1], return_state=True)
with get_client(sync_client=True) as client:
    tasks = sorted((t.name, t.state.name) for t in client.read_task_runs() if t.flow_run_id == state.state_details.flow_run_id)
    flows = len(client.read_flow_runs())
    shown = [a.key for a in client.read_artifacts() if a.flow_run_id == state.state_details.flow_run_id and a.key]
told = {"outcome": state.name, "reason": state.message, "type": state.type.value}
print(json.dumps({**told, "tasks": tasks, "flows": flows, "artifacts": sorted(set(shown))}))
"""


def night(folder: Path, *, flow: bool) -> tuple[dict[str, Any], float]:
    """One night in a process of its own: what it told, and the CPU seconds of it and its children."""
    command = ["-m", "fabloom.flows", "retrain", "retrain.yaml", "--engine", "inline", "--json"]
    if flow:
        command = ["-c", FLOW, "retrain.yaml"]
    before = os.times()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, env=surroundings(folder))
    after = os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout if not flow else done.stdout.splitlines()[-1])
    return told, after.children_user - before.children_user + after.children_system - before.children_system


def surroundings(folder: Path) -> dict[str, str]:
    """The store and Prefect's files lie in the folder."""
    return {**os.environ, "FABLOOM_STORE": str(folder / "store"), "PREFECT_HOME": str(folder / "prefect"), "FABLOOM_THREADS": "1"}


def main() -> None:
    """Run the nights and tell of each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flow", action="store_true", help="through the flow, on a Prefect server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "pipeline.yaml").write_text(PIPELINE)
        champion = folder / "store" / "refs" / "nights" / "champion.json"
        for name, count in [*STEPS.items(), ("rolled back, then 200 steps", 200)]:
            if "rolled back" in name:
                back = [sys.executable, "-m", "fabloom.flows", "ref", "rollback", "nights/champion", "--why", "on purpose"]
                subprocess.run(back, cwd=folder, check=True, env=surroundings(folder), stdout=subprocess.DEVNULL)
            before = champion.read_bytes() if champion.exists() else b""
            (folder / "retrain.yaml").write_text(SPEC.replace("PIPELINE", "pipeline.yaml").replace("COUNT", str(count)))
            told, spent = night(folder, flow=options.flow)
            moved = "moved" if champion.read_bytes() != before else "byte-identical"
            print(f"{name:30} {told['outcome']:9} {spent:6.1f} CPU s, champion file {moved}\n    {told['reason']}")
            if options.flow:
                print(f"    state {told['type']}, tasks {told['tasks']}, flow runs {told['flows']}, artifacts {told['artifacts']}")


if __name__ == "__main__":
    main()
