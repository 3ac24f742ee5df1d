"""A Python that has the heavy libraries in memory and forks where a test would start another one; see `warm` in conftest.py.

    python tests/warm.py     one request a line on stdin: {"arguments", "cwd", "env", "out", "err"}; one exit status a line on stdout

Nothing of fabloom, no plugin and no test is imported before the fork: what a test looks at is imported anew by each process. Whatever
depends on a library not being there yet (light imports, variables that torch reads while it is imported) needs a real start. So does
what Python does when it ends: a fork leaves as `leave` says, since taking apart all those libraries costs more than most of the runs.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

HEAVY = (
    "torch", "torch._dynamo", "torch.utils.data", "torchvision", "diffusers.models.unets.unet_2d", "diffusers.schedulers", "safetensors.torch",
    "segmentation_models_pytorch", "zarr", "numcodecs", "scipy.ndimage", "scipy.stats", "skimage.measure", "PIL.Image", "pydantic", "rich", "typer",
)  # fmt: skip


def requests() -> dict[str, Any]:
    """Fork at every request; returns in the child only, with what it is to do."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in iter(sys.stdin.buffer.readline, b""):
        child = os.fork()
        if child == 0:
            answers.close()
            wanted: dict[str, Any] = json.loads(line)
            return wanted
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
    sys.exit()


def become(wanted: dict[str, Any], base: list[str]) -> None:
    """Be as `python ARGUMENTS` in that folder with that environment would be."""
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    for number, place in ((0, os.devnull), (1, wanted["out"]), (2, wanted["err"])):
        handle = os.open(place, os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(handle, number)
        os.close(handle)
    sys.path[:] = [*filter(None, wanted["env"].get("PYTHONPATH", "").split(os.pathsep)), *base]
    sys.dont_write_bytecode = bool(wanted["env"].get("PYTHONDONTWRITEBYTECODE"))
    importlib.invalidate_caches()
    first, *rest = wanted["arguments"]
    sys.modules.pop("__main__")
    if first == "-c":
        main = sys.modules["__main__"] = type(sys)("__main__")
        sys.argv, sys.path[:0] = ["-c", *rest[1:]], [""]
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv, sys.path[:0] = ["-m", *rest[1:]], [str(Path.cwd())]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[:0] = [first, *rest], [str(Path(first).resolve().parent)]
        runpy.run_path(first, run_name="__main__")


def leave(end: BaseException | None) -> None:
    """End with the status that Python would end with, without taking apart what was in memory before."""
    code = end.code if isinstance(end, SystemExit) else end
    if isinstance(code, BaseException):
        traceback.print_exception(code)
    elif isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(ValueError, OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def main() -> None:
    """Load, fork, become, leave."""
    own = str(Path(__file__).resolve().parent)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    base = [entry for entry in sys.path if entry and entry != own and entry not in given]
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    loaded = [name for name in sys.modules if name.partition(".")[0] == "fabloom"]
    assert not loaded, loaded
    gc.freeze()  # a fork that collects would copy it all
    wanted = requests()
    end: BaseException | None = None
    try:
        become(wanted, base)
    except BaseException as raised:
        end = raised
    leave(end)


if __name__ == "__main__":
    main()
