"""The Frechet distance of two normal distributions (Dowson & Landau 1982), by which sets of features are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """Means [N,C] and unbiased covariances [N,C,C] of N sets of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """From feature maps [N,C,h,w]; every position is a sample."""
        values = features.flatten(2).double()
        mean = values.mean(2, keepdim=True)
        centred = values - mean
        return cls(mean.squeeze(2), centred @ centred.mT / (values.shape[2] - 1))

    @classmethod
    def of_rows(cls, features: Tensor) -> Gaussian:
        """Of one set, from a row a sample [M,C]."""
        return cls.of(features.T[None, :, :, None])


def frechet(a: Gaussian, b: Gaussian) -> Tensor:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) [N], either side may be a single one; float64, never negative.

    tr (S_a S_b)^1/2 is the sum of the roots of the eigenvalues of S_b^1/2 S_a S_b^1/2, which exist for singular S too.
    """
    values, vectors = torch.linalg.eigh(b.covariance)
    root = (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.mT
    inner = root @ a.covariance @ root
    cross = torch.linalg.eigvalsh((inner + inner.mT) / 2).clamp(min=0).sqrt().sum(1)
    trace_a, trace_b = (s.covariance.diagonal(dim1=1, dim2=2).sum(1) for s in (a, b))
    distance: Tensor = (a.mean - b.mean).square().sum(1) + trace_a + trace_b - 2 * cross
    return distance.clamp(min=0)
