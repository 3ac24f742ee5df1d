"""Variations of a few registered images that keep the structure's lines where they are.

Flips and shifts act on image, mask, scores and reference together, noise on the image alone. Shifts are cyclic and along a direction
in which the structure repeats, or by steps between the sites of an array, so that the structure of every variation lies on that of the
unshifted image; a label made against a reference stays valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.kinds.origin import row_origins
from fabloom.method import Context
from fabloom.plugins.blocks.difference import blur
from fabloom.plugins.blocks.registration import Register
from fabloom.plugins.blocks.sites import OFF, moves_of, translated
from fabloom.plugins.blocks.truth import label_attrs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .params import AugmentParams

    Moves = NDArray[np.int64]


def augment(ctx: Context, params: AugmentParams, images: ImageSet) -> ImageSet:
    """Write `count` variations, image i drawn from (seed, i); source images are taken in turn so that each is used equally."""
    pixels = images.images[...]
    height, width = pixels.shape[2:]
    if params.shift_x_step > width // 2 or params.shift_y_step > height // 2:
        raise DataError(f"shift steps ({params.shift_x_step}, {params.shift_y_step}) must be at most half of the {width}x{height} image")
    sites = sites_of(params, (height, width))
    spots = spots_of(params, images) if sites is not None else []
    moving = moves(params, sites, pixels[0]) if images.references is None else []
    for field in moving:
        ctx.log(
            f"{field} moves the structure, which does not repeat after so many pixels: masks move along, but labels against one reference "
            f"hold only where images are laid on it (align). Set {field} to the period in pixels, or to 0, to keep images registered"
        )
    sources = np.arange(params.count) % len(pixels)
    out = np.empty((params.count, *pixels.shape[1:]), np.uint8)
    pictured: dict[str, Any] = {
        name: getattr(images, name)[...] for name in ("masks", "references", "scores") if getattr(images, name) is not None
    }
    beside: dict[str, Any] = {name: np.empty((params.count, *column.shape[1:]), column.dtype) for name, column in pictured.items()}
    whole: dict[str, Any] = {
        name: getattr(images, name)[...][sources] for name in ("domain", "labels") if getattr(images, name) is not None
    }
    with ctx.progress(params.count, unit="image", name="augment") as bar:
        for index, source in enumerate(sources):
            place = stream(ctx, index // len(pixels) if params.paired else index, 0)
            flips, shift = geometry(params, place, height, width)
            if sites is not None:
                shift = keeping(*spots[source], sites, place)
            out[index] = noisy(params, turned(pixels[source], flips, shift, sites), stream(ctx, index, 1))
            for name, column in pictured.items():
                beside[name][index] = turned(column[source], flips, shift, sites)
            bar.advance()
    return ImageSet.write(
        ctx,
        out,
        **beside,
        **whole,
        class_names=images.class_names or None,
        **(images.origins(sources) or row_origins(sources)),
        channels=pixels.shape[1],
        attrs={
            "augmented_from": images.key,
            "source_images": len(pixels),
            "distinct_images": len({image.tobytes() for image in out}),
            **({"moved_by": moving} if moving else {}),
            **label_attrs(images),
        },
    )


def sites_of(params: AugmentParams, size: tuple[int, int]) -> Moves | None:
    """The whole-pixel moves [M,2] by steps between sites; None without such steps. Raises DataError where there is no move."""
    if params.shift_lattice is None:
        return None
    found = moves_of(params.shift_lattice, size)
    if len(found) < 2:
        raise DataError(
            f"shift_lattice: no multiple of the steps {params.shift_lattice} lies within {OFF} pixels of whole ones and within the "
            f"{size[1]}x{size[0]} image; leave it out, or give the steps more exactly"
        )
    return found


def moves(params: AugmentParams, sites: Moves | None, image: NDArray[np.uint8]) -> list[str]:
    """The parameters whose shift lays the structure of an image [C,H,W] beside itself."""
    grey = image.mean(0)
    blurred = blur(grey)
    register = Register.of(blurred, grey)
    steps = {"shift_y_step": (params.shift_y_step, 0), "shift_x_step": (params.shift_x_step, 1)}
    shifted = {field: np.roll(blurred, step, axis) for field, (step, axis) in steps.items() if step}
    if sites is not None:
        shifted["shift_lattice"] = translated(blurred, sites[1], sites)
    return [field for field, there in shifted.items() if register.place(there).verdict != "in place"]


def turned(picture: NDArray[Any], flips: tuple[int, ...], shift: tuple[int, int], sites: Moves | None = None) -> NDArray[Any]:
    """Pixels, mask or reference [..,H,W] mirrored, then rolled, or moved from site to site and then mirrored: no value is made that was
    not there.
    """
    if sites is None:
        return np.roll(np.flip(picture, flips), shift, (-2, -1))
    return np.flip(translated(picture, np.array(shift), sites), flips)


def stream(ctx: Context, index: int, purpose: int) -> np.random.Generator:
    """Random numbers of one variation, or of one turn of the source images, for one purpose."""
    return np.random.default_rng([ctx.seed & 0xFFFFFFFF, ctx.seed >> 32, index, purpose])


def spots_of(params: AugmentParams, images: ImageSet) -> list[tuple[NDArray[np.bool_] | None, bool]]:
    """Of every image where its defects are drawn [H,W] or None, and whether it has one; of paired images those of all of them."""
    drawn = None if images.masks is None else is_defect(images.masks[...])
    defective = np.zeros(len(images), bool) if images.domain is None else images.domain[...] == 1
    if params.paired:
        drawn = None if drawn is None else np.broadcast_to(drawn.any(0), drawn.shape)
        defective = np.broadcast_to(defective.any(), defective.shape)
    return [(None if drawn is None else drawn[row], bool(defective[row])) for row in range(len(images))]


def keeping(drawn: NDArray[np.bool_] | None, defective: bool, sites: Moves, draw: np.random.Generator) -> tuple[int, int]:
    """A random move of `sites` that keeps the drawn defects in the image; none of a defect that nobody has drawn."""
    order = draw.permutation(len(sites))
    if defective and (drawn is None or not drawn.any()):
        return 0, 0
    for move in sites[order]:
        if drawn is None or not drawn.any() or translated(drawn, move, sites).sum() >= drawn.sum():
            return int(move[0]), int(move[1])
    return 0, 0


def geometry(params: AugmentParams, draw: np.random.Generator, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, int]]:
    """(axes to flip, pixels to roll down and right)."""
    flips = tuple(axis for axis, wanted in ((-1, params.flip_x), (-2, params.flip_y)) if wanted and draw.random() < 0.5)
    down, right = (
        int(draw.integers(size // step)) * step if step else 0
        for size, step in ((height, params.shift_y_step), (width, params.shift_x_step))
    )
    return flips, (down, right)


def noisy(params: AugmentParams, image: NDArray[np.uint8], draw: np.random.Generator) -> NDArray[np.uint8]:
    """The image [C,H,W] with its own white noise, back in whole grey levels."""
    if not params.noise or draw.random() >= params.noise_share:
        return image
    deviation = params.noise if params.noise_low is None else draw.uniform(params.noise_low, params.noise)
    levels = image + draw.normal(0, deviation, image.shape)
    whole = np.rint(levels) if params.rounding == "nearest" else np.trunc(levels)
    return np.clip(whole, 0, 255).astype(np.uint8)
