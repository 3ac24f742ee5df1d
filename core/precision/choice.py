"""From what was asked to what is computed with, and the note that keeps a step at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import BaseModel

from fabloom.notes import read_note, write_note
from fabloom.params import ARITHMETIC

from . import probe
from .memory import machine, recall, remember
from .probe import Finding

if TYPE_CHECKING:
    import torch

Used = Literal["fp32", "bf16"]
NOTE = "precision.json"
"""In a step's work folder: what its precisions came to, so that a step that goes on stays with them."""


@dataclass(frozen=True)
class Choice:
    """What a step computes with, and why."""

    asked: str
    used: Used
    why: str

    def as_dict(self) -> dict[str, str]:
        """Plain JSON data."""
        return {"asked": self.asked, "used": self.used, "why": self.why}


def look(device: torch.device) -> Finding:
    """What this device makes of bfloat16: as remembered of this machine, else measured now and remembered."""
    if device.type == "cuda":
        return probe.measure(device)
    identity = machine(device.type)
    known = recall(identity)
    if known is not None:
        return Finding.timed(known)
    found = probe.measure(device)
    if found.factor is not None:
        remember(identity, found.factor, found.seconds)
    return found


def choose(asked: str, device: torch.device) -> Choice:
    """`fp32` and `bf16` as asked; `auto` is bf16 where the device computes it natively, else fp32. Raises ValueError for other words."""
    if asked in ("fp32", "bf16"):
        return Choice(asked, cast("Used", asked), "as asked")
    if asked != "auto":
        raise ValueError(f"precision '{asked}' is not known; use auto, fp32 or bf16")
    found = look(device)
    return Choice(asked, "bf16" if found.native else "fp32", str(found))


def asked_by(params: BaseModel) -> Iterator[str]:
    """Every value of a parameter that is declared as `Precision`, in nested groups too."""
    for name, field in type(params).model_fields.items():
        value = getattr(params, name)
        if ARITHMETIC in field.metadata and isinstance(value, str):
            yield value
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, BaseModel):
                yield from asked_by(one)


def kept(folder: Path) -> dict[str, Choice]:
    """What the step of this work folder began with, by what was asked; {} where it has not begun."""
    note = read_note(folder / NOTE) or {}
    return {one["asked"]: Choice(**one) for one in note.get("choices", [])}


def keep(folder: Path, choices: Mapping[str, Choice]) -> None:
    """Have the step of this work folder stay with these. Raises OSError."""
    write_note(folder / NOTE, {"choices": [one.as_dict() for one in choices.values()]})


def autocast(device: torch.device, used: Used) -> torch.autocast:
    """torch's context manager, also a decorator, under which networks compute in `used`."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=used == "bf16")
