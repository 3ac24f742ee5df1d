"""bfloat16 before a run begins: what this machine makes of it, and a word to who asked for it where it is imitated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from fabloom.errors import EnvironmentProblem
from fabloom.method import PlannedStep
from fabloom.precision import Finding, asked_by, look
from fabloom.progress import Emit

from .device import resolve


def inspect(device: str) -> Finding:
    """What the device of that name makes of bfloat16. Raises EnvironmentProblem where torch cannot be asked.

    Looked at in a short process of its own where torch is not loaded: a caller that starts workers stays light.
    """
    if "torch" in sys.modules:
        import torch

        return look(torch.device(resolve(device)))
    answer = subprocess.run([sys.executable, "-P", "-m", __name__, device], capture_output=True, text=True, check=False)
    try:
        return Finding(**json.loads(answer.stdout))
    except (ValueError, TypeError) as error:
        why = (answer.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EnvironmentProblem(f"torch cannot say what it computes with on '{device}': {why}. See `fabloom doctor`.") from error


def warn(steps: Sequence[PlannedStep], device: str, emit: Emit) -> None:
    """Say once, before any of `steps` runs, which of them ask for bfloat16 where it costs more than float32."""
    asking = [step.name for step in steps if "bf16" in asked_by(step.params)]
    if not asking:
        return
    found = inspect(device)
    if not found.native:
        names = f"step {asking[0]} asks" if len(asking) == 1 else f"steps {', '.join(asking)} ask"
        emit({"event": "log", "message": f"{names} for precision bf16, but {found}: it is imitated. auto or fp32 would be faster."})


def main(device: str) -> None:
    """Print the finding as JSON."""
    import torch

    sys.stdout.write(json.dumps(asdict(look(torch.device(resolve(device))))))


if __name__ == "__main__":
    main(sys.argv[1])
