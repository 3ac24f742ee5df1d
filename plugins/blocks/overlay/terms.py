"""Named terms of overlay: wafer (inter-field) and field (intra-field) polynomials, scan direction, and the roll-off of the edge.

Overlay is the displacement (dx, dy) in nm of a layer's pattern to that of the layer it is aligned to. Capital coordinates X, Y are of the
wafer and small ones x, y of the field, in mm from its centre, so that ppm and urad times mm are nm:

    dx = Tx + Sx X - (R + NO) Y + sum of a_ij X^i Y^j + (M + AM) x - (r + ar) y + sum of b_ij x^i y^j
    dy = Ty + Sy Y + R X        + sum of c_ij X^i Y^j + (M - AM) y + (r - ar) x + sum of d_ij x^i y^j + scan + ...

The k-numbers are those in common use in the industry (k1, k2 translation, k3, k4 scaling, k5 = -(R + NO), k6 = R, k7 to k12 second and k13
to k20 third order). Terms are named here, since numberings differ between tools.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Scope = Literal["wafer", "field", "scan", "edge"]
Polynomial = tuple[tuple[float, int, int], ...]
"""Sum of factor * X^i * Y^j over (factor, i, j)."""
RADIUS, WIDTH, HEIGHT = 150.0, 13.0, 16.5
"""Radius of a wafer, and half the largest field of a scanner, in mm."""
ROLL_OFF = 6.0
"""Length in mm over which the edge's displacement falls to 1/e, inwards."""


@dataclass(frozen=True)
class Term:
    """One term: its unit, the k-number where it has one, and `size`, the deviation from wafer to wafer that is usual after correction.

    Sizes are those of general lithography practice, not of a particular scanner.
    """

    name: str
    unit: str
    size: float
    scope: Scope
    dx: Polynomial = ()
    dy: Polynomial = ()
    k: str = ""


@dataclass(frozen=True)
class Places:
    """Where overlay is known: wafer X, Y and field x, y in mm, and the field's scan direction, +1 or -1; arrays of one shape."""

    X: Real
    Y: Real
    x: Real
    y: Real
    scan: Real = field(repr=False)


def _monomial(axis: Literal["dx", "dy"], i: int, j: int, edge_nm: float, k: str = "", *, scope: Scope = "wafer") -> Term:
    """The term dx_XiYj or dy_XiYj, in small letters for a field; of usual size it moves the edge, or a field's corner, by `edge_nm`."""
    letters, reach = ("XY", (RADIUS, RADIUS)) if scope == "wafer" else ("xy", (WIDTH, HEIGHT))
    name = "".join(letter if power == 1 else f"{letter}{power}" for letter, power in zip(letters, (i, j), strict=True) if power)
    size, one = edge_nm / (reach[0] ** i * reach[1] ** j), ((1.0, i, j),)
    return Term(f"{axis}_{name}", f"nm/mm^{i + j}", size, scope, one if axis == "dx" else (), one if axis == "dy" else (), k)


def _monomials(edge_nm: float, *terms: str, scope: Scope = "wafer") -> Iterator[Term]:
    """Several of one size, each as 'dx 2 0 k7': axis, powers, and the k-number where it has one."""
    for term in terms:
        axis, i, j, *k = term.split()
        yield _monomial("dx" if axis == "dx" else "dy", int(i), int(j), edge_nm, "".join(k), scope=scope)


TERMS: Final[tuple[Term, ...]] = (
    Term("translation_x", "nm", 0.8, "wafer", dx=((1, 0, 0),), k="k1"),
    Term("translation_y", "nm", 0.8, "wafer", dy=((1, 0, 0),), k="k2"),
    Term("scaling_x", "ppm", 0.015, "wafer", dx=((1, 1, 0),), k="k3"),
    Term("scaling_y", "ppm", 0.015, "wafer", dy=((1, 0, 1),), k="k4"),
    Term("rotation", "urad", 0.012, "wafer", dx=((-1, 0, 1),), dy=((1, 1, 0),), k="k6"),
    Term("non_orthogonality", "urad", 0.012, "wafer", dx=((-1, 0, 1),), k="-k5-k6"),
    *_monomials(0.8, "dx 2 0 k7", "dy 0 2 k8", "dx 1 1 k9", "dy 1 1 k10", "dx 0 2 k11", "dy 2 0 k12"),
    *_monomials(1.2, "dx 3 0 k13", "dy 0 3 k14", "dx 2 1 k15", "dy 1 2 k16", "dx 1 2 k17", "dy 2 1 k18", "dx 0 3 k19", "dy 3 0 k20"),
    Term("magnification", "ppm", 0.06, "field", dx=((1, 1, 0),), dy=((1, 0, 1),)),
    Term("asymmetric_magnification", "ppm", 0.06, "field", dx=((1, 1, 0),), dy=((-1, 0, 1),)),
    Term("field_rotation", "urad", 0.06, "field", dx=((-1, 0, 1),), dy=((1, 1, 0),)),
    Term("skew", "urad", 0.06, "field", dx=((-1, 0, 1),), dy=((-1, 1, 0),)),
    *_monomials(0.3, "dx 2 0", "dy 0 2", "dx 1 1", "dy 1 1", "dx 0 2", "dy 2 0", scope="field"),
    *_monomials(0.4, "dx 3 0", "dy 0 3", scope="field"),
    Term("scan_y", "nm", 0.4, "scan", dy=((1, 0, 0),)),
    Term("edge_roll_off", "nm", 1.5, "edge"),
)
NAMES: Final = tuple(term.name for term in TERMS)
SIZES: Final = np.array([term.size for term in TERMS])


def basis(places: Places) -> Real:
    """Displacement in nm that one unit of each term makes, [K,2,...] for places of shape [...]."""
    return np.stack([_of(term, places) for term in TERMS])


def _of(term: Term, places: Places) -> Real:
    if term.scope == "edge":
        rho = np.hypot(places.X, places.Y)
        outwards = np.exp((rho - RADIUS) / ROLL_OFF) / np.where(rho > 0, rho, 1)
        return np.stack([places.X * outwards, places.Y * outwards])
    x, y = (places.x, places.y) if term.scope == "field" else (places.X, places.Y)
    made = np.stack([sum((f * x**i * y**j for f, i, j in polynomial), np.zeros_like(x)) for polynomial in (term.dx, term.dy)])
    return made * places.scan if term.scope == "scan" else made
