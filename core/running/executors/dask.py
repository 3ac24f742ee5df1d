"""Steps on the workers of a dask cluster: processes of this machine, or a cluster that is running already.

    caller  ──request: a dask task──>  scheduler ──>  worker: `Lodging`  ──fork server──>  the step
    caller  <──events (a dask topic), result (a dask future)──────────  worker

A worker runs a step as `ProcessExecutor` does, so that stops, deaths and logs are the same as without dask.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fabloom.errors import EnvironmentProblem, Interrupted, UserError
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit
from fabloom.running.apart import SAFE, put_back, without_working_folder
from fabloom.running.execute import failed
from fabloom.running.threads import threads

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

PATIENCE = 30
"""Seconds that a cluster has to answer."""

Inbox: TypeAlias = "queue.SimpleQueue[tuple[str, Any] | None]"
"""What a connection hears: the name of a ticket with an event or the dask future of its end; None at the connection's end."""


@dataclass
class Ticket:
    """A step that is on its way."""

    request: StepRequest
    emit: Emit
    done: Future[StepResult] = field(default_factory=Future)
    remote: Any = None
    """The dask future; dask forgets what nobody holds."""
    fault: Exception | None = None
    """Of the caller's display."""


class DaskExecutor:
    """Implements `Executor`: steps on `workers` processes of this machine, or on the cluster at `address` (`tcp://host:8786`).

    Nothing is started before the first step. The cores are shared among own workers; those of a running cluster compute with as many
    threads as `FABLOOM_THREADS` says there, and must have the same versions of fabloom and its plugins installed: others are refused.
    """

    def __init__(self, workers: int = 1, address: str = "", preload: Iterable[str] = ()) -> None:
        self._workers, self._address, self._preload = workers, address, sorted(set(preload))
        self._name = f"fabloom-{uuid.uuid4().hex}"
        self._client: Client | None = None
        self._cluster: LocalCluster | None = None
        self._safe: str | None = None
        self._inbox: Inbox = queue.SimpleQueue()
        self._tickets: dict[str, Ticket] = {}
        self._guard = threading.RLock()
        self._stopped = False

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Send the step to a worker. Raises EnvironmentProblem where there is no cluster, UserError for a store in this process."""
        if "://" not in request.store and not Path(request.store).is_absolute():
            raise UserError(f"a store in the memory of this process ('{request.store}') cannot be reached by dask's workers; use a folder")
        ticket = Ticket(request, emit)
        with self._guard:
            if self._stopped:
                ticket.done.set_result(failed(request, Interrupted(f"step '{request.name}' was not begun: a stop was asked for")))
                return ticket.done
            client = self._connected()
            name = f"{request.name}-{uuid.uuid4().hex}"
            self._tickets[name] = ticket
            from .lodging import work

            ticket.remote = client.submit(work, request.as_dict(), self._name, name, key=name, pure=False)
            inbox = self._inbox
        ticket.remote.add_done_callback(lambda remote: inbox.put((name, remote)))
        return ticket.done

    def stop(self) -> None:
        """Ask every running step to stop at its next checkpoint; what is submitted later does not begin."""
        with self._guard:
            if self._stopped:
                return
            self._stopped, client = True, self._client
        if client is not None:
            from .lodging import stop

            with contextlib.suppress(Exception):  # a cluster that is gone has stopped
                client.run(stop, self._name, on_error="ignore")

    def close(self) -> None:
        """End own workers, or leave those of a running cluster without anything of this caller's."""
        with self._guard:
            client, cluster, self._client, self._cluster = self._client, self._cluster, None, None
        if client is not None:
            with contextlib.suppress(Exception):  # a cluster that is gone needs no word
                client.unregister_worker_plugin(self._name)
            with contextlib.suppress(Exception):
                client.close()
        if cluster is not None:
            cluster.close()
            put_back(self._safe)  # a worker that was begun anew has left its environment in this process
        self._inbox.put(None)

    def _connected(self) -> Client:
        """The client, with a lodging in each worker. The caller holds the guard."""
        if self._client is None:
            try:
                from distributed import Client

                from .lodging import Lodging
            except ImportError as error:
                raise EnvironmentProblem(f"steps on dask need an extra: pip install 'fabloom[dask]' ({error})") from error
            logging.getLogger("distributed").setLevel(logging.ERROR)
            self._inbox, self._tickets = queue.SimpleQueue(), {}  # of this connection: an earlier one may have left its end in its own
            try:
                place = self._address or self._own_cluster()
                self._client = Client(place, timeout=PATIENCE, set_as_default=False)
                self._client.register_plugin(Lodging(self._name, self._preload, own=not self._address), name=self._name)
                self._client.subscribe_topic(self._name, self._hear)
            except Exception as error:
                self.close()
                where = f"the dask cluster at {self._address}" if self._address else "a dask cluster on this machine"
                raise EnvironmentProblem(f"{where} cannot be used: {type(error).__name__}: {error}") from error
            threading.Thread(target=_pass_on, args=(self._inbox, self._tickets), name="fabloom-dask", daemon=True).start()
        return self._client

    def _own_cluster(self) -> LocalCluster:
        import dask.config
        from distributed import LocalCluster

        self._safe = os.environ.get(SAFE)
        # workers are begun by `python -c`, which looks into the working folder first; one that dies is begun anew with dask's own setting
        with without_working_folder(), dask.config.set({f"distributed.nanny.pre-spawn-environ.{SAFE}": "1"}):
            self._cluster = LocalCluster(
                host="127.0.0.1", n_workers=self._workers, threads_per_worker=1, silence_logs=logging.ERROR,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # dask's default port may be another cluster's
                memory_limit=0,  # what a step takes is not the worker's, and dask would not see it
                env={"FABLOOM_THREADS": str(max(1, threads() // self._workers))},
            )  # fmt: skip
        return self._cluster

    def _hear(self, event: tuple[float, Any]) -> None:
        """In dask's loop, where nothing may wait."""
        self._inbox.put((event[1]["ticket"], event[1]["event"]))


def _pass_on(inbox: Inbox, tickets: dict[str, Ticket]) -> None:
    """Pass events of a connection on in their order, and then the end, whatever happens. One worker's messages keep their order."""
    while (heard := inbox.get()) is not None:
        name, said = heard
        ticket = tickets.get(name)
        if ticket is None:
            continue
        if isinstance(said, dict):
            try:
                ticket.emit(said)
            except Exception as error:  # a display that fails must not lose the step's end
                ticket.fault = error
        else:
            del tickets[name]
            ticket.done.set_result(_end(ticket, said))
    for ticket in tickets.values():
        ticket.done.set_result(failed(ticket.request, RuntimeError("the executor was closed")))
    tickets.clear()


def _end(ticket: Ticket, remote: Any) -> StepResult:
    """The result that a worker gave, or what became of the worker."""
    try:
        result = StepResult(**remote.result(timeout=PATIENCE))
    except BaseException as error:  # of dask: its own CancelledError is none of Exception
        told = f"step '{ticket.request.name}' was lost by dask: {type(error).__name__}: {error}. Run again to go on from its checkpoint."
        return failed(ticket.request, EnvironmentProblem(told))
    return failed(ticket.request, ticket.fault) if ticket.fault is not None else result
