"""What is installed: methods, kinds and pipelines of every plugin, each loaded in its own try.

A plugin that cannot be used becomes a `PluginProblem`; only a pipeline that needs it fails.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from fabloom.errors import FabloomError, PipelineError, PluginError, UserError, did_you_mean
from fabloom.hooks import PROJECT, Specs
from fabloom.kinds import BUILTIN_KINDS, Artifact
from fabloom.kinds.store import MEMBERS, Store
from fabloom.method import Method, TaskSpec, read_tasks
from fabloom.pipeline import Pipeline

from .discovery import (
    HookError,
    Offer,
    Origin,
    PluginProblem,
    check_api,
    check_hooks,
    collect,
    distribution_of,
    entry_points,
    mend_import,
    restriction,
)


@dataclass
class Registry:
    """Everything that plugins registered. `problems` holds what could not be."""

    methods: dict[str, type[Method]] = field(default_factory=dict)
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    kinds: dict[str, type[Artifact]] = field(default_factory=lambda: {kind.kind: kind for kind in BUILTIN_KINDS})
    origins: dict[str, Origin] = field(default_factory=dict)
    kind_origins: dict[str, Origin] = field(default_factory=dict)
    pipeline_origins: dict[str, Origin] = field(default_factory=dict)
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
        wanted = restriction()
        found = []
        points = entry_points()
        for point in points:
            origin = Origin(point.name, *distribution_of(point))
            if wanted is not None and origin.distribution != PROJECT and point.name not in wanted:
                continue
            try:
                with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not tear a JSON document
                    plugin = point.load()
            except (Exception, SystemExit) as error:
                cause = f"cannot be imported: {type(error).__name__}: {error}"
                registry.problems.append(PluginProblem(origin, cause, mend_import(error, origin), (point.name,)))
                continue
            found.append((plugin, origin))
        known = {point.name for point in points}
        for name in sorted((wanted or set()) - known):
            cause = f"nothing that is installed brings it.{did_you_mean(name, known)}"
            registry.problems.append(
                PluginProblem(Origin(name, "FABLOOM_PLUGINS", "variable"), cause, "Install it or mend the variable", (name,))
            )
        registry._admit(found)
        return registry

    def register(self, plugin: Any, origin: Origin) -> None:
        """Register one plugin (a module or an instance). What goes wrong becomes a problem, never an exception."""
        self._admit([(plugin, origin)])

    def _admit(self, found: Sequence[tuple[Any, Origin]]) -> None:
        """Kinds of all plugins come first: a method may use a kind that another plugin declares."""
        offers = [offer for plugin, origin in found if (offer := self._gather(plugin, origin)) is not None]
        for offer in offers:
            for kind in offer.kinds:
                self._add_kind(kind, offer.origin)
        for offer in offers:
            for method in offer.methods:
                self._add_method(method, offer.origin)
            for pipeline in offer.pipelines:
                self._add_pipeline(pipeline, offer.origin)

    def _gather(self, plugin: Any, origin: Origin) -> Offer | None:
        """Call the plugin's hooks; None, and a problem, where it has none that can be called."""
        name = f"{origin.distribution}:{origin.entry_point}"
        try:
            plugin = plugin() if isinstance(plugin, type) else plugin
            check_hooks(plugin)
            self.hooks.register(plugin, name)
            self.hooks.check_pending()
            offer = Offer(origin, *(collect(plugin, hook) for hook in ("fabloom_kinds", "fabloom_methods", "fabloom_pipelines")))
        except (Exception, SystemExit) as error:
            if self.hooks.has_plugin(name):
                self.hooks.unregister(name=name)
            plain = isinstance(error, HookError | pluggy.PluginValidationError)
            cause = str(error) if plain else f"{type(error).__name__}: {error}"
            self.problems.append(PluginProblem(origin, cause, "Mend the hook or uninstall the plugin", (origin.entry_point,)))
            return None
        self.plugins.append(origin)
        return offer

    def _add_kind(self, kind: Any, origin: Origin) -> None:
        if not (isinstance(kind, type) and issubclass(kind, Artifact)) or kind is Artifact:
            cause, fix = f"kind {kind!r} is no subclass of fabloom.Artifact", "Return the class, without parentheses"
        elif kind.kind in self.kinds:
            first = self.kind_origins.get(kind.kind)
            cause = f"kind '{kind.kind}' is claimed by both {first or 'fabloom'} and {origin}"
            fix = "Rename the class of one, or uninstall it"
        else:
            self.kinds[kind.kind] = kind
            self.kind_origins[kind.kind] = origin
            return
        self.problems.append(PluginProblem(origin, cause, fix))

    def _add_method(self, method: Any, origin: Origin) -> None:
        name = getattr(method, "name", None)
        try:
            if not (isinstance(method, type) and issubclass(method, Method)) or not isinstance(name, str) or not name:
                raise TypeError(f"{method!r} is no Method subclass with a name (return the class, without parentheses)")
            check_api(method.api)
            tasks = read_tasks(method)
            self._check_kinds(tasks.values())
        except (TypeError, ValueError) as error:
            self.problems.append(
                PluginProblem(origin, str(error), "Mend the method or uninstall the plugin", (name,) if isinstance(name, str) else ())
            )
            return
        if name in self.origins:
            self._collision(name, origin)
            return
        self.origins[name] = origin
        self.methods[name] = method
        self.tasks.update({spec.full_name: spec for spec in tasks.values()})

    def _collision(self, name: str, origin: Origin) -> None:
        """What comes with fabloom keeps its name; of two third parties neither gets it, because the order of loading is an accident."""
        first = self.origins[name]
        cause = f"method '{name}' is claimed by both {first} and {origin}"
        if first.distribution == PROJECT:
            self.problems.append(
                PluginProblem(origin, f"{cause}; fabloom's own stays", f"Give the method of {origin.distribution} another name")
            )
            return
        fix = "Rename the method of one, uninstall one, or choose with FABLOOM_PLUGINS"
        self.problems.append(PluginProblem(origin, cause, fix, (name,)))
        self.methods.pop(name, None)
        for task in [t for t in self.tasks if t.startswith(f"{name}.")]:
            del self.tasks[task]

    def _check_kinds(self, tasks: Iterable[TaskSpec]) -> None:
        """Raise TypeError for a kind that no plugin declares: an artifact of it could be written, but never read."""
        for spec in tasks:
            for kind in (spec.output, *(port.kind for port in spec.inputs.values())):
                if self.kinds.get(kind.kind) is not kind:
                    known = "is another class than the kind of that name" if kind.kind in self.kinds else "is declared by no plugin"
                    raise TypeError(f"{spec.full_name}: {kind.__module__}.{kind.kind} {known}; return it from the hook fabloom_kinds")

    def _add_pipeline(self, given: Any, origin: Origin) -> None:
        if isinstance(given, Pipeline):
            name, build = given.name, lambda: given
        elif isinstance(given, str | Path):
            name, build = Path(given).stem, lambda: Pipeline.load(given)
        elif callable(given) and hasattr(given, "__name__"):
            name, build = given.__name__.replace("_", "-"), lambda: given(self)
        else:
            self.problems.append(PluginProblem(origin, f"pipeline {given!r} is no Pipeline, path or named function", "Mend the hook"))
            return
        if isinstance(given, str | Path) and not Path(given).is_file():
            fix = "Mend the hook, or the package data of the distribution"
            self.problems.append(PluginProblem(origin, f"there is no pipeline file '{given}'", fix, (name,)))
            return
        if name in self._pipelines:
            self.problems.append(PluginProblem(origin, f"pipeline '{name}' is registered twice", "Rename one of them"))
            return
        self._pipelines[name] = build
        self.pipeline_origins[name] = origin

    def pipeline_names(self) -> list[str]:
        """Names of all registered pipelines."""
        return sorted(self._pipelines)

    def pipeline(self, name: str) -> Pipeline:
        """A registered pipeline by name, or the YAML file at a path."""
        if name in self._pipelines:
            return self._build(name)
        if name.endswith((".yaml", ".yml")) or "/" in name or Path(name).is_file():
            return Pipeline.load(name)
        for problem in self.problems:
            if name in problem.names:
                raise PluginError(f"pipeline '{name}' needs a plugin that cannot be used: {problem}")
        raise PipelineError("", f"there is no pipeline '{name}'.{did_you_mean(name, self._pipelines)}{self._broken()}")

    def _broken(self) -> str:
        return f" {len(self.problems)} plugins could not be loaded; see `fabloom plugins`." if self.problems else ""

    def _build(self, name: str) -> Pipeline:
        """A registered pipeline. What a plugin's function raises or returns amiss is a PluginError that names the plugin."""
        try:
            built: object = self._pipelines[name]()
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

    def open_store(self, url: str) -> Store:
        """The store at `url`, from the first plugin that knows it; it learns every registered kind.

        Raises UserError where none does, PluginError where one fails at it or gives something that is no store.
        """
        for implementation in reversed(self.hooks.hook.fabloom_open_store.get_hookimpls()):
            if implementation.wrapper or implementation.hookwrapper:
                continue  # it would see, and could replace, what another plugin opens
            try:
                store: Any = implementation.function(**dict.fromkeys(implementation.argnames, url))
            except FabloomError:
                raise
            except Exception as error:
                raise PluginError(f"plugin {implementation.plugin_name} cannot open '{url}': {type(error).__name__}: {error}") from error
            if store is not None:
                missing = [name for name in MEMBERS if not hasattr(store, name)]
                if missing:
                    text = f"gives {type(store).__name__} for '{url}', which is no store: it lacks {', '.join(missing)}"
                    raise PluginError(f"plugin {implementation.plugin_name} {text}")
                store.kinds.update(self.kinds)
                opened: Store = store
                return opened
        raise UserError(f"no plugin can open the store '{url}'. Give the path of a folder, or install a plugin for its scheme.")

    def task(self, name: str, path: str = "task") -> TaskSpec:
        """A task by its full name. `path` is the place to name in the error."""
        if name in self.tasks:
            return self.tasks[name]
        method = name.partition(".")[0]
        for problem in self.problems:
            if method in problem.names:
                raise PluginError(f"{path}: '{name}' needs a plugin that cannot be used: {problem}")
        raise PipelineError(path, f"there is no task '{name}'.{did_you_mean(name, self.tasks)}{self._broken()}")
