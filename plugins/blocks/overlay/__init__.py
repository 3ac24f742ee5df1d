"""Overlay of two layers of a wafer: its named terms, the raster that maps lie on, and the maps as an artifact kind."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.kinds import Artifact


@hookimpl
def fabloom_kinds() -> list[type[Artifact]]:
    """The kinds of overlay, of which a store must know whoever made them: maps, and what is generated for them."""
    from .ensembles import OverlayEnsembles
    from .maps import OverlayMaps

    return [OverlayMaps, OverlayEnsembles]
