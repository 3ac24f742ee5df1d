"""What a step is asked with and what became of it, as plain data that crosses process boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fabloom.errors import Interrupted

from .method import PlannedStep


@dataclass(frozen=True)
class Options:
    """How to run: none of it is in a key. `redo` names steps whose committed result is to be made again.

    The engine's own, where several workers make one step: `parts` are the keys that it is joined from, `share` is among how many at the
    same time the cores are divided.
    """

    device: str = "auto"
    checkpoint_seconds: float = 30.0
    redo: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    share: int = 1


@dataclass(frozen=True)
class StepRequest:
    """Everything that running a step needs, as JSON-like data: the same for a call, a forked worker and another machine.

    Refs are frozen in `inputs` (keys by port) and `key` is computed, both in the plan; nobody plans twice. `plugin` (distribution
    and version) and `source` (fingerprint of the method's code) are those of the planning side: who runs it refuses others.
    `params` name files as paths, their hashes are in `preimage`. `store` is the URL that opens the store.
    """

    name: str
    task: str
    kind: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str | list[str]]
    upstream: tuple[str, ...]
    seed: int
    key: str
    preimage: Mapping[str, Any]
    pipeline: str
    plugin: Mapping[str, str]
    source: str
    store: str
    options: Options = field(default_factory=Options)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StepRequest:
        """The request that `as_dict` gave, JSON in between or not. Raises TypeError for fields that are none."""
        options = Options(**{**data["options"], "redo": tuple(data["options"]["redo"]), "parts": tuple(data["options"]["parts"])})
        return cls(**{**data, "upstream": tuple(data["upstream"]), "options": options})


@dataclass(frozen=True)
class StepResult:
    """What became of a step: status is ran, reused, failed or skipped."""

    name: str
    task: str
    kind: str
    key: str
    status: str
    digest: str = ""
    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
    metrics: dict[str, Any] = field(default_factory=dict, repr=False)
    signal: str = ""
    """Of a step whose process was killed: the signal's name."""

    @property
    def outcome(self) -> str:
        """The status as people read it: a step that ended because a stop was asked for did not fail, it is 'stopped'."""
        return "stopped" if self.status == "failed" and self.exit_code == Interrupted.exit_code else self.status

    @classmethod
    def of(cls, step: PlannedStep | StepRequest, status: str, **more: Any) -> StepResult:
        """A result of `step`."""
        return cls(step.name, step.task, step.kind, step.key, status, **more)

    @classmethod
    def committed(cls, step: PlannedStep | StepRequest, status: str, manifest: Mapping[str, Any], seconds: float = 0.0) -> StepResult:
        """A result answered from the manifest alone."""
        return cls.of(step, status, digest=manifest["digest"], metrics=manifest["metrics"], seconds=seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)
