"""`Context`: what the engine gives a running task."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.precision import Choice, Used, autocast, choose
from fabloom.precision.choice import keep, kept
from fabloom.progress import Emit, Messenger, silent

from .loop import LoopStep, Stateful, run_loop

if TYPE_CHECKING:
    import torch

    from fabloom.kinds import Artifact, Staging

CURVE_POINTS = 400
"""Most points kept of a logged curve; beyond it every second one is dropped and the stride doubled."""


class Context(Messenger):
    """Seed, device, progress, logging and the resumable loop of one step.

    `workdir` is scratch space that survives a kill and disappears with the commit; never store its path.
    """

    def __init__(
        self,
        *,
        staging: Staging,
        seed: int,
        workdir: Path,
        device: str = "cpu",
        emit: Emit = silent,
        checkpoint_seconds: float = 60.0,
        stop_requested: Callable[[], bool] = lambda: False,
        part: range | None = None,
        parts: Sequence[Artifact] = (),
    ) -> None:
        super().__init__(emit, stop_requested)
        self.part = part
        """Of a step that several workers make: the rows of this one; None where it makes them all."""
        self.parts = parts
        """What several workers made, in order, for a task that joins it itself (see `Fanout`); empty where there is nothing to join."""
        self.staging = staging
        self.seed = seed
        self.workdir = workdir
        self.checkpoint_seconds = checkpoint_seconds
        self.loops: set[str] = set()
        self.history: dict[str, Any] = {}
        self.choices: dict[str, Choice] = kept(workdir)
        self._device = device
        self._generators: dict[str, torch.Generator] = {}
        self._restored: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The key of the artifact that this step makes."""
        return self.staging.key

    @property
    def device(self) -> torch.device:
        """The torch device this step runs on."""
        import torch

        return torch.device(self._device)

    def rows(self, count: int) -> range:
        """The numbers of the rows to make of `count`: all of them, or those of a part (see `Fanout`)."""
        return range(count) if self.part is None else self.part

    def precision(self, asked: str) -> Used:
        """What a parameter of type `Precision` comes to on this device. A step stays with what it began with, also when it goes on."""
        if asked not in self.choices:
            self.choices[asked] = choose(asked, self.device)
            keep(self.workdir, self.choices)
        return self.choices[asked].used

    def autocast(self, asked: str) -> torch.autocast:
        """Compute networks in that precision: `with ctx.autocast(params.precision): …`, or `net = ctx.autocast(…)(net)`."""
        return autocast(self.device, self.precision(asked))

    def loop(self, steps: int, *, name: str = "main", **stateful: Stateful) -> Iterator[LoopStep]:
        """Iterate over training steps; restores and checkpoints what it is given (anything with `state_dict`)."""
        return run_loop(self, steps, name, stateful)

    def generator(self, name: str = "default") -> torch.Generator:
        """A CPU generator, one stream for each name, seeded from `seed` and checkpointed by `loop`."""
        import torch

        if name not in self._generators:
            digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
            if name in self._restored:
                generator.set_state(self._restored.pop(name))
            self._generators[name] = generator
        return self._generators[name]

    def generator_states(self) -> dict[str, Any]:
        """State of every named stream, for a checkpoint."""
        return {**self._restored, **{name: g.get_state() for name, g in self._generators.items()}}

    def restore_generators(self, states: dict[str, Any]) -> None:
        """Set the streams to checkpointed states, also those that are not asked for yet."""
        self._restored = dict(states)
        for name in list(self._generators):
            if name in self._restored:
                self._generators[name].set_state(self._restored.pop(name))

    def record(self, loop: str, at: int, scalars: dict[str, float]) -> None:
        """Keep scalars for the curves of the report; thinned so that a long run keeps `CURVE_POINTS` points at most."""
        for name, value in scalars.items():
            curve = self.history.setdefault(f"{loop}.{name}", {"stride": 1, "points": []})
            curve["last"] = [at, float(value)]
            if at % curve["stride"] == 0:
                curve["points"].append(curve["last"])
                if len(curve["points"]) > CURVE_POINTS:
                    curve["stride"] *= 2
                    curve["points"] = [point for point in curve["points"] if point[0] % curve["stride"] == 0]

    def curves(self) -> dict[str, list[list[float]]]:
        """What was recorded, by loop and name: [step, value] points, thinned, and always the last one."""
        found = {}
        for name, curve in self.history.items():
            points, last = curve["points"], curve["last"]
            found[name] = points if points[-1:] == [last] else [*points, last]
        return found

    def seed_globals(self) -> None:
        """Seed Python's, NumPy's and torch's global generators, for library code that uses them."""
        import numpy as np
        import torch

        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)
        torch.manual_seed(self.seed)
