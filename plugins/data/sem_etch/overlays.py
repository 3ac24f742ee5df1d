"""What lies on a pattern or in it and is no part of it: particles and residue, small capsules in a drawn direction."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from fabloom.plugins.blocks.imaging.shapes import from_segment

from .edges import covered, glow
from .frame import Frame, Pattern, Real

BRIGHT = 1.3
"""Brightness of a particle: it charges, and sends out more than what it lies on."""
FILM = 0.6
"""Brightness of residue, a film of what should have been etched, and how bright its edge is beside that of a whole one."""
LENGTH = 0.5
"""Distance of the ends of a capsule as a share of its extent."""


def blob(frame: Frame, at: tuple[int, int], extent: float, rng: np.random.Generator) -> Real:
    """Signed distance [side,side] from the rim of a capsule that is `extent` pixels long, positive inside."""
    angle = rng.uniform(0, pi)
    y, x = frame.axis[list(at)]
    down, right = (way * extent * LENGTH / 2 for way in (sin(angle), cos(angle)))
    axis = frame.axis
    return extent * (1 - LENGTH) / 2 - from_segment(axis[:, None], axis, (y - down, x - right), (y + down, x + right))


def particle(frame: Frame, tone: Real, extent: float, rng: np.random.Generator) -> Real:
    """Brightness with a particle anywhere; it hides what is below it."""
    inside = blob(frame, frame.pick(None, rng), extent, rng)
    share = covered(inside)
    return tone * (1 - share) + BRIGHT * share + glow(inside)


def residue(frame: Frame, tone: Real, pattern: Pattern, extent: float, rng: np.random.Generator) -> Real:
    """Brightness with a film on etched ground, which ends where material stands."""
    inside = blob(frame, frame.pick(pattern.ground(), rng), extent, rng)
    film = FILM * (covered(inside) + glow(inside))
    return np.maximum(tone, film * (1 - covered(pattern.distance)) + tone * covered(pattern.distance))
