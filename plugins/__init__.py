"""Built-in methods, registered through the same door as third parties."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The methods that come with fabloom."""
    from .ddpm.method import Ddpm
    from .denoising_circuits.method import DenoisingCircuits
    from .images.method import Images
    from .leaderboard.method import Leaderboard
    from .line_pair.method import LinePair
    from .quality.method import Quality
    from .reference_difference.method import ReferenceDifference
    from .sinddm.method import SinDdm
    from .sinsemi.method import SinSemi
    from .unet.method import UNet

    return [LinePair, Images, Ddpm, DenoisingCircuits, Leaderboard, Quality, ReferenceDifference, SinDdm, SinSemi, UNet]
