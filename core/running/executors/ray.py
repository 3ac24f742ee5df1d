"""Steps on the workers of a ray cluster: processes of this machine, or a cluster that is running already.

    caller  ──request: a call of an actor──>  `Lodging`, an actor a worker  ──fork server──>  the step
    caller  <──events, then the result: a ray generator──────────  actor

An actor runs a step as `ProcessExecutor` does, so that stops, deaths and logs are the same as without ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fabloom.errors import EnvironmentProblem, Interrupted, UserError
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit, Event
from fabloom.running.execute import failed
from fabloom.running.threads import threads

from .processes import ProcessExecutor

AT_ONCE = 64
"""Calls that one actor answers at a time: steps, and the word that they are to stop."""
PATIENCE = 30
"""Seconds that a cluster has to answer, and a worker that died to be there again."""
TRIES = 2
"""Workers that may die under a step before it fails."""


class Lodging:
    """What runs in a ray worker: a step server, which has each step in a process of its own."""

    def __init__(self, preload: Iterable[str], cores: int, own: bool) -> None:
        if cores:
            os.environ["FABLOOM_THREADS"] = str(cores)
        if own:
            os.setpgid(0, 0)  # Ctrl-C reaches the caller alone, which asks steps to stop at a checkpoint
        self._steps, self._stopped = ProcessExecutor(preload), False

    def perform(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a step as they come, and {"result": …} at the end. Never raises for what becomes of it."""
        request = StepRequest.from_dict(asked)
        told: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        try:
            done = self._begin(request, told.put)
        except EnvironmentProblem as error:  # no process can be started here
            yield {"result": failed(request, error).as_dict()}
            return
        done.add_done_callback(lambda _: told.put(None))
        while (event := told.get()) is not None:
            yield {"event": event}
        yield {"result": done.result().as_dict()}

    def _begin(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        if self._stopped:
            return _settled(failed(request, Interrupted(f"step '{request.name}' was not begun: a stop was asked for")))
        if "://" not in request.store and not Path(request.store).is_dir():
            where = f"'{request.store}' is no folder on the worker {os.uname().nodename}"
            why = "workers on other machines need a store that all of them reach: a shared folder at the same path, or s3://"
            return _settled(failed(request, EnvironmentProblem(f"step '{request.name}': {where}; {why}")))
        return self._steps.submit(request, emit)

    def stop(self) -> None:
        """Ask running steps to stop at their next checkpoint, and begin none any more."""
        self._stopped = True
        self._steps.stop()

    def close(self) -> None:
        """End the step server."""
        self._steps.close()


class RayExecutor:
    """Implements `Executor`: steps on `workers` actors of this machine, or of the ray cluster at `address` (`host:6379`, `ray://host:10001`).

    Nothing is started before the first step. The cores are shared among own workers; those of a running cluster compute with as many
    threads as `FABLOOM_THREADS` says there, and must have the same versions of fabloom and its plugins installed: others are refused.
    A process has one ray cluster at a time: what was connected before is used, and left as it is.
    """

    def __init__(self, workers: int = 1, address: str = "", preload: Iterable[str] = ()) -> None:
        self._workers, self._address, self._preload = workers, address, sorted(set(preload))
        self._actors: list[Any] = []
        self._busy: list[int] = []
        self._guard = threading.RLock()
        self._stopped = self._began = False

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Send the step to the least busy worker. Raises EnvironmentProblem where there is no cluster, UserError for a store in memory."""
        if "://" not in request.store and not Path(request.store).is_absolute():
            raise UserError(f"a store in the memory of this process ('{request.store}') cannot be reached by ray's workers; use a folder")
        with self._guard:
            if self._stopped:
                return _settled(failed(request, Interrupted(f"step '{request.name}' was not begun: a stop was asked for")))
            self._connect()
        done: Future[StepResult] = Future()
        threading.Thread(target=self._follow, args=(request, emit, done), name=f"fabloom-{request.name}", daemon=True).start()
        return done

    def stop(self) -> None:
        """Ask every running step to stop at its next checkpoint; what is submitted later does not begin."""
        with self._guard:
            if self._stopped:
                return
            self._stopped, actors = True, list(self._actors)
        for actor in actors:
            with contextlib.suppress(Exception):  # a worker that is gone has stopped
                actor.stop.remote()

    def close(self) -> None:
        """End own workers, or leave those of a running cluster without anything of this caller's."""
        with self._guard:
            actors, self._actors, began, self._began = self._actors, [], self._began, False
        if not actors and not began:
            return
        import ray

        for actor in actors:
            with contextlib.suppress(Exception):
                ray.get(actor.close.remote(), timeout=20)
            with contextlib.suppress(Exception):
                ray.kill(actor)
        if began:
            family = _family()
            ray.shutdown()
            _end_rest(family)

    def _connect(self) -> None:
        """An actor for each worker. The caller holds the guard."""
        if self._actors:
            return
        try:
            import ray
        except ImportError as error:
            raise EnvironmentProblem(f"steps on ray need an extra: pip install 'fabloom[ray]' ({error})") from error
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            if not ray.is_initialized():
                _reach(self._address)
                self._began = True
                with _signals_kept():
                    own = {"num_cpus": self._workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
                    where: dict[str, Any] = {"address": self._address} if self._address else own
                    where |= {} if "://" in self._address else {"job_config": _job()}
                    ray.init(**where, configure_logging=False, log_to_driver=False, logging_level=logging.ERROR)
            cores = 0 if self._address else max(1, threads() // self._workers)
            lodging = ray.remote(Lodging).options(num_cpus=1, max_concurrency=AT_ONCE, scheduling_strategy="SPREAD", max_restarts=-1)
            self._actors = [lodging.remote(self._preload, cores, not self._address) for _ in range(self._workers)]
            self._busy = [0] * self._workers
        except Exception as error:
            self.close()
            where_ = f"the ray cluster at {self._address}" if self._address else "a ray cluster on this machine"
            raise EnvironmentProblem(f"{where_} cannot be used: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error

    def _follow(self, request: StepRequest, emit: Emit, done: Future[StepResult]) -> None:
        """Settle the future, whatever happens."""
        result: StepResult | None = None
        try:
            result = self._through(request, emit)
        except Exception as error:  # the cluster is gone, or a display failed: the step's end must not be lost
            result = failed(request, RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"))
        finally:
            done.set_result(result or failed(request, RuntimeError("the step was lost")))

    def _through(self, request: StepRequest, emit: Emit) -> StepResult:
        """The step's end, by the least busy worker; where that dies, once more by another, or by the one that takes its place."""
        from ray.exceptions import ActorUnavailableError, RayActorError

        died: list[int] = []
        until = time.monotonic() + PATIENCE
        while True:
            with self._guard:
                place = min(range(len(self._actors)), key=lambda one: (one in died, self._busy[one]))
                self._busy[place] += 1
            try:
                return _ended(self._actors[place], request, emit)
            except ActorUnavailableError:  # it is being started again
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            except RayActorError:
                died.append(place)
                if len(died) == TRIES or self._stopped:
                    raise
                until = time.monotonic() + PATIENCE
            finally:
                with self._guard:
                    self._busy[place] -= 1


def _ended(actor: Any, request: StepRequest, emit: Emit) -> StepResult:
    """Pass the events of a step on until its end."""
    import ray

    for coming in actor.perform.options(num_returns="streaming").remote(request.as_dict()):
        told = ray.get(coming)
        if "result" in told:
            return StepResult(**told["result"])
        emit(told["event"])
    return failed(request, RuntimeError("the step was lost with its ray worker"))


def _job() -> Any:
    """A job whose workers have no modules of the folder that this process is in: ray puts it before all else that they may import.

    A client (`ray://`) tells its workers nothing of its own folder.
    """
    from ray.job_config import JobConfig

    class Job(JobConfig):  # type: ignore[misc]
        def _serialize(self) -> Any:
            self._py_driver_sys_path: list[str] = []
            return super()._serialize()

    return Job()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """ray takes SIGTERM for itself, which would end a run without a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _family() -> list[tuple[int, str]]:
    """Number and start of what calls itself ray's below this process: its agents outlive what started them by a minute or two."""
    known: dict[int, tuple[int, str, bool]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            known[int(path.name)] = (int(fields[1]), fields[19], (path / "cmdline").read_bytes().startswith(b"ray::"))
    return [(number, start) for number, (_, start, rays) in known.items() if rays and _is_below(number, known)]


def _is_below(number: int, known: Mapping[int, tuple[int, str, bool]]) -> bool:
    while number in known and number != os.getpid():
        number = known[number][0]
    return number == os.getpid()


def _end_rest(family: Iterable[tuple[int, str]]) -> None:
    """Kill those of them that are still there."""
    for number, start in family:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19] == start:
                os.kill(number, signal.SIGKILL)


def _reach(address: str) -> None:
    """Raise OSError where nobody listens at `host:port`: ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def _settled(result: StepResult) -> Future[StepResult]:
    done: Future[StepResult] = Future()
    done.set_result(result)
    return done
