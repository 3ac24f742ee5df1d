"""What was admitted: methods, kinds and pipelines of the plugins that were imported so far, each checked on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pluggy

from fabloom.hooks import PROJECT, Specs
from fabloom.kinds import BUILTIN_KINDS, Artifact
from fabloom.method import Method, Origin, TaskSpec, read_tasks
from fabloom.pipeline import Pipeline

from .building import Recipe, params_of
from .discovery import HookError, Offer, PluginProblem, check_api, check_hooks, collect


class Catalog:
    """What plugins brought, by name. `noticed` are the problems of those that were imported so far."""

    def __init__(self) -> None:
        self.kinds: dict[str, type[Artifact]] = {kind.kind: kind for kind in BUILTIN_KINDS}
        self.kind_origins: dict[str, Origin] = {}
        self.pipeline_origins: dict[str, Origin] = {}
        self.noticed: list[PluginProblem] = []
        self.hooks = pluggy.PluginManager(PROJECT)
        self.hooks.add_hookspecs(Specs)
        self._methods: dict[str, type[Method]] = {}
        self._tasks: dict[str, TaskSpec] = {}
        self._origins: dict[str, Origin] = {}
        self._plugins: list[Origin] = []
        self._pipelines: dict[str, Recipe] = {}

    def fetch(self, method: str) -> None:
        """Import the plugin that waits under this method's name, where one does. The registry knows of such."""

    def complete(self) -> None:
        """Import every plugin that waits."""

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
            self.noticed.append(PluginProblem(origin, cause, "Mend the hook or uninstall the plugin", (origin.entry_point,)))
            return None
        self._plugins.append(origin)
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
        self.noticed.append(PluginProblem(origin, cause, fix))

    def _add_method(self, method: Any, origin: Origin) -> None:
        name = getattr(method, "name", None)
        try:
            if not (isinstance(method, type) and issubclass(method, Method)) or not isinstance(name, str) or not name:
                raise TypeError(f"{method!r} is no Method subclass with a name (return the class, without parentheses)")
            check_api(method.api)
            tasks = read_tasks(method, origin)
            self._check_kinds(tasks.values())
        except (TypeError, ValueError) as error:
            self.noticed.append(
                PluginProblem(origin, str(error), "Mend the method or uninstall the plugin", (name,) if isinstance(name, str) else ())
            )
            return
        if origin.distribution != PROJECT:
            self.fetch(name)  # what comes with fabloom has the first claim on its name
        if name in self._origins:
            self._collision(name, origin)
            return
        self._origins[name] = origin
        self._methods[name] = method
        self._tasks.update({spec.full_name: spec for spec in tasks.values()})

    def _collision(self, name: str, origin: Origin) -> None:
        """What comes with fabloom keeps its name; of two third parties neither gets it, because the order of loading is an accident."""
        first = self._origins[name]
        cause = f"method '{name}' is claimed by both {first} and {origin}"
        if first.distribution == PROJECT:
            self.noticed.append(
                PluginProblem(origin, f"{cause}; fabloom's own stays", f"Give the method of {origin.distribution} another name")
            )
            return
        fix = "Rename the method of one, uninstall one, or choose with FABLOOM_PLUGINS"
        self.noticed.append(PluginProblem(origin, cause, fix, (name,)))
        self._methods.pop(name, None)
        for task in [t for t in self._tasks if t.startswith(f"{name}.")]:
            del self._tasks[task]

    def _check_kinds(self, tasks: Iterable[TaskSpec]) -> None:
        """Raise TypeError for a kind that no plugin declares: an artifact of it could be written, but never read."""
        for spec in tasks:
            for kind in (spec.output, *(port.kind for port in spec.inputs.values())):
                if self.kinds.get(kind.kind) is not kind:
                    known = "is another class than the kind of that name" if kind.kind in self.kinds else "is declared by no plugin"
                    raise TypeError(f"{spec.full_name}: {kind.__module__}.{kind.kind} {known}; return it from the hook fabloom_kinds")

    def _add_pipeline(self, given: Any, origin: Origin) -> None:
        if isinstance(given, Pipeline):
            name, recipe = given.name, Recipe(lambda _: given)
        elif isinstance(given, str | Path):
            name, recipe = Path(given).stem, Recipe(lambda _: Pipeline.load(given))
        elif callable(given) and hasattr(given, "__name__"):
            name = given.__name__.replace("_", "-")
            try:
                recipe = self._recipe(given)
            except (TypeError, NameError) as error:
                self.noticed.append(PluginProblem(origin, f"pipeline '{name}' cannot be built: {error}", "Mend its function", (name,)))
                return
        else:
            self.noticed.append(PluginProblem(origin, f"pipeline {given!r} is no Pipeline, path or named function", "Mend the hook"))
            return
        if isinstance(given, str | Path) and not Path(given).is_file():
            fix = "Mend the hook, or the package data of the distribution"
            self.noticed.append(PluginProblem(origin, f"there is no pipeline file '{given}'", fix, (name,)))
            return
        if name in self._pipelines:
            self.noticed.append(PluginProblem(origin, f"pipeline '{name}' is registered twice", "Rename one of them"))
            return
        self._pipelines[name] = recipe
        self.pipeline_origins[name] = origin

    def _recipe(self, build: Callable[..., Any]) -> Recipe:
        """Of a function of the registry, and of parameters where it takes some. Raises TypeError for another signature."""
        params = params_of(build)
        return Recipe(lambda given: build(self, given) if params else build(self), params)
