"""The network of SinDDM as a graph."""

from __future__ import annotations

import torch

from fabloom.kinds import Model
from fabloom.network import Network
from fabloom.plugins.blocks.scale_graph import scale_graph

from .params import TIMES
from .sampling import Trained


def networks(model: Model) -> dict[str, Network]:
    """`scale-network`: one evaluation at one scale."""
    trained = Trained.load(model, torch.device("cpu"))
    meaning = {
        "x": "noisy state x_t; grey levels [low, high] of the config's `values` are [-1, 1]",
        "time": f"noise level t, 0 to {TIMES - 1}",
        "prediction": f"what the network predicts: {trained.prediction}",
    }
    return {"scale-network": scale_graph(trained.net, model.config, torch.tensor([TIMES - 1, 0]), meaning)}
