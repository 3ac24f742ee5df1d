"""The network of SinSEMI as a graph."""

from __future__ import annotations

import torch

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.scale_graph import scale_graph

from .sampling import Trained


def networks(model: Model) -> dict[str, Network]:
    """`scale-network`: one evaluation at one scale."""
    trained = Trained.load(model, torch.device("cpu"))
    mean, deviation, unit = trained.scales.mean, trained.scales.deviation, trained.time_unit
    meaning = {
        "x": f"state x_t; a grey level g (0 to 255) is (g / 255 - {mean:.9g}) / {deviation:.9g}",
        "time": f"{unit:g} times t, t in [0, 1]",
        "prediction": "the drift (x_t - x_0) / t" if trained.prediction == "drift" else "the velocity u_t",
    }
    return {"scale-network": scale_graph(trained.net, model.config, unit * torch.tensor([1.0, 0.5]), meaning)}
