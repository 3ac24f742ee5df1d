"""Steps in this process, one at a time, on a store that is open already: for tests, notebooks and debuggers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from fabloom.kinds.store import Store
from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit
from fabloom.registry import Registry
from fabloom.running.execute import failed, run_step
from fabloom.running.requests import step_of


class InlineExecutor:
    """Implements `Executor`. `stopping` is asked as well as `stop`: a signal's handler runs between two instructions of the step."""

    def __init__(self, registry: Registry, store: Store, stopping: Callable[[], bool] = lambda: False) -> None:
        self._registry, self._store, self._stopping = registry, store, stopping
        self._stopped = False

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Run the step; the future is done when this returns."""
        done: Future[StepResult] = Future()
        try:
            step = step_of(request, self._registry)
            result = run_step(step, self._store, request.options, emit, lambda: self._stopped or self._stopping())
        except (Exception, KeyboardInterrupt) as error:
            result = failed(request, error)
        done.set_result(result)
        return done

    def stop(self) -> None:
        """Let the running step stop at its next checkpoint."""
        self._stopped = True

    def close(self) -> None:
        """Nothing was started."""
