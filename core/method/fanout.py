"""`Fanout`: how a task's rows are cut, so that several workers can make them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from fabloom.params import Params


@dataclass(frozen=True)
class Fanout:
    """Said of a task whose rows can be made in parts: `@task(version=1, fanout=Fanout(count="count", unit=("batch",)))`.

    `count` is the parameter that says how many rows there are. Cuts lie at multiples of `unit`, parameters or numbers: the rows that are
    computed together (a batch comes out differently in other company), and the row block of the artifact, whose encoded shards are then
    handed on as they are. The task asks `ctx.rows(count)` which rows it is to make and writes these alone; what a row holds must follow
    from its number, not from the rows before it. `Method.joined` makes one set of attributes of those of the parts.

    `rows=False` says that what is counted are no rows of arrays but, say, the trainings of one model. Then the task itself joins: it is
    called once more, with the artifacts of the parts as `ctx.parts`, and makes the whole of them. A part (`ctx.part`) may leave out what
    only the whole needs.
    """

    count: str = "count"
    unit: tuple[str | int, ...] = ("batch",)
    rows: bool = True

    def problem(self, params: type[Params]) -> str:
        """What is wrong with it for a task of these parameters, '' for nothing."""
        for name in (self.count, *(one for one in self.unit if isinstance(one, str))):
            if name not in params.model_fields:
                return f"fanout: {params.__name__} has no parameter '{name}'"
            if params.model_fields[name].annotation is not int:
                return f"fanout: the parameter '{name}' is no int"
        if any(isinstance(one, int) and one < 1 for one in self.unit):
            return f"fanout: unit {self.unit} holds a number below 1"
        return ""

    def cut(self, params: Any, parts: int) -> tuple[tuple[int, int], ...]:
        """At most so many ranges (first row, row after the last) of nearly equal length; () where there are no two whole units."""
        count: int = getattr(params, self.count)
        unit = math.lcm(*(getattr(params, one) if isinstance(one, str) else one for one in self.unit))
        pieces = min(parts, count // unit)
        if pieces < 2:
            return ()
        edges = [min(count, round(index * count / (pieces * unit)) * unit) for index in range(pieces)] + [count]
        return tuple(itertools.pairwise(edges))
