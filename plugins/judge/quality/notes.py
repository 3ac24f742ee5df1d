"""How to read each score: what a report tells beside its numbers."""

from __future__ import annotations

from fabloom.plugins.blocks.difference import Rule
from fabloom.plugins.blocks.weights import TABLE, VARIABLE

from .joining import Joined, reading
from .params import EvaluateParams

NO_CLEAN = (
    "Ratios to the reference pair and defects are left out: the reference set marks no image as clean (domain 0). Noise is held against "
    "the reference itself, and differences to it against the noise of rounding alone."
)
ELSEWHERE = (
    "The clean image does not lie where the reference does: differences to the reference are held against the noise of rounding alone, "
    "and ratios to the reference pair hold the shift as well. Choose another with `clean_row`."
)
NO_PLACES = "Places are left out: the rule finds no defect in the reference or none in the images."
PLACES = (
    "places: a defect lies where the reference's lies if half of the smaller of the two lies in the other; overlap is intersection over "
    "union. Chance: each defect as it is, moved to all places of the frame at which the structure looks the same. A generator that knows "
    "one image alone puts defects where that has them; a segmenter learns the place then."
)
STAND_IN = (
    "sifid_nsfwjs: the features are those of an Inception-v3 that was tuned on other images and kept in 8 bits. Its numbers are not "
    "comparable with published SIFID; its ratio to the reference pair can be read."
)
READING = (
    "A distance of 0 is a copy, not the best value. The reference pair, the defect image against the clean image of the same scene, "
    "says how far another good image is: its ratio is 1. The paper accepts 0.5 to 1.1 for LPIPS (squeeze, x 100) "
    "beside a pair at 0.8, and 2.0 to 2.8 for SIFID beside 2.4: ratios of 0.63 to 1.38 and of 0.83 to 1.17.",
    "LPIPS on images of low contrast is dominated by noise of one grey level and by registration: flips and noise alone change it "
    "more than a defect. Guidance by LPIPS squeeze lowers LPIPS squeeze by construction; read another trunk beside it.",
    "SIFID, sliced Wasserstein and the nearest patches compare patches wherever they lie: they are blind to layout and to copying. "
    "An exact copy scores 0, so read copies and diversity beside them. Noise on a copy moves LPIPS and SIFID to those of a good set.",
    "Sliced Wasserstein and patches: 7 x 7 pixels in standard deviations of the reference. coherence is the mean square distance of a "
    "generated patch to the nearest one of the reference, completeness the other way. The columns beside it are anchors of the same run: "
    "the clean image, the reference mirrored left-right, and white noise of the reference's mean and deviation.",
)


def left_out(score: str, weights: str) -> str:
    """A score without its weights. Where they were looked for is in the log: a report holds no paths."""
    *_, file = TABLE[weights].files
    return f"{score} is left out: its weights ({TABLE[weights].source}) are missing. Put {file} into a folder and set {VARIABLE} to it."


def intervals(params: EvaluateParams) -> str:
    """What the intervals cover."""
    return (
        f"Intervals: percentile bootstrap of the mean over the generated images, {params.resamples} resamples, {params.confidence:.0%}; "
        "sd is the population deviation over images. Neither covers the randomness of training."
    )


def diversity(net: str, neighbours: int) -> str:
    """What stands under `diversity`."""
    return (
        f"diversity: lpips ({net}) of each image to {neighbours} others chosen at random, lpips_ratio over that of the reference pair; "
        "pixel_sd is the deviation of a pixel over the images, in deviations of the reference. 0 means that all images are one."
    )


def uncounted(why: object) -> str:
    """Defects that could not be counted."""
    return f"defects are left out: {why}. Every other score holds; for defects choose one clean image with `clean_row`."


def counting(rule: Rule, own: int | None, *, published: bool) -> str:
    """By what rule defects are counted, and whether it finds that of the reference."""
    off = (
        "The rule needs the structure within a pixel of the reference's (off_reference_share says how many images fail that): a shifted "
        "image counts as empty."
        if published
        else "Where the structure lies elsewhere (off_reference_share) the clean image is moved onto it; what shows something else is not "
        "counted (judged_share)."
    )
    text = (
        f"defects: components in which an image differs from the clean one by more than {rule.threshold:.3g} grey levels after a blur, of "
        f"{rule.min_area} pixels or more and a circularity above {rule.min_circularity:g}. {off} lines: how many lines hold 2 % of the "
        "defects or more."
    )
    return text if own in (1, None) else f"{text} It finds {own} in the reference itself instead of 1: choose other `labels`."


def copying(params: EvaluateParams, floor: float, many: int, *, known: bool) -> str:
    """What a copy is."""
    origin = "the deviation between the reference and the clean image, defect clipped" if known else "rounding alone"
    return (
        f"copies: the noise of each image is held against that of {many} image{'s' * (many > 1)} of the reference set, in every turn and "
        "at every shift. repeated_noise is their correlation: 1 for a copy, however bright, 0.71 for one with as much fresh noise on top, "
        f"and chance alone for a second acquisition. From {params.copy_noise:g} on, where nothing else fits half as well, an image is a "
        "copy; with the noise of a clean image it only lies on it (on_clean_image_share). A copy is also what differs from the reference "
        f"by less than {params.copy_below:g} noise floors ({floor:.2f} grey levels: {origin}), least over shifts up to {params.reach} "
        "pixels: 0 is verbatim, 0.71 the same scene without its noise, 1 a second acquisition of it. A training image whose noise was "
        "taken off and replaced is not found so: read places beside it."
    )


def noise(params: EvaluateParams, deviation: float, *, clean: bool) -> str:
    """What noise is held against."""
    unit = "clean image" if clean else "reference"
    return (
        f"noise: over that of the {unit} ({deviation:.2f} grey levels): the deviation of what non-local means take off, and the power in "
        "thirds of the radial band up to half a cycle a pixel. Blurred images fall below in the high band, noise on top of noise rises "
        f"above. Called like that of real images where the whole interval lies within {params.noise_margin:.0%} of what clean image and "
        "reference have. denoised: the distances of images whose noise was taken off to the reference without its own."
    ).replace("%", " %")


def joined(metric: Joined) -> str:
    """What a metric of another plugin is, and which report has its values."""
    return f"{metric.head.name}: {reading(metric.head)} A metric of another plugin; report {metric.key[:12]} has its value for each image."
