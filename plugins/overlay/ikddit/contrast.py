"""The unified contrastive loss: label-aware InfoNCE between layer below, logs and barcode (Yang et al. 2022, UniCL, 2204.03610).

    L_ab = - mean over i of the mean over j in P(i) of log softmax_j (u_i^a . u_j^b / tau)

P(i) is i alone between map and logs, which are of one wafer, and all wafers of i's group where the barcode is on one side: many wafers have
one tool, chuck and reticle, and calling them negatives of each other would push equal barcodes apart. Chance is log B.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn

from .conditions import MODALITIES

START, STEEPEST = 0.07, 100.0
"""Temperature at the start (published), and the largest 1 / tau."""


class Temperature(nn.Module):
    """A learned 1 / tau."""

    def __init__(self) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(1 / START).log())

    def forward(self) -> Tensor:
        """At most 100."""
        return self.log.exp().clamp(max=STEEPEST)


def positives(groups: Tensor, a: str, b: str) -> Tensor:
    """P [B,B]: which of b belong to which of a, for wafers of these groups [B]."""
    if "barcode" in (a, b):
        return groups[:, None] == groups[None, :]
    return torch.eye(len(groups), dtype=torch.bool, device=groups.device)


def contrastive(embedded: dict[str, Tensor], groups: Tensor, steepness: Tensor, *, labels: bool = True) -> Tensor:
    """Mean of L_ab over all ordered pairs, of vectors of length 1 [B,width]; without `labels` P(i) is i alone everywhere (InfoNCE)."""
    own = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    found = []
    for a, b in permutations(MODALITIES, 2):
        p = (positives(groups, a, b) if labels else own).float()
        logs = torch.log_softmax(steepness * embedded[a].float() @ embedded[b].float().T, -1)
        found.append(-((p * logs).sum(1) / p.sum(1)).mean())
    return torch.stack(found).mean()


@torch.no_grad()
def retrieval(embedded: dict[str, Tensor], groups: Tensor, a: str, b: str) -> float:
    """Share of a whose nearest of b belongs to it."""
    nearest = (embedded[a] @ embedded[b].T).argmax(1, keepdim=True)
    return float(positives(groups, a, b).gather(1, nearest).float().mean())
