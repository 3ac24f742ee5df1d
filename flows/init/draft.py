"""A pipeline while it is decided on: its steps with the reasons that the file will tell, and what was decided in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fabloom.method import Survey

LARGEST_TEST = 1024
"""Sides in pixels of images that are scored whole; larger ones are cut."""


@dataclass(frozen=True)
class Answers:
    """What the user decided beforehand; None leaves it to what is found.

    `structure`: registered images show the same at the same pixels, free ones do not. `test`: a folder of other images to score on, or
    'same' for variations of the same ones. `tile`: side of the squares to learn from, 0 for whole images.
    """

    structure: Literal["registered", "free"] | None = None
    test: str | None = None
    generator: str | None = None
    tile: int | None = None


@dataclass
class Draft:
    """Steps by name in the order of the file, each with its comment; `chosen` is told on the terminal and heads the file.

    `test` is what is in a folder of other images to score on.
    """

    survey: Survey
    answers: Answers
    test: Survey | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)

    def add(self, name: str, task: str, comment: str = "", inputs: Mapping[str, Any] | None = None, seed: int = 0, **params: Any) -> str:
        """A step, and its name."""
        step: dict[str, Any] = {"task": task}
        step |= {"inputs": dict(inputs)} if inputs else {}
        step |= {"params": params} if params else {}
        step |= {"seed": seed} if seed else {}
        self.steps[name] = step
        self.comments[name] = comment
        return name

    def say(self, text: str) -> None:
        """Tell what was decided."""
        self.chosen.append(text)

    @property
    def side(self) -> tuple[int, int]:
        """(height, width) of most images."""
        return next(iter(self.survey.sizes))


def minutes(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
