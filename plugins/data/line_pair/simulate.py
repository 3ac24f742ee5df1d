"""From parameters to a labelled set: pattern, defect, microscope, camera, mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, sqrt

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.method import Context

from . import defects
from .aerial import Domain, Microscope
from .camera import Camera
from .params import CLASS_NAMES, SimulateParams
from .pattern import Lines, coverage, roughness, straight

Real = NDArray[np.float64]
BLOCK = 20
"""Images among which the share of defects is exact."""
MIN_AREA = 8
"""Fewest mask pixels of a defect."""
TRIES = 100


@dataclass(frozen=True)
class Scene:
    """What the images of a set share."""

    params: SimulateParams
    domain: Domain
    microscope: Microscope
    camera: Camera

    @classmethod
    def build(cls, params: SimulateParams) -> Scene:
        """Optics and the grey mapping, which is fixed by the ideal clean pattern."""
        domain = Domain.around(params.size, params.pixel_nm, params.pitch_nm, params.wavelength_nm, params.na)
        microscope = Microscope(domain, params.wavelength_nm, params.na, params.sigma, params.sigma_inner)
        ideal = microscope.image(_amplitude(params, domain, straight(domain, params.pitch_nm, params.duty, 0.0)))
        dark, bright = float(ideal.min()), float(ideal.max())
        if bright - dark < 1e-3 * bright:
            raise DataError(f"the optics show the lines with a contrast of {bright - dark:.1e} only; raise pitch_nm, na or sigma")
        return cls(params, domain, microscope, Camera(dark, bright, params.grey_low, params.grey_high, params.noise_std))

    def grey(self, amplitude: Real) -> Real:
        """Noise-free grey levels of an object."""
        return self.camera.grey(self.microscope.image(amplitude))


@dataclass(frozen=True)
class Picture:
    """One image with its truth: `label` counts `CLASS_NAMES`."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    label: int


def run(ctx: Context, params: SimulateParams) -> ImageSet:
    """Simulate and write the set."""
    scene = Scene.build(params)
    shape = (params.count, params.size, params.size)
    images, masks = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    labels = np.empty(params.count, np.int16)
    with ctx.progress(params.count, unit="image", name="simulate") as bar:
        for index in range(params.count):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {params.count} images. Run the same command again to start over.")
            picture = draw(scene, ctx.seed, index)
            images[index], masks[index], labels[index] = picture.image, picture.mask, picture.label
            bar.advance()
    attrs = {
        "settings": params.model_dump(mode="json"),
        "intensity_dark": scene.camera.dark,
        "intensity_bright": scene.camera.bright,
        "defects": int((labels > 0).sum()),
    }
    domain = (labels > 0).astype(np.int8)
    return ImageSet.write(ctx, images[:, None], masks=masks, domain=domain, labels=labels, class_names=CLASS_NAMES, attrs=attrs)


def has_defect(seed: int, index: int, share: float) -> bool:
    """Whether image `index` carries a defect: systematic over blocks of 20, in shuffled order within a block.

    Every full block holds floor or ceil of 20 share defects, any number of blocks the rounded share of their images.
    """
    block, place = divmod(index, BLOCK)
    offset = np.random.default_rng((seed, 1)).random()
    wanted = floor((block + 1) * BLOCK * share + offset) - floor(block * BLOCK * share + offset)
    rank = np.random.default_rng((seed, 2, block)).permutation(BLOCK)[place]
    return bool(rank < wanted)


def draw(scene: Scene, seed: int, index: int) -> Picture:
    """Image `index`: a function of the scene, the seed and the index alone."""
    params, domain = scene.params, scene.domain
    rng = np.random.default_rng((seed, 0, index))
    lines = straight(domain, params.pitch_nm, params.duty, rng.random() if params.random_phase else 0.0)
    rough = roughness(
        rng,
        (2 * len(lines.left), domain.fine),
        domain.step,
        sigma=params.ler_nm,
        correlation=params.ler_correlation_nm,
        hurst=params.ler_hurst,
    )
    lines.left += rough[::2]
    lines.right += rough[1::2]
    clean = scene.grey(_amplitude(params, domain, lines))
    if not has_defect(seed, index, params.defect_share):
        return Picture(scene.camera.expose(clean, rng), np.zeros(clean.shape, np.uint8), 0)
    kind = params.defects[int(rng.integers(len(params.defects)))]
    for _ in range(TRIES):
        grey = scene.grey(_spoilt(scene, lines, kind, rng))
        mask = np.abs(grey - clean) > params.mask_share * (params.grey_high - params.grey_low)
        if mask.sum() >= MIN_AREA and mask.sum() == mask[1:-1, 1:-1].sum():
            return Picture(scene.camera.expose(grey, rng), mask.astype(np.uint8), CLASS_NAMES.index(kind))
    raise DataError(
        f"no '{kind}' of {params.defect_low} to {params.defect_high} pitches changes {MIN_AREA} pixels inside the image by "
        f"{params.mask_share:.0%} of the contrast; raise defect_high or size, or lower mask_share"
    )


def _spoilt(scene: Scene, lines: Lines, kind: str, rng: np.random.Generator) -> Real:
    """The amplitude of the pattern with one defect, its size and place drawn."""
    params, domain = scene.params, scene.domain
    extent = rng.uniform(params.defect_low, params.defect_high) * params.pitch_nm
    start, end = domain.guard * domain.pixel_nm, (domain.guard + domain.size) * domain.pixel_nm
    y = rng.uniform(start, end)
    if kind == "particle":
        return defects.particle(_amplitude(params, domain, lines), domain, rng.uniform(start, end), y, extent)
    centre = lines.centre + (params.pitch_nm / 2 if kind == "bridge" else 0.0)
    line = int(rng.choice(np.flatnonzero((centre > start) & (centre < end))))
    if kind == "bridge":
        spoilt = defects.bridge(lines, domain, line, y, extent)
    elif kind == "break":
        spoilt = defects.narrow(lines, domain, line, y, extent, depth=1.0, order=8)
    else:
        spoilt = defects.narrow(lines, domain, line, y, extent, depth=rng.uniform(0.6, 0.9), order=2)
    return _amplitude(params, domain, spoilt)


def _amplitude(params: SimulateParams, domain: Domain, lines: Lines) -> Real:
    return 1 - coverage(lines, domain) * (1 - sqrt(params.line_reflectance))
