"""Whether the weights of a trunk are at hand, and where."""

from __future__ import annotations

import os
from pathlib import Path

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.plugins.blocks import weights
from fabloom.progress import Messenger

from .params import NETS, OWN, TIMM


def check(trunk: str, messenger: Messenger) -> None:
    """Fetch or find the weights of a trunk. Raises MissingWeights where they cannot be had, EnvironmentProblem where they are damaged."""
    if trunk in NETS:
        try:
            weights.verified(NETS[trunk], messenger)
        except weights.MissingWeights as problem:
            raise weights.MissingWeights(
                f"memory-bank.fit with trunk: {trunk}: {problem} Or take trunk: {OWN}, which needs none."
            ) from None
    elif trunk.startswith(TIMM):
        file(trunk)


def file(trunk: str) -> Path:
    """The file of weights of a network of timm. Raises MissingWeights that says which is missing and where it belongs."""
    name = trunk.removeprefix(TIMM)
    folder = os.environ.get(weights.VARIABLE, "")
    if Path(name).name != name:
        raise UserError(f"trunk: '{trunk}' is no name of a network of timm")
    found = Path(folder) / f"{name}.safetensors"
    if not folder or not found.is_file():
        where = f"the folder {weights.VARIABLE} ({folder})" if folder else f"a folder that {weights.VARIABLE} names"
        raise weights.MissingWeights(
            f"memory-bank.fit with trunk: {trunk}: {name}.safetensors does not lie in {where}. Put the weights of timm's '{name}' there, "
            f"saved as safetensors, or take trunk: {OWN}, which needs none."
        )
    if not os.access(found, os.R_OK):
        raise EnvironmentProblem(f"{found} cannot be read")
    return found
