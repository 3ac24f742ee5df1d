"""One picture of a structure, clean or with one defect, and the mask of what the defect changes."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .aerial import Domain, Microscope
from .camera import Camera
from .params import Simulation

Real = NDArray[np.float64]
BLOCK = 20
"""Images among which the share of defects is exact."""
MIN_AREA = 8
"""Fewest mask pixels of a defect."""
TRIES = 100


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
class Picture:
    """One image with its truth: `label` counts the structure's class names, `clean` has the grey levels without defect and noise."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    label: int
    clean: Real


@dataclass(frozen=True)
class Scene:
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

    def grey(self, amplitude: Real) -> Real:
        """Noise-free grey levels of an object."""
        return self.camera.grey(self.microscope.image(amplitude))

    def draw(self, seed: int, index: int) -> Picture:
        """Image `index`: a function of the scene, the seed and the index alone.

        The mask is 1 where the noise-free image with the defect differs from the same image without it by more than `mask_share` of
        the contrast. A defect has at least 8 such pixels and none in the outermost frame of the image.
        """
        params = self.params
        rng = np.random.default_rng((seed, 0, index))
        pattern = self.structure.draw(self.domain, rng)
        clean = self.grey(pattern.clean())
        if not has_defect(seed, index, params.defect_share):
            return Picture(self.camera.expose(clean, rng), np.zeros(clean.shape, np.uint8), 0, clean)
        kind = params.defects[int(rng.integers(len(params.defects)))]
        for _ in range(TRIES):
            grey = self.grey(pattern.spoilt(kind, rng))
            mask = np.abs(grey - clean) > params.mask_share * (params.grey_high - params.grey_low)
            if mask.sum() >= MIN_AREA and mask.sum() == mask[1:-1, 1:-1].sum():
                label = self.structure.class_names.index(kind)
                return Picture(self.camera.expose(grey, rng), mask.astype(np.uint8), label, clean)
        raise DataError(
            f"no '{kind}' of {params.defect_low} to {params.defect_high} changes {MIN_AREA} pixels inside the image by "
            f"{params.mask_share:.0%} of the contrast; raise defect_high or size, or lower mask_share"
        )

    def reference(self, picture: Picture, seed: int, index: int) -> NDArray[np.uint8]:
        """Image `index` without its defect, under a noise of its own."""
        return self.camera.expose(picture.clean, np.random.default_rng((seed, 3, index)))


def has_defect(seed: int, index: int, share: float) -> bool:
    """Whether image `index` carries a defect: systematic over blocks of 20, in shuffled order within a block.

    Every full block holds floor or ceil of 20 share defects, any number of blocks the rounded share of their images.
    """
    block, place = divmod(index, BLOCK)
    offset = np.random.default_rng((seed, 1)).random()
    wanted = floor((block + 1) * BLOCK * share + offset) - floor(block * BLOCK * share + offset)
    rank = np.random.default_rng((seed, 2, block)).permutation(BLOCK)[place]
    return bool(rank < wanted)
