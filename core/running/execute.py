"""Running one planned step, in this process: lock, lease, run, commit. Everything an engine needs is here.

lock the key  ->  made meanwhile?  ->  lease the device  ->  stage  ->  task(ctx, params, inputs)  ->  commit
"""

from __future__ import annotations

import contextlib
import errno
import functools
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fabloom.errors import DamagedArtifact, DataError, EnvironmentProblem, FabloomError, Interrupted, StepFailed
from fabloom.kinds.store import Store
from fabloom.method import Context, Method, Options, PlannedStep, StepRequest, StepResult
from fabloom.method.blame import located, method_module
from fabloom.notes import write_note
from fabloom.planning.fingerprint import source_fingerprint
from fabloom.planning.keys import artifact_key, canonical_params, rows_of, whole_of
from fabloom.planning.sources import SourceCache
from fabloom.precision import asked_by
from fabloom.precision.choice import NOTE
from fabloom.progress import Emit, silent
from fabloom.regular import STRANGE, clear, is_plain

from .device import lease
from .joining import drop, join, made_apart, manifests_of
from .threads import THREADS, threads_of

LOG = "step.log"
"""In a step's work folder: what the task and its libraries print, and the traceback of a failure."""
SOURCE = "source"
"""In a step's work folder: the fingerprint of the code whose checkpoints these are."""

STEP = "step.json"
"""In a step's work folder: of which step and pipeline it is, and how the step ended where it made nothing."""

PARTS = "parts.json"
"""In a step's work folder: the edges of its parts, and the fingerprint of the code that was to make them."""

CONDITIONS = {NOTE, THREADS}
"""In a step's work folder: what it began with. A step that goes on stays with it, one that starts anew asks anew."""

NO_DOOR = {errno.EACCES, errno.EPERM, errno.EROFS}
"""errno of a file that may not be touched: the machine's fault where it is the store's, the task's where it is not."""
HARDWARE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP,
}  # fmt: skip
"""errno of an OSError that the machine, not the task, is to blame for; ENOLCK and the last two are file systems without locks."""


def run_step(
    step: PlannedStep, store: Store, options: Options, emit: Emit = silent, stop: Callable[[], bool] = lambda: False
) -> StepResult:
    """Run one step to its commit, or find it done by somebody else meanwhile.

    Raises FabloomError; anything a task raises becomes StepFailed. What is left in the work folder then says of which step it is, and why.
    """
    try:
        return _run(step, store, options, emit, stop)
    except BaseException as error:
        stopped = code_of(error) == Interrupted.exit_code
        note(step, store, ended="stopped" if stopped else "failed", why=" ".join(str(error).split())[:1000])
        raise


def note(step: PlannedStep, store: Store, **end: str) -> None:
    """Say in the work folder, where there is one, whose it is. A full disk must not hide why."""
    work = store.work(step.key)
    if work.is_dir():
        with contextlib.suppress(OSError):
            write_note(work / STEP, {"step": step.name, "pipeline": step.pipeline, "task": step.task, **end}, lasting=False)


def _run(step: PlannedStep, store: Store, options: Options, emit: Emit, stop: Callable[[], bool]) -> StepResult:
    began = time.monotonic()
    redo, whole = step.name in options.redo, whole_of(step.preimage)
    try:
        with store.lock(step.key, waiting(emit), stop) as held:
            if not held:
                raise Interrupted("stopped while waiting for another process")
            if not redo and (found := next((key for key in (step.key, whole) if key and store.has(key)), "")):
                drop(store, options.parts)
                return StepResult.committed(step, "reused", store.manifest(found))
            if stop():
                raise Interrupted(f"step '{step.name}' was not begun: a stop was asked for. Run the same command again to go on.")
            if not store.has(step.key):
                store.set_aside(step.key)  # a folder that lost its manifest
            if options.parts and (step.spec.fanout is None or step.spec.fanout.rows):
                manifest = join(step, store, options.parts, replace=redo, began=began)
            else:
                with lease(options.device, emit, stop) as device:
                    manifest = _run_locked(step, store, options, emit, stop, device, began)
            drop(store, options.parts)
    except OSError as error:
        if error.errno in HARDWARE or (error.errno in NO_DOOR and _is_stores(error.filename, store, step.key)):
            raise EnvironmentProblem(f"step '{step.name}': {error.strerror}: {error.filename or store.url}") from error
        if error.errno in STRANGE and error.filename is not None and _is_stores(error.filename, store, step.key):
            told = f"'{error.filename}' is not what fabloom put there: {error.strerror}"
            raise DamagedArtifact(f"step '{step.name}': {told}. Remove it, and run again.") from error
        raise _failure(step, store, error) from error
    except FabloomError:
        raise
    except MemoryError as error:
        raise StepFailed(step.name, "out of memory; lower the batch size") from error
    except Exception as error:
        raise _failure(step, store, error) from error
    return StepResult.committed(step, "ran", manifest, time.monotonic() - began)


def waiting(emit: Emit) -> Callable[[str], None]:
    """What a wait for a key calls to say for whom: with a process id, nothing, or the words of a store that keeps its locks elsewhere."""

    def say(pid: str) -> None:
        who = f"process {pid}" if pid.isdecimal() else pid or "another process, not to be seen from here"
        emit({"event": "log", "message": f"waiting for {who}, which is making the same artifact"})

    return say


def _is_stores(name: str | bytes | int | None, store: Store, key: str) -> bool:
    """Whether a file that could not be touched belongs to the store: the task's own files are its own business."""
    places = (store.work(key).parent.parent, store.folder(key).parent.parent, store.pages.parent)
    return name is None or (isinstance(name, str) and any(Path(name).absolute().is_relative_to(place) for place in places))


def _failure(step: PlannedStep, store: Store, error: Exception) -> StepFailed:
    """What a task's own code raised, in a line; the traceback goes into the step's log."""
    work = store.work(step.key)
    with contextlib.suppress(OSError), open_log(work) as file:  # a full disk must not hide the error
        file.write("".join(traceback.format_exception(error)).encode(errors="replace"))
    return StepFailed(step.name, f"{located(error, step.spec.method)}; traceback in {work / LOG}")


def open_log(work: Path) -> IO[bytes]:
    """The log of the step of this work folder, to append to."""
    make_room(work)
    return (work / LOG).open("ab")


def make_room(work: Path) -> None:
    """Make a step's work folder, and clear what stands there under a name of ours and is no file: a link, a FIFO, a folder."""
    if work.is_symlink() or not work.is_dir():
        clear(work)
    work.mkdir(parents=True, exist_ok=True)
    for name in (LOG, SOURCE, STEP, PARTS, *CONDITIONS):
        if not is_plain(work / name):
            clear(work / name)


def _forget_other_code(step: PlannedStep, work: Path, source: str, emit: Emit) -> None:
    """Remove what a stopped run of other code left: going on from its checkpoints would mix two programs under one key."""
    mark = work / SOURCE
    if mark.is_file() and mark.read_bytes() == source.encode():
        return
    left = [path for path in work.iterdir() if path.name not in (LOG, STEP, PARTS)]
    for path in left:
        clear(path)
    if left:
        emit({"event": "log", "message": f"the code of {step.task} changed since this step was stopped: starting over"})
    mark.write_text(source)


def _forget_conditions(work: Path) -> None:
    """Where there is nothing to go on from, precision and threads are those that hold now."""
    if {path.name for path in work.iterdir()} <= {LOG, SOURCE, STEP, PARTS, *CONDITIONS}:
        for name in CONDITIONS:
            (work / name).unlink(missing_ok=True)


def _run_locked(
    step: PlannedStep, store: Store, options: Options, emit: Emit, stop: Callable[[], bool], device: str, began: float
) -> dict[str, Any]:
    import torch

    before = peak_memory()
    source = source_of(step.spec.method)
    parts = manifests_of(step, store, options.parts)
    work = store.work(step.key)
    make_room(work)
    note(step, store)
    _forget_other_code(step, work, source, emit)
    _forget_conditions(work)
    count = threads_of(work, emit, options.share)
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    if canonical_params(step.params, store.hasher) != step.preimage["params"]:
        raise DataError(f"step '{step.name}': the files it reads changed since it was planned. Run it again.")
    staging = store.stage(step.key)
    context = Context(
        staging=staging,
        seed=step.seed,
        workdir=work,
        device=device,
        emit=emit,
        checkpoint_seconds=options.checkpoint_seconds,
        stop_requested=stop,
        part=rows_of(step.preimage),
        parts=[store.get(key) for key in options.parts],
    )
    for asked in asked_by(step.params):  # before the task, which may take hours in the wrong one
        context.precision(asked)
    context.seed_globals()
    inputs: dict[str, Any] = {
        port: [store.get(k) for k in key] if isinstance(key, list) else store.get(key) for port, key in step.inputs.items()
    }
    if not parts:
        emit({"event": "started", "task": step.task, "device": device})
    result = step.spec.function(step.spec.method(), context, step.params, **inputs)
    if not isinstance(result, step.spec.output):
        raise StepFailed(step.name, f"{step.task} must return {step.spec.output.kind}, not {type(result).__name__}")
    if result.key != step.key:  # an input, handed on: what is staged is empty
        kind = step.spec.output.kind
        raise StepFailed(step.name, f"{step.task} returned an artifact that it did not write; end with `return {kind}.write(ctx, …)`")
    read = store.hasher.anew if isinstance(store.hasher, SourceCache) else SourceCache()  # what is remembered is put right too
    if artifact_key({**step.preimage, "params": canonical_params(step.params, read)}) != step.key:
        raise DataError(f"step '{step.name}': the files it reads changed while it ran. Run it again when they are at rest.")
    facts = {
        "kind": step.spec.output.kind,
        "preimage": dict(step.preimage),
        "step": step.name,
        "pipeline": step.pipeline,
        "plugin": step.spec.origin.plugin,
        "source": source,
        "made_with": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "platform": f"{sys.platform}-{platform.machine()}",
        },
        "device": device,
        "threads": count,
        "precision": {choice.asked: {"used": choice.used, "why": choice.why} for choice in context.choices.values()},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.monotonic() - began, 3),
        "memory": after if (after := peak_memory()) > before else 0,
        "curves": context.curves(),
    } | made_apart(parts, context.curves(), time.monotonic() - began)
    if step.name in options.redo:
        return store.commit(staging, facts, replace=True)
    return store.commit(staging, facts)  # a store older than `replace` need not know of it


def peak_memory() -> int:
    """Most bytes that this process has held in memory so far. What a device of its own holds is not in it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # elsewhere in KiB


def source_of(method: type[Method]) -> str:
    """Fingerprint of the code of a method."""
    return _fingerprint(method_module(method))


@functools.cache
def _fingerprint(module: str) -> str:
    """What is loaded does not change while this process lives."""
    return source_fingerprint(module)


def failed(step: PlannedStep | StepRequest, error: BaseException) -> StepResult:
    """The result of a step that raised."""
    return StepResult.of(step, "failed", error=str(error) or type(error).__name__, exit_code=code_of(error))


def code_of(error: BaseException) -> int:
    """The exit code of an error: its own, 3 where the machine is to blame, 130 for an interruption, else 1."""
    if isinstance(error, FabloomError):
        return error.exit_code
    if isinstance(error, OSError) and error.errno in HARDWARE | NO_DOOR:
        return EnvironmentProblem.exit_code
    return Interrupted.exit_code if isinstance(error, KeyboardInterrupt) else 1
