"""What is installed: methods, kinds and pipelines of every plugin, each loaded in its own try.

A plugin that cannot be used becomes a `PluginProblem`; only a pipeline that needs it fails.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fabloom.errors import FabloomError, PipelineError, PluginError, UserError, did_you_mean
from fabloom.hooks import PROJECT
from fabloom.kinds.store import MEMBERS, Store
from fabloom.method import Method, Origin, TaskSpec
from fabloom.params import Params
from fabloom.pipeline import Pipeline

from .address import check_address
from .catalog import Catalog
from .discovery import PluginProblem, can_wait, entry_points, mend_import, precedence, restriction


class Registry(Catalog):
    """Everything that plugins registered. `problems` holds what could not be.

    A method that comes with fabloom is imported when `task` asks for it; `methods`, `tasks`, `origins`, `plugins` and `problems` are of
    all plugins, and import what waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, tuple[Origin, EntryPoint]] = {}
        self._guard = threading.RLock()  # a worker's steps ask from several threads; admitting a plugin asks again

    @classmethod
    def load(cls) -> Registry:
        """Find every installed plugin; `FABLOOM_PLUGINS` (entry point names, comma-separated) restricts third parties."""
        registry = cls()
        wanted = restriction()
        points = entry_points()
        now = []
        for origin, point in points.items():
            if can_wait(origin, point):
                registry._waiting[point.name] = (origin, point)
            elif wanted is None or origin.distribution == PROJECT or point.name in wanted:
                now.append((origin, point))
        known = {origin.entry_point for origin in points}
        for name in sorted((wanted or set()) - known):
            cause = f"nothing that is installed brings it.{did_you_mean(name, known)}"
            registry.noticed.append(
                PluginProblem(Origin(name, "FABLOOM_PLUGINS", "variable"), cause, "Install it or mend the variable", (name,))
            )
        registry._import(now)
        return registry

    def _import(self, points: Iterable[tuple[Origin, EntryPoint]]) -> None:
        """Import entry points, each in its own try, and admit what they bring."""
        found = []
        for origin, point in points:
            try:
                with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not tear a JSON document
                    found.append((point.load(), origin))
            except (Exception, SystemExit) as error:
                cause = f"cannot be imported: {type(error).__name__}: {error}"
                self.noticed.append(PluginProblem(origin, cause, mend_import(error, origin), (point.name,)))
        self._admit(found)

    def fetch(self, method: str) -> None:
        """Import the entry point that waits under this method's name, where one does."""
        with self._guard:
            if method in self._waiting:
                self._import([self._waiting.pop(method)])

    def complete(self) -> None:
        """Import every entry point that waits."""
        with self._guard:
            if self._waiting:
                waiting = list(self._waiting.values())
                self._waiting.clear()
                self._import(waiting)

    @property
    def methods(self) -> dict[str, type[Method]]:
        """Every method by name."""
        self.complete()
        return self._methods

    @property
    def tasks(self) -> dict[str, TaskSpec]:
        """Every task by its full name."""
        self.complete()
        return self._tasks

    @property
    def origins(self) -> dict[str, Origin]:
        """Who brought each method."""
        self.complete()
        return self._origins

    @property
    def plugins(self) -> list[Origin]:
        """Every plugin that could be used, fabloom's own first."""
        self.complete()
        return sorted(self._plugins, key=precedence)

    @property
    def problems(self) -> list[PluginProblem]:
        """What cannot be used of any plugin; `noticed` is what is known without importing more."""
        self.complete()
        return self.noticed

    def pipeline_names(self) -> list[str]:
        """Names of all registered pipelines."""
        return sorted(self._pipelines)

    def pipeline_params(self, name: str) -> type[Params] | None:
        """The model of the parameters that a registered pipeline takes; None where it takes none, and for a file."""
        return self._pipelines[name].params if name in self._pipelines else None

    def pipeline(self, name: str, params: Mapping[str, Any] = MappingProxyType({})) -> Pipeline:
        """A registered pipeline by name, or the YAML file at a path; `params` are those of one that is built by a function.

        Raises PipelineError for a name that is none, and for parameters that it does not take.
        """
        if name in self._pipelines:
            return self._build(name, params)
        if params:
            raise PipelineError("params", f"'{name}' is a file, or no pipeline, and takes no parameters; --set changes those of its steps")
        if name.endswith((".yaml", ".yml")) or "/" in name or _is_file(name):
            return Pipeline.load(name)
        for problem in self.problems:
            if name in problem.names:
                raise PluginError(f"pipeline '{name}' needs a plugin that cannot be used: {problem}")
        raise PipelineError("", f"there is no pipeline '{name}'.{did_you_mean(name, self._pipelines)}{self._broken()}")

    def _broken(self) -> str:
        return f" {len(self.problems)} plugins could not be loaded; see `fabloom plugins`." if self.problems else ""

    def _build(self, name: str, params: Mapping[str, Any]) -> Pipeline:
        """A registered pipeline. What a plugin's function raises or returns amiss is a PluginError that names the plugin."""
        recipe = self._pipelines[name]
        given = recipe.read(name, params)
        try:
            built: object = recipe.build(given)
        except FabloomError:
            raise
        except Exception as error:
            raise PluginError(
                f"pipeline '{name}' of {self.pipeline_origins[name]} cannot be built: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(built, Pipeline):
            raise PluginError(
                f"pipeline '{name}' of {self.pipeline_origins[name]} gives {type(built).__name__}, no Pipeline. Mend its function."
            )
        return built

    def open_store(self, url: str, *, read_only: bool = False) -> Store:
        """The store at `url`, from the first plugin that knows it; it learns every registered kind.

        Raises UserError where none does or where a secret is in the URL, PluginError where one fails at it or gives something that is
        no store.
        """
        check_address(url)
        for implementation in reversed(self.hooks.hook.fabloom_open_store.get_hookimpls()):
            if implementation.wrapper or implementation.hookwrapper:
                continue  # it would see, and could replace, what another plugin opens
            try:
                known = {"url": url, "read_only": read_only}
                store: Any = implementation.function(**{name: known[name] for name in implementation.argnames})
            except FabloomError:
                raise
            except Exception as error:
                raise PluginError(f"plugin {implementation.plugin_name} cannot open '{url}': {type(error).__name__}: {error}") from error
            if store is not None:
                missing = [name for name in MEMBERS if not hasattr(store, name)]
                if missing:
                    text = f"gives {type(store).__name__} for '{url}', which is no store: it lacks {', '.join(missing)}"
                    raise PluginError(f"plugin {implementation.plugin_name} {text}")
                _check_told(store, implementation.plugin_name)
                store.kinds.update(self.kinds)
                opened: Store = store
                return opened
        raise UserError(f"no plugin can open the store '{url}'. Give the path of a folder, or install a plugin for its scheme.")

    def task(self, name: str, path: str = "task") -> TaskSpec:
        """A task by its full name. `path` is the place to name in the error. Of fabloom's own plugins only the method's is imported."""
        method = name.partition(".")[0]
        self.fetch(method)
        if name in self._tasks:
            return self._tasks[name]
        for problem in self.noticed:
            if method in problem.names:
                raise PluginError(f"{path}: '{name}' needs a plugin that cannot be used: {problem}")
        broken = [f"{taken}.{name.partition('.')[2]}" for problem in self.problems for taken in problem.names]
        raise PipelineError(path, f"there is no task '{name}'.{did_you_mean(name, [*self.tasks, *broken])}{self._broken()}")

    def fields(self, task: str) -> frozenset[str]:
        """The parameters of a task; none of one that cannot be used, which planning says."""
        try:
            return frozenset(self.task(task).params.model_fields)
        except (PipelineError, PluginError):
            return frozenset()


def _check_told(store: Store, plugin: str) -> None:
    """A plugin that takes credentials from elsewhere must not put them into the URL that it tells."""
    try:
        check_address(store.url)
    except UserError as error:
        raise PluginError(f"plugin {plugin} gives a store that tells a secret: {error}") from error


def _is_file(name: str) -> bool:
    """Whether a file is called so; False for a text that no file can be called."""
    try:
        return Path(name).is_file()
    except OSError:
        return False
