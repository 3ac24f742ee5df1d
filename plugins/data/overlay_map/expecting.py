"""What the tasks will write and hold, from their parameters and what is known of their inputs. Light: `fabloom plan` asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.errors import DataError, EnvironmentProblem
from fabloom.method import Outline

from .params import LoadParams, SimulateParams


def expected(params: Any, inputs: Mapping[str, Outline]) -> Outline | None:
    """Of a task with these parameters; None where nothing is known."""
    if isinstance(params, SimulateParams):
        return simulated(params)
    if isinstance(params, LoadParams):
        return loaded(params)
    given = inputs.get("maps")
    if given is None or given.size is None:
        return None
    return Outline(attrs=given.attrs, most=given.size).holding(given.size, given.size)


def simulated(params: SimulateParams) -> Outline:
    """A set with its truth, as `simulate` writes it."""
    from fabloom.plugins.blocks.overlay.terms import NAMES

    from .logs import LOGS

    terms = ((params.count, len(NAMES)), "float32")
    return of_maps(params.count, params.size, len(LOGS) + params.spare_logs, truth=terms, told=terms)


def loaded(params: LoadParams) -> Outline | None:
    """A set of as many wafers as the folder tells of."""
    from .loading import foreseen

    try:
        found = foreseen(params)
    except (DataError, EnvironmentProblem):  # which `check` has told
        return None
    return of_maps(len(found.roster.names), found.size, len(found.roster.log_names))


def of_maps(count: int, size: int, logs: int, **others: tuple[tuple[int, ...], str]) -> Outline:
    """So many wafers; they are held twice, as they are made and as they are written."""
    from fabloom.plugins.blocks.overlay.maps import LONGEST

    found = Outline({
        "values": ((count, 2, size, size), "float32"),
        "previous": ((count, 2, size, size), "float32"),
        "valid": ((count, size, size), "uint8"),
        "logs": ((count, logs), "float32"),
        "logged": ((count, logs), "uint8"),
        "barcodes": ((count, LONGEST), "uint8"),
        "source": ((count,), "int32"),
        **others,
    })  # fmt: skip
    return found.holding(found.size)
