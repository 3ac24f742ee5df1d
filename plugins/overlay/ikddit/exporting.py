"""One evaluation of the student as a graph: from what a wafer is told by and a noisy map to a clean one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.graphs import example, traceable

from .conditions import CODES, Told
from .masking import kept_count
from .material import Units, given_channels, places_of
from .sampling import Generator


class Evaluation(nn.Module):
    """Encoders and student as a function of tensors alone."""

    places: Tensor

    def __init__(self, generator: Generator, places: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("places", places)

    def forward(
        self, x: Tensor, t: Tensor, previous: Tensor, logs: Tensor, logged: Tensor, codes: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(clean [B,2,H,W], log of its spread [B,2,H,W])."""
        conditions = self.generator.conditions(Told(previous, logs, logged, codes))
        clean, spread, _ = self.generator.net(x, given_channels(previous, self.places), t, conditions, seen)
        return clean, spread


def networks(model: Model) -> dict[str, Network]:
    """`student`: an evaluation on all patches; `student-masked`: the same on as many patches as the training showed, by their numbers."""
    generator = traceable(Generator(model))
    units, shape = Units.inside(model.config), generator.net.shape
    evaluation = Evaluation(generator, places_of(units.raster)).eval()
    side, logs, length = shape.size, len(units.log_names), generator.conditions.shape.length
    drawn = torch.Generator().manual_seed(0)
    inputs = {
        "x": example(2, 2, side, side),
        "t": torch.tensor([TIMES - 1, 0]),
        "previous": example(2, 3, side, side),
        "logs": example(2, logs),
        "logged": torch.ones(2, logs),
        "codes": torch.randint(CODES, (2, length), generator=drawn),
    }
    meaning = {
        "x": f"noisy map x_t; one unit is {units.current:.4g} nm",
        "t": f"time, 0 (nearly clean) to {TIMES - 1}",
        "previous": f"map of the layer below, dx and dy with {units.previous:.4g} nm a unit, and 1 where it is valid",
        "logs": "logs less their mean over their deviation, both in the config's `units`; 0 where missing",
        "logged": "1 where a log is there",
        "codes": "barcode: A-Z are 1 to 26, 0-9 are 27 to 36, then -, |, _ and .; 0 behind the last",
        "clean": "clean map x_0 in the unit of x",
        "spread": "log of the Laplace b of the error of x_0",
    }
    outputs = ("clean", "spread")
    found = {"student": Network(evaluation, inputs, outputs, meaning=meaning)}
    count = kept_count(shape.tokens, float(model.config["mask_ratio"]))
    if count < shape.tokens:
        seen = torch.stack([torch.randperm(shape.tokens, generator=drawn)[:count].sort().values for _ in range(2)])
        told = {**meaning, "seen": f"numbers of the {count} patches that are encoded, rising, from 0 at the top left, row by row"}
        found["student-masked"] = Network(evaluation, {**inputs, "seen": seen}, outputs, meaning=told)
    return found
