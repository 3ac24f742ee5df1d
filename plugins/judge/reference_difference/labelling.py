"""The task `label`: where each image lies, what differs there, what its own truth makes of it, and what all of it says about the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN
from fabloom.method import Context
from fabloom.plugins.blocks import references
from fabloom.plugins.blocks.components import Found
from fabloom.plugins.blocks.difference import Real, Rule, blur, grey
from fabloom.plugins.blocks.references import References, at_once, name_of
from fabloom.plugins.blocks.registration import Placement
from fabloom.plugins.blocks.truth import LABELLED, label_attrs

from .params import LabelImages
from .truth import Truth, within


def run(ctx: Context, params: LabelImages, images: ImageSet, reference: ImageSet | None) -> ImageSet:
    """Label the images and write them with masks and domain."""
    clean = references.find(ctx, images, reference, params.aligns)
    placed = [clean.placer(picture).place(blur(value)) for _, value, picture in _each(ctx, "register", images, clean)]
    off = _off(ctx, params, images, clean, placed)
    rule = references.rule_of(params, images, clean, placed)
    given = Truth.of(images) if params.given == "keep" else Truth(images)
    known = Truth.of(images)
    if params.given == "within" and known.masks is None:
        raise DataError(
            f"set {images.key[:12]} has no masks within which defects could be looked for; load boxes, or leave out given=within"
        )
    masks = np.zeros((len(images), *images.images.shape[2:]), np.uint8)
    domain = np.zeros(len(images), np.int8)
    seen: list[Found | None] = []
    for row, value, picture in _each(ctx, "label", images, clean):
        its = rule if clean.shared is not None and not clean.moves(placed[row]) else rule.against(clean.held(picture, placed[row]))
        found = None if row in off else its.find(value)
        seen.append(found)
        if found is None:
            found = Found(np.full(masks.shape[1:], UNKNOWN, np.uint8), 0, 0)
        else:
            known.tell(row, found)
        masks[row] = given.settle(row, found, np.nan_to_num(np.abs(blur(value, its.eight_bit) - its.reference)))
        if params.given == "within" and known.masks is not None:
            masks[row] = within(masks[row], known.masks[row])
        domain[row] = given.said(row, masks[row])
    false_share = _false(params, known, seen, clean, rule)
    attrs = _attributes(params, rule, clean, placed, off, seen, false_share) | dict(known.attributes())
    attrs |= label_attrs(images) if (made := given.made()) == "none" else {LABELLED: made}
    _tell(ctx, params, known, attrs)
    kept = _kept(images, given)
    pixels = (images.images[start : start + at_once(images)] for start in range(0, len(images), at_once(images)))
    return ImageSet.write(
        ctx, pixels, count=len(images), masks=masks, domain=domain, **kept, **images.origins(), channels=images.images.shape[1], attrs=attrs
    )


def _each(ctx: Context, what: str, images: ImageSet, clean: References) -> Iterator[tuple[int, Real, Real]]:
    """Row, grey image and grey reference [H,W] of every image."""
    with ctx.progress(len(images), unit="image", name=what) as bar:
        for start in range(0, len(images), at_once(images)):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start} of {len(images)} images. Run the same command again to start over.")
            values = grey(images.images[start : start + at_once(images)])
            for place, (value, picture) in enumerate(zip(values, clean.pictures(start, start + len(values)), strict=True)):
                yield start + place, value, picture
            bar.advance(len(values))


def _off(ctx: Context, params: LabelImages, images: ImageSet, clean: References, placed: Sequence[Placement]) -> set[int]:
    """Rows that cannot be labelled because they are not where the reference is. Raises DataError where they are too many.

    The preset `published` labels them all the same, as its source does, and says so.
    """
    astray = [row for row, one in enumerate(placed) if one.distance > 1 and not clean.moves(one)]
    if not astray:
        return set()
    worst = max(astray, key=lambda row: (placed[row].verdict == "shifted", placed[row].distance))
    text = f"{len(astray)} of {len(placed)} images do not lie where the reference does: '{name_of(images, worst)}' {placed[worst]}"
    if params.preset == "published":
        ctx.log(f"{text}. The published rule labels them all the same, mostly as clean (off_reference_share)")
        return set()
    if len(astray) > params.max_off_share * len(placed):
        shifted = sum(placed[row].verdict == "shifted" for row in astray)
        cure = "set align: auto, which measures and undoes such shifts" if 2 * shifted > len(astray) else "draw masks for them"
        raise DataError(
            f"{text}. What differs would be the structure itself, not defects. Take images of the reference's place, {cure}, give each "
            f"image its own reference (template and test pairs), or raise max_off_share={params.max_off_share:g}"
        )
    ctx.log(f"{text}. Their masks are 255 (cannot tell) all over")
    return set(astray)


def _false(params: LabelImages, known: Truth, seen: Sequence[Found | None], clean: References, rule: Rule) -> float | None:
    """The share of images that are known to be clean in which a defect was found. Raises DataError where that is most of them."""
    rows = [row for row, found in enumerate(seen) if found is not None and known.knows_clean(row)]
    false = [row for row in rows if seen[row].sure]  # type: ignore[union-attr]
    if not rows or params.given == "within":
        return None
    if len(false) > params.max_false_share * len(rows):
        raise DataError(
            f"{len(false)} of {len(rows)} images that are known to be clean come out with a defect, '{name_of(known.images, false[0])}' "
            "first: what differs from the reference is no defect here. See that the reference shows the same place and the same "
            f"structure, raise `threshold` (it is {rule.threshold:.3g} grey levels), draw masks, or raise "
            f"max_false_share={params.max_false_share:g}"
        )
    return len(false) / len(rows)


def _kept(images: ImageSet, given: Truth) -> dict[str, Any]:
    """What else of the images goes along: references always, classes and scores where their truth is kept."""
    kept = {"references": images.references, "scores": images.scores if given.masks is not None else None}
    if given.domain is not None or (images.labels is not None and given.masks is not None):
        kept["labels"] = images.labels
    found = {name: np.asarray(column) for name, column in kept.items() if column is not None}
    names = images.class_names if "labels" in found or given.masks is not None else []
    return {**found, **({"class_names": names} if names else {})}


def _attributes(
    params: LabelImages, rule: Rule, clean: References, placed: Sequence[Placement], off: set[int],
    seen: Sequence[Found | None], false_share: float | None,
) -> dict[str, Any]:  # fmt: skip
    """What labelling says about the set."""
    found = [one for one in seen if one is not None]
    counts = [one.sure for one in found]
    heights = rule.heights
    return {
        "preset": params.preset,
        "threshold": rule.threshold,
        **({"seed_threshold": heights.seed, "doubt_threshold": heights.doubt} if heights else {}),
        "min_area": rule.min_area,
        "min_circularity": rule.min_circularity,
        "sigma": rule.sigma,
        "contrast": rule.contrast,
        **({"jitter": rule.jitter} if heights else {}),
        "defect_share": float(np.mean([one is not None and one.sure > 0 for one in seen])),
        "ambiguous_share": float(np.mean([one is None or not one.told for one in seen])),
        "components": {str(number): many for number, many in sorted(Counter(counts).items())},
        "components_mean": float(np.mean(counts)) if counts else 0.0,
        "off_reference_share": float(np.mean([one.distance > 1 for one in placed])),
        "aligned_share": float(np.mean([clean.moves(one) for one in placed])),
        "unlabelled_share": len(off) / len(placed),
        **({} if false_share is None else {"false_share": false_share}),
        **({"reference_images": len(clean.clean)} if clean.shared is not None else {"reference_images": len(placed)}),
        "own_references": clean.shared is None,
        "given": params.given,
    }


def _tell(ctx: Context, params: LabelImages, known: Truth, attrs: dict[str, Any]) -> None:
    """What was kept or replaced, and what speaks against it; that nothing was found where nobody said there is nothing."""
    if known.masks is None and known.domain is None:
        if not attrs["defect_share"]:
            ctx.log(
                f"none of the {len(known.images)} images surely has a defect; {attrs['ambiguous_share']:.0%} have places that may be one"
            )
        return
    what = "masks" if known.masks is not None else "a domain"
    done = "are kept" if known.masks is not None else "is kept"
    if params.given == "replace":
        done = "are replaced" if known.masks is not None else "is replaced"
    elif params.given == "within":
        done = "bound the defects"
    met = f", met with an IoU of {attrs['given_iou']:.2f}" if "given_iou" in attrs else ""
    some = "".join(f"; '{name}': {why}" for name, why in list(attrs.get("contradictions", {}).items())[:5])
    many = f"; labelling contradicts {attrs['contradicted']} of {len(known.images)} images{some}" if attrs["contradicted"] else ""
    ctx.log(f"the images have {what} of their own, which {done} (given: {params.given}){met}{many}")
