"""What reports say of a model: the evaluations in a store that it went into."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fabloom.errors import FabloomError
from fabloom.flows.report.numbers import headline, told, words
from fabloom.kinds.metric import Metric
from fabloom.kinds.survey import manifests

if TYPE_CHECKING:
    from fabloom.kinds.store import Store


@dataclass(frozen=True)
class Evaluation:
    """A report that an artifact went into: its key, step and pipeline, the port that it was, and its own score there.

    `metric` and `score` are None where the report does not tell which of its results belongs to the artifact.
    """

    key: str
    task: str
    step: str
    pipeline: str
    created: str
    port: str
    metric: str | None = None
    score: Metric | None = None

    def __str__(self) -> str:
        """'IoU defect 0.86 [0.83, 0.89]', '–' where that is not told."""
        if self.metric is None or self.score is None:
            return "–"
        return f"{words(self.metric)} {told(self.score)}{f' {self.score.unit}' if self.score.unit else ''}"

    def as_dict(self) -> dict[str, Any]:
        """The document that `fabloom show --json` prints of it."""
        score = self.score
        numbers = None if score is None else {"value": score.value, "interval": list(score.interval) if score.interval else None}
        return {
            "key": self.key, "task": self.task, "step": self.step, "pipeline": self.pipeline, "created": self.created, "port": self.port,
            "metric": self.metric, **(numbers or {"value": None, "interval": None}),
        }  # fmt: skip


def evaluations(store: Store, key: str) -> list[Evaluation]:
    """The reports that were made with the artifact as an input, newest first; one that cannot be read is left out."""
    found = []
    for _, manifest in manifests(store, store.keys()):
        if isinstance(manifest, dict) and manifest["kind"] == "Report":
            with contextlib.suppress(FabloomError, OSError):  # damaged, or removed meanwhile
                found += [_read(store, manifest, port) for port in _ports(manifest, key)]
    return sorted(found, key=lambda one: one.created, reverse=True)


def _ports(manifest: Mapping[str, Any], key: str) -> list[str]:
    inputs: Mapping[str, Any] = manifest["preimage"].get("inputs") or {}
    return [port for port, keys in inputs.items() if key == keys or (isinstance(keys, list) and key in keys)]


def _read(store: Store, manifest: Mapping[str, Any], port: str) -> Evaluation:
    """The headline's result, or control, that is named as the port; the only result where it has no name."""
    step, pipeline, created = (str(manifest.get(name) or "") for name in ("step", "pipeline", "created"))
    plain = Evaluation(manifest["key"], manifest["preimage"]["task"], step, pipeline, created, port)
    with contextlib.suppress(Exception):  # of a plugin's own making
        report: Any = store.get(manifest["key"])
        said = headline(report.described)
        if said is None:
            return plain
        named = dict((*said.results, *said.controls))
        only = said.results[0][1] if len(said.results) == 1 and port not in named and not said.results[0][0] else None
        score = named.get(port, only)
        if score is not None:
            return replace(plain, metric=said.metric, score=score)
    return plain
