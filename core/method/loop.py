"""`ctx.loop`: the one training loop. It restores, checkpoints, shows progress, logs scalars and honours a stop.

A checkpoint holds the state of everything the loop was given, every random generator and the step number; a run that was
killed goes on from it and gives the same result as one that was not (on the CPU; see docs/concepts.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fabloom.errors import DataError, Interrupted
from fabloom.progress import Emit, Progress, Scalars

from . import checkpoint


class Stateful(Protocol):
    """Anything that can be checkpointed."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


class Resumable(Protocol):
    """What the loop asks of the context that it runs in."""

    workdir: Path
    checkpoint_seconds: float
    loops: set[str]
    history: dict[str, Any]

    @property
    def emit(self) -> Emit: ...
    def stop_requested(self) -> bool: ...
    def log(self, message: str) -> None: ...
    def record(self, loop: str, at: int, scalars: dict[str, float]) -> None: ...
    def generator_states(self) -> Mapping[str, Any]: ...
    def restore_generators(self, states: dict[str, Any]) -> None: ...

    @property
    def key(self) -> str: ...


class LoopStep:
    """One turn of the loop."""

    def __init__(self, context: Resumable, loop: str, index: int, watched: Scalars) -> None:
        self.index = index
        self._context, self._loop, self._watched = context, loop, watched

    def log(self, **scalars: float) -> None:
        """Record scalars of this step for the display and the curves of the report."""
        values = {name: float(value) for name, value in scalars.items()}
        self._context.record(self._loop, self.index, values)
        self._watched.add(self.index, values)


def run_loop(context: Resumable, steps: int, name: str, stateful: dict[str, Stateful]) -> Iterator[LoopStep]:
    """Yield the steps that are still to do, checkpointing `stateful` on the way."""
    if not name.isidentifier() or name in context.loops:
        raise ValueError(f"ctx.loop(name={name!r}): each loop of a task needs its own name, an identifier")
    context.loops.add(name)
    start = _restore(context, name, stateful)
    saved_at = time.monotonic()
    watched = Scalars(context.emit, name)
    with Progress(context.emit, name, steps, "step", start) as bar, watched:
        for index in range(start, steps):
            yield LoopStep(context, name, index, watched)
            bar.advance()
            stop = context.stop_requested()
            if stop or index + 1 == steps or time.monotonic() - saved_at >= context.checkpoint_seconds:
                _save(context, name, index + 1, stateful)
                saved_at = time.monotonic()
            if stop:
                raise Interrupted(f"stopped after step {index + 1} of {steps} of '{name}'. Run the same command again to go on.")


def _save(context: Resumable, name: str, step: int, stateful: dict[str, Stateful]) -> None:
    checkpoint.save(context.workdir, name, step, _content(context, name, step, stateful))


def _content(context: Resumable, name: str, step: int, stateful: dict[str, Stateful]) -> dict[str, Any]:
    return {
        "of": [context.key, name],
        "step": step,
        "state": {key: item.state_dict() for key, item in stateful.items()},
        "generators": context.generator_states(),
        "global": _global_states(),
        "history": context.history,
    }


def _restore(context: Resumable, name: str, stateful: dict[str, Stateful]) -> int:
    """Load the newest checkpoint that can be gone on from and return its step; 0, with nothing changed, where there is none.

    A damaged one is left out, and removed once there is a newer one. A sound one that does not fit (another version of torch or of the
    optimizer wrote it) is set aside. Raises DataError where what it had changed already cannot be taken back.
    """
    found = checkpoint.saved(context.workdir, name)
    for path in reversed(found):
        try:
            content = checkpoint.read(path)
            if content.get("of", [context.key, name]) != [context.key, name]:  # those of older versions do not say
                raise checkpoint.Damaged("another step or loop wrote it")
            _try(context, name, stateful, content)
        except (OSError, checkpoint.Damaged) as error:
            context.log(f"checkpoint {path.name} is left out: {error}. Trying the one before it")
        except (checkpoint.Unfit, AttributeError) as error:
            checkpoint.set_aside(path)
            context.log(f"checkpoint {path.name} does not fit and is set aside: {error}. Trying the one before it")
        else:
            context.log(f"going on from step {content['step']} of '{name}'")
            return int(content["step"])
    if found:
        context.log(f"beginning '{name}' anew: none of its {len(found)} checkpoints can be gone on from")
    return 0


def _try(context: Resumable, name: str, stateful: dict[str, Stateful], content: dict[str, Any]) -> None:
    """Apply a checkpoint; where that fails half way, everything is as it was before, and `Unfit` is raised."""
    pristine = checkpoint.packed(_content(context, name, 0, stateful))
    try:
        _apply(context, stateful, content)
    except Exception as error:
        if checkpoint.is_memory(error):
            raise
        try:
            _apply(context, stateful, checkpoint.unpacked(pristine))
        except Exception as second:
            raise DataError(
                f"a checkpoint does not fit what loop '{name}' was given ({error}), and what it changed cannot be taken back ({second}). "
                f"Remove '{context.workdir}' to begin anew."
            ) from error
        raise checkpoint.Unfit(f"{type(error).__name__}: {error}") from error


def _apply(context: Resumable, stateful: dict[str, Stateful], content: dict[str, Any]) -> None:
    for key, item in stateful.items():
        item.load_state_dict(content["state"][key])
    context.restore_generators(content["generators"])
    _restore_global(content["global"])
    context.history.clear()
    context.history.update(content["history"])


def _global_states() -> dict[str, Any]:
    import numpy as np
    import torch

    version, words, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = legacy
    states: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype("int64")), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore_global(states: dict[str, Any]) -> None:
    import numpy as np
    import torch

    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype("uint32"), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
