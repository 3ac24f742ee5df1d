"""A structure under a microscope: what lies before it, and the grey levels that its camera gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .aerial import Domain, Microscope
from .camera import Camera
from .params import Simulation
from .stage import Stage, View

Real = NDArray[np.float64]


class Pattern(Protocol):
    """What lies before the microscope in one image: its roughness, position and sizes are drawn."""

    def clean(self) -> Real:
        """Amplitude reflectance [fine, fine], real, without a defect."""
        ...

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """The same with one defect of this kind, its size and place drawn from `rng`; drawn again where its mask does not fit."""
        ...


class Structure(Protocol):
    """A kind of pattern: how it looks ideally, and how one image of it is drawn."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, `clean` first, then every kind of defect."""
        ...

    def ideal(self, domain: Domain) -> Real:
        """Amplitude of the perfect pattern, which fixes the grey levels."""
        ...

    def draw(self, domain: Domain, rng: np.random.Generator) -> Pattern:
        """The pattern of one image."""
        ...


@dataclass(frozen=True)
class Imaged:
    """A pattern through the microscope."""

    scene: Scene
    pattern: Pattern

    @property
    def kinds(self) -> Sequence[str]:
        """Every pattern may have every defect."""
        return self.scene.params.defects

    def clean(self) -> Real:
        """Grey levels without a defect."""
        return self.scene.grey(self.pattern.clean())

    def spoilt(self, kind: str, rng: np.random.Generator) -> Real:
        """Grey levels with one."""
        return self.scene.grey(self.pattern.spoilt(kind, rng))


@dataclass(frozen=True)
class Scene(Stage):
    """What the images of a set share."""

    params: Simulation
    structure: Structure
    domain: Domain
    microscope: Microscope
    camera: Camera

    @classmethod
    def build(cls, params: Simulation, structure: Structure) -> Scene:
        """Optics and the grey mapping, which is fixed by the ideal clean pattern."""
        domain = Domain.around(params.size, params.pixel_nm, params.pitch_nm, params.wavelength_nm, params.na)
        microscope = Microscope(domain, params.wavelength_nm, params.na, params.sigma, params.sigma_inner)
        ideal = microscope.image(structure.ideal(domain))
        dark, bright = float(ideal.min()), float(ideal.max())
        if bright - dark < 1e-3 * bright:
            raise DataError(f"the optics show the pattern with a contrast of {bright - dark:.1e} only; raise pitch_nm, na or sigma")
        camera = Camera(dark, bright, params.grey_low, params.grey_high, params.noise_std)
        return cls(params, structure, domain, microscope, camera)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the structure."""
        return self.structure.class_names

    def grey(self, amplitude: Real) -> Real:
        """Noise-free grey levels of an object."""
        return self.camera.grey(self.microscope.image(amplitude))

    def view(self, rng: np.random.Generator) -> View:
        """One pattern under the microscope."""
        return Imaged(self, self.structure.draw(self.domain, rng))

    def expose(self, grey: Real, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The noise of the camera."""
        return self.camera.expose(grey, rng)

    def facts(self) -> dict[str, Any]:
        """Intensities that became `grey_low` and `grey_high`."""
        return {"intensity_dark": self.camera.dark, "intensity_bright": self.camera.bright}
