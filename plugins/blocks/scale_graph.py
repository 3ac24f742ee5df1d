"""The network that SinSEMI and SinDDM share, as a graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fabloom.network import Network

from .anchor import context_channels, lattice_of, zooms_of
from .graphs import example, traceable

PHASE = (
    "cos and sin of 2 pi (fy Y + fx X) for each frequency (fy, fx) of the config's `lattice`; (Y, X) is a pixel's centre "
    "(row + 0.5, column + 0.5) times (finest height / height, finest width / width) of the scale in training"
)
CLEAN = "the clean image of the place that is wanted, shrunk to this scale, in the units of `x`"
SPACE = {0: "batch", 2: "height", 3: "width"}


def scale_graph(net: nn.Module, config: dict[str, Any], time: torch.Tensor, meaning: dict[str, str]) -> Network:
    """One evaluation at any height and width; the example is the coarsest scale. `time` [2] are example times.

    `meaning` explains `x`, `time` and `prediction`, which methods count in their own ways.
    """
    sizes = [(int(height), int(width)) for height, width in config["sizes"]]
    inputs = {"x": example(2, config["channels"], *sizes[0]), "time": time, "scale": torch.tensor([0, len(sizes) - 1])}
    dynamic = {"x": SPACE, "time": {0: "batch"}, "scale": {0: "batch"}}
    meaning = {**meaning, "scale": f"index of the scale, 0 the coarsest; trained are {len(sizes)} of the sizes {sizes}"}
    if context_channels(config):
        lattice = lattice_of(config)
        phase = lattice.phase(sizes[0], zooms_of(sizes)[0])[None] if lattice.frequencies else None
        inputs["context"] = example(1, config["channels"], *sizes[0]) if phase is None else phase
        dynamic["context"] = {2: "height", 3: "width"}
        meaning["context"] = CLEAN if phase is None else PHASE
    return Network(traceable(net), inputs, ("prediction",), dynamic, meaning)
