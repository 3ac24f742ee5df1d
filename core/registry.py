"""What is installed: methods, kinds and pipelines of every plugin, each loaded in its own try.

A plugin that cannot be used becomes a `PluginProblem`; only a pipeline that needs it fails.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from .artifacts import BUILTIN_KINDS, Artifact
from .errors import PipelineError, PluginError, UserError, did_you_mean
from .hooks import PROJECT, Specs
from .method import Method, TaskSpec, read_tasks
from .pipeline import Pipeline

API = (1, 0)
"""Version of the plugin contract."""
GROUP = "fabloom.plugins"


@dataclass(frozen=True)
class Origin:
    """Where something was registered from."""

    entry_point: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (entry point '{self.entry_point}')"


@dataclass(frozen=True)
class PluginProblem:
    """Why a plugin, or one of its names, cannot be used, and what to do. `names` are the methods and pipelines that it takes out."""

    origin: Origin
    cause: str
    fix: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.origin}: {self.cause}. {self.fix}"


@dataclass
class Registry:
    """Everything that plugins registered. `problems` holds what could not be."""

    methods: dict[str, type[Method]] = field(default_factory=dict)
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    kinds: dict[str, type[Artifact]] = field(default_factory=lambda: {kind.kind: kind for kind in BUILTIN_KINDS})
    origins: dict[str, Origin] = field(default_factory=dict)
    plugins: list[Origin] = field(default_factory=list)
    problems: list[PluginProblem] = field(default_factory=list)
    hooks: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(PROJECT))
    _pipelines: dict[str, Callable[[], Pipeline]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hooks.add_hookspecs(Specs)

    @classmethod
    def load(cls) -> Registry:
        """Load every installed plugin; `FABLOOM_PLUGINS` (entry point names, comma-separated) restricts third parties."""
        registry = cls()
        restriction = os.environ.get("FABLOOM_PLUGINS")
        wanted = None if restriction is None else {name.strip() for name in restriction.split(",") if name.strip()}
        points = list(importlib.metadata.entry_points(group=GROUP))
        points.sort(key=lambda p: (_distribution(p)[0] != PROJECT, _distribution(p)[0], p.name))
        for point in points:
            origin = Origin(point.name, *_distribution(point))
            if wanted is not None and origin.distribution != PROJECT and point.name not in wanted:
                continue
            try:
                with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not tear a JSON document
                    plugin = point.load()
            except (Exception, SystemExit) as error:
                cause = f"cannot be imported: {type(error).__name__}: {error}"
                registry.problems.append(
                    PluginProblem(origin, cause, "Mend or uninstall it, or leave it out of FABLOOM_PLUGINS", (point.name,))
                )
                continue
            registry.register(plugin, origin)
        return registry

    def register(self, plugin: Any, origin: Origin) -> None:
        """Register one plugin (a module or an instance). What goes wrong becomes a problem, never an exception."""
        name = f"{origin.distribution}:{origin.entry_point}"
        plugin = plugin() if isinstance(plugin, type) else plugin
        try:
            self.hooks.register(plugin, name)
            self.hooks.check_pending()
            methods = self._collect(plugin, "fabloom_methods")
            kinds = self._collect(plugin, "fabloom_kinds")
            pipelines = self._collect(plugin, "fabloom_pipelines")
        except (Exception, SystemExit) as error:
            if self.hooks.has_plugin(name):
                self.hooks.unregister(name=name)
            self.problems.append(
                PluginProblem(origin, f"{type(error).__name__}: {error}", "See docs/concepts.md, hooks", (origin.entry_point,))
            )
            return
        self.plugins.append(origin)
        for kind in kinds:
            self._add_kind(kind, origin)
        for method in methods:
            self._add_method(method, origin)
        for pipeline in pipelines:
            self._add_pipeline(pipeline, origin)

    def _collect(self, plugin: Any, hook: str) -> list[Any]:
        function = getattr(plugin, hook, None)
        found = function() if function is not None else []
        if isinstance(found, str | bytes) or not isinstance(found, Iterable):
            raise TypeError(f"{hook} must return a list, not {type(found).__name__}")
        return list(found)

    def _add_kind(self, kind: Any, origin: Origin) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Artifact)) or kind.kind in self.kinds:
            self.problems.append(PluginProblem(origin, f"kind {kind!r} is no Artifact subclass with a new name", "Rename or mend it"))
            return
        self.kinds[kind.kind] = kind

    def _add_method(self, method: Any, origin: Origin) -> None:
        name = getattr(method, "name", None)
        try:
            if not (isinstance(method, type) and issubclass(method, Method)) or not isinstance(name, str) or not name:
                raise TypeError(f"{method!r} is no Method subclass with a name (return the class, without parentheses)")
            check_api(method.api)
            tasks = read_tasks(method)
        except (TypeError, ValueError) as error:
            self.problems.append(
                PluginProblem(origin, str(error), "Mend the method or uninstall the plugin", (name,) if isinstance(name, str) else ())
            )
            return
        if name in self.origins:
            cause = f"method '{name}' is claimed by both {self.origins[name]} and {origin}"
            self.problems.append(PluginProblem(origin, cause, "Uninstall one of them, or choose with FABLOOM_PLUGINS", (name,)))
            self.methods.pop(name, None)
            for task in [t for t in self.tasks if t.startswith(f"{name}.")]:
                del self.tasks[task]
            return
        self.origins[name] = origin
        self.methods[name] = method
        self.tasks.update({spec.full_name: spec for spec in tasks.values()})

    def _add_pipeline(self, given: Any, origin: Origin) -> None:
        if isinstance(given, Pipeline):
            name, build = given.name, lambda: given
        elif isinstance(given, str | Path):
            name, build = Path(given).stem, lambda: Pipeline.load(given)
        elif callable(given):
            name, build = given.__name__.replace("_", "-"), lambda: given(self)
        else:
            self.problems.append(PluginProblem(origin, f"pipeline {given!r} is no Pipeline, path or callable", "Mend the hook"))
            return
        if name in self._pipelines:
            self.problems.append(PluginProblem(origin, f"pipeline '{name}' is registered twice", "Rename one of them"))
            return
        self._pipelines[name] = build

    def pipeline_names(self) -> list[str]:
        """Names of all registered pipelines."""
        return sorted(self._pipelines)

    def pipeline(self, name: str) -> Pipeline:
        """A registered pipeline by name, or the YAML file at a path."""
        if name in self._pipelines:
            return self._pipelines[name]()
        if name.endswith((".yaml", ".yml")) or "/" in name or Path(name).is_file():
            return Pipeline.load(name)
        raise PipelineError("", f"there is no pipeline '{name}'.{did_you_mean(name, self._pipelines)}")

    def open_store(self, url: str) -> Any:
        """The store at `url`, from whichever plugin knows it; it learns every registered kind."""
        store = self.hooks.hook.fabloom_open_store(url=url)
        if store is None:
            raise UserError(f"no plugin can open the store '{url}'. Give the path of a folder, or install a plugin for its scheme.")
        store.kinds.update(self.kinds)
        return store

    def task(self, name: str, path: str = "task") -> TaskSpec:
        """A task by its full name. `path` is the place to name in the error."""
        if name in self.tasks:
            return self.tasks[name]
        method = name.partition(".")[0]
        for problem in self.problems:
            if method in problem.names:
                raise PluginError(f"{path}: '{name}' needs a plugin that cannot be used: {problem}")
        broken = f" {len(self.problems)} plugins could not be loaded; see `fabloom plugins`." if self.problems else ""
        raise PipelineError(path, f"there is no task '{name}'.{did_you_mean(name, self.tasks)}{broken}")


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("unknown", "0")


def check_api(text: str) -> None:
    """Raise ValueError unless the contract version lies within `text`, as in `>=1,<2`."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"api = {text!r} is no version range; write '>=1,<2'") from error
    if ".".join(map(str, API)) not in wanted:
        raise ValueError(f"it wants contract version {text}, this fabloom has {API[0]}.{API[1]}")
