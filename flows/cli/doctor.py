"""`fabloom doctor`: is this installation able to work?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.api import open_store
from fabloom.registry import Registry, entry_points, restriction
from fabloom.running.arithmetic import inspect
from fabloom.running.device import COUNT_CUDA
from fabloom.running.threads import threads

FIXED = {
    "prefect": ">=3.9.1,<4", "torch": ">=2.6", "torchvision": ">=0.21",
    "diffusers": ">=0.35", "pluggy": ">=1.5", "pydantic": ">=2.10", "zarr": ">=3.1.5", "zstandard": ">=0.23", "lpips": ">=0.1.4",
    "segmentation-models-pytorch": ">=0.5",
}  # fmt: skip
"""Versions that work together."""


@dataclass(frozen=True)
class Check:
    """One finding; `ok` is False where something must be mended. One that is ok and has advice could be better."""

    name: str
    ok: bool
    finding: str
    why: str = ""
    """Why it matters."""
    advice: str = ""
    """What to do."""

    @property
    def verdict(self) -> str:
        """In a word."""
        return "PROBLEM" if not self.ok else "advice" if self.advice else "ok"

    def __str__(self) -> str:
        whole = ": ".join(part for part in (self.finding, self.why) if part)
        return f"{whole}. To do: {self.advice}" if self.advice else whole


def examine(store: str | None, *, server: bool, fix: bool = False) -> list[Check]:
    """All checks, in the order in which trouble usually comes. With `fix`, what can be mended of Prefect's server is."""
    checks = [Check("python", True, f"{platform.python_version()} on {platform.platform()}, {threads()} threads")]
    checks += [_version(name, wanted) for name, wanted in FIXED.items()]
    registry = Registry.load()
    checks.append(Check("plugins", not registry.problems, f"{len(registry.plugins)} loaded, {len(registry.problems)} with problems"))
    if (wanted := restriction()) is not None:
        strangers = sorted(wanted - {origin.entry_point for origin in entry_points()})
        told = f"names {', '.join(strangers)}, which nothing installed brings" if strangers else ", ".join(sorted(wanted)) or "none"
        checks.append(Check("FABLOOM_PLUGINS", not strangers, told))
    checks += [Check(f"plugin {p.origin.entry_point}", False, str(p)) for p in registry.problems]
    checks += [check for name in registry.pipeline_names() if not (check := _guarded(f"pipeline {name}", _readable(registry, name))).ok]
    checks.append(_guarded("store", lambda: _store(store, registry)))
    checks.append(_guarded("torch and torchvision", _torch))
    checks.append(_guarded("precision", _precision))
    checks.append(_weights())
    if server:
        checks += _prefect(fix=fix)
        checks.append(_guarded("store's folder", lambda: _fit(store, registry)))
    return checks


def _prefect(*, fix: bool) -> list[Check]:
    """That a flow runs; and all about the server, where one is named that others use too."""
    from fabloom.flows.run.prefect.settings import prefer

    prefer()
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        name = "PREFECT_API_URL"
        unset = Check(name, True, "is not set: each run starts a server of its own", "a deployment needs one that stays", f"export {name}")
        return [_guarded("prefect server", _server), unset]
    from .server_health import examine_server

    found = examine_server(fix=fix)
    return [_guarded("prefect server", _server), *found] if len(found) > 1 else found


def _fit(url: str | None, registry: Registry) -> str:
    """Whether the store's file system keeps what a store is built on."""
    from fabloom.flows.production.probe import unfit

    opened = open_store(url, registry)
    if problem := unfit(opened.pages.parent):
        raise EnvironmentProblem(f"{opened.url}: {problem}. Put the store on a local disk, or on a file system with locks (NFS 4).")
    return "renames in one step, locks, writes through"


def _weights() -> Check:
    """Where pretrained networks are looked for; none is needed but by LPIPS, SIFID and guided sampling."""
    folder = os.environ.get("FABLOOM_WEIGHTS_DIR")
    elsewhere = "LPIPS, SIFID and guided sampling look in torch hub's cache, then on the network"
    if not folder:
        return Check("weights", True, f"FABLOOM_WEIGHTS_DIR is not set: {elsewhere}")
    if not Path(folder).is_dir():
        return Check("weights", False, f"FABLOOM_WEIGHTS_DIR={folder} is no folder. Make it, mend the variable, or unset it.")
    files = sorted(path.name for path in Path(folder).iterdir() if path.suffix in (".pth", ".safetensors"))
    return Check("weights", True, f"{folder} holds {', '.join(files) or 'no weights'}; for others {elsewhere}")


def _version(name: str, wanted: str) -> Check:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, f"not installed; wanted {wanted}")
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    return Check(name, fits, found if fits else f"{found} is installed, {wanted} is wanted")


def _guarded(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _readable(registry: Registry, name: str) -> Callable[[], str]:
    return lambda: registry.pipeline(name).name


def _store(url: str | None, registry: Registry) -> str:
    opened: Any = open_store(url, registry)
    if (probe := getattr(opened, "probe", None)) is not None:
        probe()
    free = shutil.disk_usage(opened.pages.parent).free / 1e9
    return f"{opened.url}: {sum(1 for _ in opened.keys())} artifacts, {free:.0f} GB free"


def _torch() -> str:
    import subprocess
    import sys

    code = f"import torchvision; {COUNT_CUDA}"
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(answer.stderr.strip().splitlines()[-1])
    return f"import together, {answer.stdout} CUDA devices"


def _precision() -> str:
    """What `precision: auto` comes to here, and the factor that decided."""
    found = inspect("auto")
    return f"auto is {'bf16' if found.native else 'fp32'}: {found}"


def _server() -> str:
    from fabloom.flows.run.prefect.settings import prefer, quiet

    prefer()
    from prefect import flow

    quiet()

    @flow(name="fabloom-doctor")
    def probe() -> int:
        return 42

    if probe() != 42:
        raise RuntimeError("a trivial flow gave a wrong answer")
    return "started and ran a flow"
