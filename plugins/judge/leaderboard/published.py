"""The figures of the SinSEMI paper, Tables 1 to 5, as printed.

SIFID and LPIPS are in the tables' own units (raw x 100). 1000 generated images a method; IoU over 50 test images.
A figure that the paper does not give, or that is not known here, is None.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "SinSEMI, Tables 1-5"

IMAGES = 1000
"""Generated images that a figure of Tables 1, 2, 4 and 5 is a mean over."""


@dataclass(frozen=True)
class Spread:
    """Mean and, where printed, standard deviation."""

    mean: float
    sd: float | None = None
    digits: int = 1

    def __str__(self) -> str:
        return f"{self.mean:.{self.digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{self.digits}f}")


@dataclass(frozen=True)
class Published:
    """A row: the name in the paper, the method (and its variant) that would be registered for it, and its figures."""

    title: str
    method: str
    variant: str = ""
    count: Spread | None = None
    sifid: Spread | None = None
    lpips: Spread | None = None
    iou: Spread | None = None


PAIR_SIFID, PAIR_LPIPS = 2.4, 0.8
"""Table 2's baseline row: the image with the defect against the one without."""

ACCEPTED = {"SIFID": (2.0, 2.8), "LPIPS": (0.5, 1.1)}
"""Bands that the paper calls good, in the tables' units."""

BASELINE_IOU = Spread(0.74, 0.41, 2)
"""Table 3: U-Net trained on 1000 variations of the two images."""

ROWS = (
    Published("SinSEMI", "sinsemi", "", Spread(0.8), Spread(2.6, 1.0), Spread(1.0, 0.3), Spread(0.82, 0.26, 2)),
    Published("SinSEMI + energy", "sinsemi", "energy", Spread(0.8), Spread(2.4, 0.9), Spread(0.8, 0.3), Spread(0.88, 0.16, 2)),
    Published("SinDDM", "sinddm", "", None, Spread(2.2, 1.1), Spread(1.1, 0.3), Spread(0.74, 0.42, 2)),
    Published("SinGAN", "singan", "", None, Spread(1.9), Spread(1.6), Spread(0.72, 0.41, 2)),
    Published("ConSinGAN", "consingan", "", None, Spread(1.3), Spread(0.8), Spread(0.78, None, 2)),
    Published("SinDiffusion", "sindiffusion", "", None, Spread(2.6), Spread(0.5), Spread(0.79, None, 2)),
    Published("SinFusion", "sinfusion", "", None, Spread(6.9), Spread(3.2), Spread(0.76, None, 2)),
    Published("GPNN", "gpnn", "", None, Spread(6.0), Spread(2.4), Spread(0.74, None, 2)),
    Published("GPDM", "gpdm", "", None, Spread(2.1), Spread(0.8), Spread(0.84, 0.18, 2)),
)

ABLATIONS: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("sinsemi", "steps"): {"10": (2.5, 0.7), "50": (2.4, 0.7), "100": (2.4, 0.8), "300": (2.4, 0.8)},
    ("sinsemi", "guidance"): {"0": (2.6, 1.0), "0.1": (2.6, 0.9), "0.5": (2.5, 0.8), "1": (2.4, 0.8)},
}
"""(method, ablation) to setting to (SIFID, LPIPS); steps were run with guidance 1, and 300 steps is Table 2's row."""

BESIDE = {("sinsemi", "steps"): "guidance.strength 1"}
"""What an ablation fixes beside what it varies, as `Setting.beside` says it."""


def find(method: str, variant: str = "") -> Published | None:
    """The published row of a method, or None."""
    return next((row for row in ROWS if (row.method, row.variant) == (method, variant)), None)


def setting(method: str, ablation: str, value: str) -> Published | None:
    """The published distances at a setting of an ablation, or None."""
    found = ABLATIONS.get((method, ablation), {}).get(value)
    return None if found is None else Published(f"SinSEMI, {ablation} {value}", method, "", None, Spread(found[0]), Spread(found[1]))
