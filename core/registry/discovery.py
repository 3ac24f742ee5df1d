"""Finding plugins: entry points, who they come from, and what cannot be used of them."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fabloom.errors import did_you_mean
from fabloom.hooks import PROJECT, Specs
from fabloom.method import Origin

API = (1, 2)
"""Version of the plugin contract."""
GROUP = "fabloom.plugins"


class HookError(TypeError):
    """A hook that is none, or returns something else than a list."""


@dataclass(frozen=True)
class PluginProblem:
    """Why a plugin, or one of its names, cannot be used, and what to do. `names` are the methods and pipelines that it takes out."""

    origin: Origin
    cause: str
    fix: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.origin}: {self.cause}{'' if self.cause.endswith(('.', '?')) else '.'} {self.fix}"


@dataclass(frozen=True)
class Offer:
    """What the hooks of one plugin returned, unchecked."""

    origin: Origin
    kinds: list[Any]
    methods: list[Any]
    pipelines: list[Any]


def entry_points() -> dict[Origin, importlib.metadata.EntryPoint]:
    """Every installed entry point of plugins, fabloom's own first. Nothing is imported."""
    points = importlib.metadata.entry_points(group=GROUP)
    brought: dict[int, tuple[str, str]] = {}  # the points of a distribution share one object, whose metadata is read and parsed anew
    for point in points:
        if id(point.dist) not in brought:
            brought[id(point.dist)] = distribution_of(point)
    found = {Origin(point.name, *brought[id(point.dist)]): point for point in points}
    return dict(sorted(found.items(), key=lambda item: precedence(item[0])))


def precedence(origin: Origin) -> tuple[bool, str, str]:
    """Sorts fabloom's own before all others."""
    return (origin.distribution != PROJECT, origin.distribution, origin.entry_point)


def can_wait(origin: Origin, point: importlib.metadata.EntryPoint) -> bool:
    """Whether an entry point need not be imported before somebody asks for the method of its name.

    True of fabloom's own in `fabloom.plugins`: each is named like its method and brings nothing else. A kind, a store, a pipeline or an
    observer must be there unasked: its entry point lies elsewhere, or in `fabloom.plugins.blocks` for a kind that several methods share,
    since a store that is opened to look at an artifact has asked for no method. Third parties name theirs as they like.
    """
    own = origin.distribution == PROJECT and point.value.startswith(f"{PROJECT}.plugins.")
    return own and not point.value.startswith(f"{PROJECT}.plugins.blocks.")


def restriction() -> set[str] | None:
    """The names in `FABLOOM_PLUGINS`; None where it is not set."""
    given = os.environ.get("FABLOOM_PLUGINS")
    return None if given is None else {name.strip() for name in given.split(",") if name.strip()}


def collect(plugin: Any, hook: str) -> list[Any]:
    """What a hook of the plugin returns; empty where it has none. Raises HookError for what is no list."""
    function = getattr(plugin, hook, None)
    found = function() if function is not None else []
    if isinstance(found, str | bytes) or not isinstance(found, Iterable):
        raise HookError(f"{hook} must return a list, not {type(found).__name__}")
    return list(found)


def check_hooks(plugin: Any) -> None:
    """Raise HookError for a function that looks like a hook and is none, or lacks its mark: pluggy would pass over it in silence."""
    known = [name for name in vars(Specs) if name.startswith(f"{PROJECT}_")]
    for name in dir(plugin):
        found = getattr(plugin, name, None)
        if name.startswith(f"{PROJECT}_") and inspect.isroutine(found):
            if name not in known:
                raise HookError(f"there is no hook '{name}'.{did_you_mean(name, known)}")
            if not hasattr(found, f"{PROJECT}_impl"):
                raise HookError(f"{name} lacks its mark; write @hookimpl above it (from fabloom import hookimpl)")


def mend_import(error: BaseException, origin: Origin) -> str:
    """What to do about a plugin that cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Install what brings '{error.name}' (is it among the dependencies of {origin.distribution}?), or uninstall the plugin"
    return "Mend or uninstall it, or leave it out of FABLOOM_PLUGINS"


def distribution_of(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that an entry point comes with."""
    if point.dist is None:
        return ("unknown", "0")
    metadata = point.dist.metadata
    return (metadata["Name"], metadata["Version"])


def check_api(text: str) -> None:
    """Raise ValueError unless the contract version lies within `text`, as in `>=1,<2`."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"api = {text!r} is no version range; write '>=1,<2'") from error
    if ".".join(map(str, API)) not in wanted:
        raise ValueError(f"it wants contract version {text}, this fabloom has {API[0]}.{API[1]}: upgrade fabloom, or widen `api`")
