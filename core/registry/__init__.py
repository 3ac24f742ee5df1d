"""What is installed: methods, kinds and pipelines of every plugin, each loaded in its own try."""

from __future__ import annotations

from fabloom.method import Origin

from .discovery import API, GROUP, PluginProblem, check_api, entry_points, restriction
from .registry import Registry

__all__ = ["API", "GROUP", "Origin", "PluginProblem", "Registry", "check_api", "entry_points", "restriction"]
