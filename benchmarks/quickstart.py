"""The quickstart from outside: wall time, CPU seconds and peak memory of the whole process tree, optionally without a network.

    python benchmarks/quickstart.py [--offline] [--engine prefect] [--pipeline one-step] [--seed N] [--set ...]

Memory is summed over the tree, Prefect's server included: PSS shares pages between forked processes fairly, RSS counts them again
for every process. `--offline` (root) runs inside a network namespace that has loopback and nothing else.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time

import psutil


def tree_memory(root: psutil.Process) -> tuple[float, float]:
    """(RSS, PSS) in GB, summed over the process and all its descendants."""
    rss = pss = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        rss, pss = rss + info.rss, pss + info.pss
    return rss / 1e9, pss / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--engine", default="prefect")
    parser.add_argument("--pipeline", default="one-step")
    parser.add_argument("--store")
    parser.add_argument("--seed", type=int, help="of the run; left out, the pipeline's own")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    store = given.store or tempfile.mkdtemp(prefix="fabloom-quickstart-")
    command = [sys.executable, "-m", "fabloom.flows", "run", given.pipeline, "--store", store, "--engine", given.engine, "--json"]
    if given.seed is not None:
        command += ["--seed", str(given.seed)]
    for setting in given.set:
        command += ["--set", setting]
    if given.offline:
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up 2>/dev/null || ifconfig lo up; exec "$@"', "sh", *command]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    peak_rss = peak_pss = 0.0
    while process.poll() is None:
        rss, pss = tree_memory(watched)
        peak_rss, peak_pss = max(peak_rss, rss), max(peak_pss, pss)
        time.sleep(2.0)
    wall = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.stdout is not None
    result = json.loads(process.stdout.read() or "{}")
    print(f"{platform.processor() or platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}")
    print(f"exit {process.returncode}, wall {wall:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s (reaped processes)")
    print(f"peak memory of the tree: {peak_rss:.2f} GB RSS, {peak_pss:.2f} GB PSS")
    for name, step in result.get("steps", {}).items():
        print(f"  {name:12s} {step['status']:8s} {step['seconds']:8.1f} s")
    print(json.dumps(result.get("report"), indent=1))
    print(result.get("report_path"))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
