"""Once more after a death: a step whose process was killed by a signal, and that had come further than before, is begun again once.

Whoever killed it (the kernel out of memory, an operator, a driver) may not do so again, and a night's run need not wait for the next
one. Where nothing was kept meanwhile the same would happen again, so that such a step fails at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from fabloom.method.checkpoint import NAME


def kept(work: Path) -> dict[str, int]:
    """How far a step has come, by what its work folder holds: steps of each loop with a checkpoint, bytes of each journal of rows.

    What cannot be read, or is taken away meanwhile, is not told; a look fails no step.
    """
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for path in work.glob("ckpt-*.pt"):
            name = NAME.fullmatch(path.name)
            if name is not None:
                found[name["loop"]] = max(found.get(name["loop"], 0), int(name["step"]))
    with contextlib.suppress(OSError):
        for path in work.glob("*.jsonl"):
            with contextlib.suppress(OSError):
                found[path.name] = path.stat().st_size
    return found


def advance(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """What a step goes on from that was not there before, in words; '' where it came no further."""
    further = [name for name, at in after.items() if at > before.get(name, 0)]
    if not further:
        return ""
    last = further[-1]
    return "the rows that are written" if last.endswith(".jsonl") else f"step {after[last]} of '{last}'"
