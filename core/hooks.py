"""The hooks a plugin can implement; `hookimpl` marks an implementation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from fabloom.kinds import Artifact
    from fabloom.method import Method, PlannedStep, StepResult

PROJECT = "fabloom"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Specs:
    """All hooks. An implementation may name fewer arguments than the specification."""

    @hookspec
    def fabloom_methods(self) -> Iterable[type[Method]]:  # type: ignore[empty-body]
        """Return the Method classes of this plugin."""

    @hookspec
    def fabloom_kinds(self) -> Iterable[type[Artifact]]:  # type: ignore[empty-body]
        """Return the artifact kinds of this plugin."""

    @hookspec
    def fabloom_pipelines(self) -> Iterable[Any]:  # type: ignore[empty-body]
        """Return `Pipeline` objects, paths of YAML files, or callables that take the registry and return a `Pipeline`."""

    @hookspec(firstresult=True)
    def fabloom_open_store(self, url: str, read_only: bool) -> Any | None:
        """Open the store at `url`, or return None if this plugin does not know the scheme.

        No secret is in it: such a URL is refused before. Credentials are the plugin's business and stay out of the store's own `url`.
        `read_only` is asked by commands that only look: nothing need be writable, and nothing is made where no store is.
        """

    @hookspec
    def fabloom_step_started(self, step: PlannedStep) -> None:
        """Observe that a step starts. Exceptions are logged, never fatal."""

    @hookspec
    def fabloom_step_logged(self, step: PlannedStep, loop: str, at: int, values: Mapping[str, float]) -> None:
        """Observe what a running step logs: numbers of turn `at` of the loop of that name, at most 5 times a second, and the last ones.

        Called from the thread that hears of it, so never at the same time for one step. All points, thinned, are in the manifest's
        `curves` when the step has finished. Exceptions are logged, never fatal.
        """

    @hookspec
    def fabloom_step_finished(self, step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
        """Observe a step's `StepResult` and the manifest of what it committed: curves, seed, device, versions.

        `manifest` is None where nothing was committed. Exceptions are logged, never fatal.
        """
