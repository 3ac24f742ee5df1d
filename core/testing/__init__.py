"""For authors of plugins: conformance kits of methods, stores and executors, a store in memory, tiny artifacts. Needs pytest.

    from fabloom.testing import MethodConformance

    class TestFade(MethodConformance):
        method = Fade
        params = {"train": {"steps": 6}, "sample": {"count": 4}}

See docs/testing.md for what each check wants.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor.conformance import ExecutorConformance
    from .method.conformance import MethodConformance
    from .running import run_task, write_artifact
    from .store.conformance import StoreConformance
    from .store.memory import MemoryStore
    from .tiny import tiny_fields, tiny_images, tiny_model, tiny_offline, tiny_report

__all__ = [
    "ExecutorConformance", "MemoryStore", "MethodConformance", "StoreConformance", "run_task", "tiny_fields", "tiny_images", "tiny_model",
    "tiny_offline", "tiny_report", "write_artifact",
]  # fmt: skip

_HOMES = {
    "executor.conformance": ("ExecutorConformance",),
    "method.conformance": ("MethodConformance",),
    "store.conformance": ("StoreConformance",),
    "store.memory": ("MemoryStore",),
    "running": ("run_task", "write_artifact"),
    "tiny": ("tiny_fields", "tiny_images", "tiny_model", "tiny_offline", "tiny_report"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Fetched on first use: pytest loads this package in every test run where fabloom is installed."""
    if name not in _HOME:
        raise AttributeError(f"module 'fabloom.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
