"""What a report says first: for each question a sentence that a person understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.kinds import Metric, Table
from fabloom.plugins.blocks.sources import FEWEST

from .params import EvaluateParams
from .scores import Interval

TRUST = "Can these scores be trusted?"
BARE = 0.5
"""A larger share of images without a defect is no set of defect images."""
NOISE = {
    "like": "the noise of real images, within {margin:.0%}",
    "less": "less noise than real images",
    "more": "more noise than real images",
    "open": "their noise is not told apart from that of real images, nor shown to be like it within {margin:.0%}",
}
PLACED = {
    "more": "more often than chance",
    "less": "less often than chance",
    "as": "not told apart from chance",
    "open": "too few to say more",
}


def verdict(params: EvaluateParams, metrics: Mapping[str, Any]) -> str:
    """Copies, defects, their places and noise, as far as they were measured."""
    many = int(metrics["images"])
    said = [
        copied(metrics["copies"], many),
        counted(metrics.get("defects"), many),
        placed(metrics.get("places")),
        noisy(params, metrics.get("noise")),
    ]
    return " ".join(filter(None, said))


def copied(copies: Mapping[str, Any], many: int) -> str:
    """How many images are copies of a training image, and how many lie on a clean one as it is."""
    found: int = round(copies["copy_share"].value * many)
    grounds: int = round(copies["on_clean_image_share"] * many)
    if found:
        said = f"{found} of {many} images {'are copies' if found > 1 else 'is a copy'} of a training image."
    else:
        said = f"No copy of a training image is found among {many} image{'s' * (many > 1)}."
    more: str = f" {grounds} of {many} show a clean image of the reference set as it is, around a defect or all over."
    return said + more if grounds else said


def counted(found: Mapping[str, Any] | None, many: int) -> str:
    """How many defects an image has, and how many have none."""
    if found is None:
        return "Defects are not counted."
    return f"{told(found['count'])} defects an image; {percent(found['share_none'])} of the images have none."


def placed(found: Mapping[str, Any] | None) -> str:
    """Whether defects lie where the reference's does."""
    if found is None or found["same_place"].value is None:
        return ""
    share, chance = found["same_place"], found["same_place_chance"].value
    return f"Defects lie where the reference's lies in {percent(share)} (chance {percent(chance)}): {PLACED[against_chance(found)]}."


def against_chance(found: Mapping[str, Any]) -> str:
    """'more', 'less', 'as' where an interval leaves that open, 'open' where too few images have a defect."""
    low, high = found["same_place_above_chance"].interval or (0.0, 0.0)
    most = (found["same_place"].interval or (0.0, 1.0))[1]  # where none lies there, that of the difference is too narrow
    less = high < 0 and most < found["same_place_chance"].value
    return "open" if found["images"] < FEWEST else "more" if low > 0 else "less" if less else "as"


def noisy(params: EvaluateParams, found: Mapping[str, Any] | None) -> str:
    """Whether the noise is that of real images: both how much there is, and the fine part of its spectrum."""
    if found is None or not {"deviation", "high_band"} <= found["generated"].keys():
        return ""
    apart = judgement(params, found)
    ours, real = found["generated"]["deviation"], found["reference_image"]["deviation"].value
    said = NOISE[apart].format(margin=params.noise_margin).replace("%", " %")
    return (
        f"{said[0].upper()}{said[1:]}: its deviation is {told(ours)} times the clean image's (the reference's {real:.2f}), "
        f"the power of its finest third {told(found['generated']['high_band'])} times."
    )


def judgement(params: EvaluateParams, found: Mapping[str, Any]) -> str:
    """'like' only where both are, the deviation and the power of the high band, which is its square; 'less' or 'more' where either is."""
    margins = {"deviation": params.noise_margin, "high_band": (1 + params.noise_margin) ** 2 - 1}
    answers = [judged(found["generated"][name].interval, found["reference_image"][name].value, margin) for name, margin in margins.items()]
    return next((one for one in answers if one in ("less", "more")), "open" if "open" in answers else "like")


def judged(interval: Interval, real: float, margin: float) -> str:
    """How a ratio to the clean image lies to those of real images, 1 and that of the reference: 'like', 'less', 'more', or 'open'.

    'like' claims that they are the same, and needs the whole interval within the margin around the real ones.
    """
    low, high = min(1.0, real) / (1 + margin), max(1.0, real) * (1 + margin)
    if interval is None:
        return "open"
    if interval[1] < low:
        return "less"
    if interval[0] > high:
        return "more"
    return "like" if low <= interval[0] and interval[1] <= high else "open"


def trust(params: EvaluateParams, metrics: Mapping[str, Any]) -> Table:
    """For each way to flatter the distances: what was measured, and whether the set 'passes' or is 'caught'; 'open' where neither shows."""
    copies, (found, where, noise) = metrics["copies"], (metrics.get(name) for name in ("defects", "places", "noise"))
    rows = [["copies of a training image", copied(copies, int(metrics["images"])), caught(copies["copy_share"].value > 0)]]
    if found is not None:
        rows.append(["images without a defect", counted(found, int(metrics["images"])), caught(found["share_none"] > BARE)])
    if where is not None and (said := placed(where)):
        rows.append(["defects at one place", said, {"more": "caught", "open": "open"}.get(against_chance(where), "passes")])
    if noise is not None and (said := noisy(params, noise)):
        rows.append(["noise of other images", said, {"like": "passes", "open": "open"}.get(judgement(params, noise), "caught")])
    return Table(["flattered by", "measured", "answer"], rows)


def caught(guilty: bool) -> str:
    """'caught' or 'passes'."""
    return "caught" if guilty else "passes"


def told(metric: Metric) -> str:
    """'0.87 [0.80, 0.94]'."""
    low, high = metric.interval or (None, None)
    return f"{metric.value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def percent(share: Metric | float) -> str:
    """'12 % [8, 17]', or '12 %' of a number without an interval."""
    if not isinstance(share, Metric):
        return f"{100 * share:.0f} %"
    low, high = share.interval or (None, None)
    return f"{100 * share.value:.0f} %" + ("" if low is None or high is None else f" [{100 * low:.0f}, {100 * high:.0f}]")
