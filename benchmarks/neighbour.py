"""Does a second thread help on a machine that does other work? A training loop beside busy neighbours.

python benchmarks/neighbour.py [--steps 30] [--rounds 3] [--neighbours 0 1 2] [--pin]

The same loop of convolutions runs in a process of its own with one thread, with two that spin while they wait (OpenMP's default), with two
that wait asleep, and with as many as a step would take (`fabloom.running.threads.free_cores`), beside some processes that spin. All cases
take turns within a round, so that what else runs on the machine hits them alike; wall seconds are the question, CPU seconds tell what was
burnt in waiting. `--pin` keeps the neighbours on the first core. Load that is not ours is printed with each round: only rounds with little
of it answer the question.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LOOP = """
import json, os, sys, time
import torch
from torch import nn
from fabloom.running.threads import free_cores
torch.set_num_threads(int(sys.argv[2]) or free_cores())
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(),
                    nn.Conv2d(32, 1, 3, padding=1))
optimizer = torch.optim.AdamW(net.parameters())
x = torch.randn(16, 1, 32, 32)
def turn():
    optimizer.zero_grad(set_to_none=True)
    (net(x) - x).square().mean().backward()
    optimizer.step()
for _ in range(3):
    turn()
wall, cpu = time.monotonic(), time.process_time()
for _ in range(int(sys.argv[1])):
    turn()
print(json.dumps([time.monotonic() - wall, time.process_time() - cpu]))
"""
SPIN = "while True: pass"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
CASES = {"1 thread": (1, {}), "2 threads, spinning": (2, {}), "2 threads, asleep": (2, ASLEEP), "as many as cores are free": (0, {})}


@contextmanager
def neighbours(count: int, pin: bool) -> Iterator[None]:
    """Processes that spin until the end of the block."""
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    if pin:
        for one in running:
            os.sched_setaffinity(one.pid, {min(os.sched_getaffinity(0))})
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def measure(case: str, steps: int) -> tuple[float, float]:
    """(wall, CPU) seconds of the loop."""
    threads, waiting = CASES[case]
    clean = {name: value for name, value in os.environ.items() if name not in WAITING}
    command = [sys.executable, "-c", LOOP, str(steps), str(threads)]
    done = subprocess.run(command, env={**clean, **waiting}, capture_output=True, text=True, check=True)
    wall, cpu = json.loads(done.stdout)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pin", action="store_true")
    given = parser.parse_args()
    for count in given.neighbours:
        found: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
        for _ in range(given.rounds):
            load = os.getloadavg()[0]
            with neighbours(count, given.pin):
                for case in CASES:
                    found[case].append(measure(case, given.steps))
            print(f"  {count} neighbours, load before the round {load:.1f}", flush=True)
        for case, times in found.items():
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            pace = f"{1000 * wall / given.steps:.1f} ms a step, {1000 * cpu / given.steps:.1f} CPU ms"
            print(f"{count} neighbours, {case}: {pace}", flush=True)


if __name__ == "__main__":
    main()
