"""What the probe found, kept for each machine in the user's cache folder. Nothing here can fail a run: at worst it probes again."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabloom.hashing import blake, canonical_json
from fabloom.notes import read_note, write_note

ENVIRONMENT = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA")
"""Variables that change which instructions torch and oneDNN compute with."""


def machine(device: str) -> dict[str, Any]:
    """What a measured factor holds for: machine, CPU, torch, device, and what the environment says of instructions."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "unknown"
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    cpu = f"{platform.machine()} {_cpu()}"
    return {"node": platform.node(), "cpu": cpu, "torch": torch, "device": device, "environment": environment}


@functools.cache
def _cpu() -> str:
    """The CPU's own name, '' where the system does not say it: the same home may be that of several machines."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def place(identity: Mapping[str, Any]) -> Path | None:
    """The file of one machine, below XDG_CACHE_HOME or ~/.cache; None for a user without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"  # the standard: a relative path is to be ignored
    except RuntimeError:
        return None
    return root / "fabloom" / "precision" / f"{blake(canonical_json(identity))[:24]}.json"


def recall(identity: Mapping[str, Any], what: str = "factor") -> float | None:
    """The factor that was measured on this machine, or the `seconds` of float32; None where nothing, or nothing sound, is kept."""
    path = place(identity)
    found = read_note(path) if path is not None else None
    if found is None or found.get("machine") != identity:
        return None
    value = found.get(what)
    return value if isinstance(value, float) and 0 < value < math.inf else None


def remember(identity: Mapping[str, Any], factor: float, seconds: float | None = None) -> None:
    """Keep a factor and the seconds of float32, where there is a place to keep them."""
    path = place(identity)
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_note(path, {"machine": identity, "factor": factor, "seconds": seconds})
