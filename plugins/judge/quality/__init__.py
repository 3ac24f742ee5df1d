"""Scores of generated images, and the doors for others: to LPIPS, and for metrics that join the scores."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from fabloom.hooks import hookimpl
from fabloom.method import Method

from .joining import ReferencePair, metric_report

if TYPE_CHECKING:
    from torch import Tensor, device

    from fabloom.plugins.blocks.perceptual import Lpips

__all__ = ["ReferencePair", "fabloom_methods", "lpips", "metric_report"]


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Quality

    return [Quality]


def lpips(a: Tensor, b: Tensor, net: str = "alex") -> Tensor:
    """LPIPS 0.1 of images [N,C,H,W] in [-1, 1], float [N]; `net` is 'alex', 'squeeze' or 'vgg'.

    One channel stands for three equal ones, and a single image is compared with all of the other batch. Differentiable in
    both. Raises EnvironmentProblem where the trunk's weights are neither at hand nor to be had, ValueError for another net.
    """
    distances: Tensor = _loaded(net, a.device)(a, b.to(a))
    return distances


@lru_cache(maxsize=3)
def _loaded(net: str, at: device) -> Lpips:
    from fabloom.plugins.blocks.perceptual import Lpips

    return Lpips.load(net, at)
