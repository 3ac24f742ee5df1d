"""What edges say about lines: width, pitch, and roughness about straight edges.

With the edge positions x(y) of H rows and their least-squares line a + b y,

    LER = 3 sqrt( sum (x(y) - a - b y)^2 / (H - 2) )      of one edge
    LWR = 3 sqrt( sum (w(y) - mean w)^2 / (H - 1) )       of one line, w = right - left edge

and over several edges or lines the variances are averaged (after SEMI P47, Test Method for Evaluation of Line-Edge Roughness and
Linewidth Roughness). A sinusoidal edge of amplitude A has LER 3 A / sqrt 2, independent edges have LWR = sqrt 2 LER.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def residuals(edges: Real) -> Real:
    """Edges [...,H] less their least-squares lines."""
    rows = np.arange(edges.shape[-1]) - (edges.shape[-1] - 1) / 2
    centred = edges - edges.mean(-1, keepdims=True)
    found: Real = centred - (centred @ rows)[..., None] * rows / (rows @ rows)
    return found


def ler(edges: Real) -> Real:
    """LER [N] of images with edges [N,E,H], in pixels; H is at least 3."""
    square = np.square(residuals(edges)).sum(-1) / (edges.shape[-1] - 2)
    found: Real = 3 * np.sqrt(square.mean(1))
    return found


def widths(edges: Real) -> Real:
    """Widths [N,E/2,H] of the lines."""
    return edges[:, 1::2] - edges[:, ::2]


def lwr(edges: Real) -> Real:
    """LWR [N], in pixels."""
    found: Real = 3 * np.sqrt(widths(edges).var(-1, ddof=1).mean(1))
    return found


def pitch(edges: Real) -> Real | None:
    """Mean distance [N] of the centres of neighbouring lines; None for a single line."""
    centres = (edges[:, 1::2] + edges[:, ::2]).mean(-1) / 2
    return None if centres.shape[1] < 2 else (centres[:, -1] - centres[:, 0]) / (centres.shape[1] - 1)
