"""What a reader must know to hold our figures against the published ones."""

from __future__ import annotations

from collections.abc import Sequence

from . import published
from .scores import GUIDED_NET
from .tables import AblationRow, Row, measured_columns

CANNOT = (
    "Table 1 cannot be reproduced to the letter: no code for the count is published. Here it is the mean number of components that "
    "the labelling rule of the published code accepts (blur, difference to the clean image above 5 grey levels, area above 50 "
    "pixels, circularity above 0.6); the real image gives 1.",
    "SIFID of Table 2 cannot be reproduced to the letter: the released script takes the last feature map, which is 1 x 1 for 96 x 96 "
    "pixels (its covariance is undefined), and divides the grey levels by 255 twice; the layer and the unit behind the printed 2.4 are not "
    "known. Hold the ratio to the reference pair against the published ratio, not the raw number.",
    "LPIPS of Table 2 can: the reference pair gives 0.84 here and 0.8 in the paper (squeeze, x 100). At this contrast it is "
    "dominated by one grey level of noise and by how well the lines are registered: flips and noise alone change it more than a defect.",
    "Table 3 describes two images: the test set released with the paper is 25 + 25 flips of the pair with noise, only 21 of the pairs "
    "differ, and the baseline was trained on variations of the same two images, so it is no upper bound. Ours is made by the same "
    "recipe with other draws; the published masks come from differences, ours move with the image.",
    "Under the paper's protocol an image without a defect and without an alarm scores 1: predicting nothing gives 0.50 ± 0.50. Finding "
    "every defect but those of the mirrored images gives 0.74 ± 0.42, the value that three published rows share. The columns to the "
    "right of it say what was found; 'moved' is over flips and small shifts of the same test images. Ours are trained with flips of "
    "image and mask, three times; the published ones once, without (--set 'steps.*segmenter.params.preset=published').",
    "The published training set of the baseline and the generated images of all published methods are not available, so no published "
    "figure could be measured again.",
)
"""Figures that cannot be had again, and why."""


def notes(rows: Sequence[Row], ablations: Sequence[AblationRow]) -> list[str]:
    """How to read the tables."""
    found = [row.quality for row in rows]
    bands = " and ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in published.ACCEPTED.items())
    lines = [
        f"Published: {published.SOURCE}, 1000 images a method and one training; as printed. The paper accepts {bands} (x 100), which is "
        "a ratio of 0.83-1.17 and 0.63-1.38. Ours: brackets are 95 % intervals, ± is the deviation over images.",
        *CANNOT,
    ]
    if any(q.chance is not None for q in found):
        lines.append(
            "At the reference's place: defects of which half lies in the reference's, or of the reference's in them; by chance: were each "
            "moved anywhere the structure looks the same. A generator far above chance teaches the place of one defect."
        )
    if any(q.noise.value is not None for q in found):
        lines.append(
            "Noise: LPIPS and SIFID rise with noise and fall with blur before they see defects; a ratio of theirs is to be believed where "
            "the noise is near that of the clean image (1.00)."
        )
    columns = measured_columns(found)
    if "sifid" not in columns:
        lines.append("SIFID needs weights that are not at hand here: it is left out, or measured with another network and named so.")
    if len(set(columns) - {GUIDED_NET, "sifid", "sifid-like"}) == 0:
        lines.append("No LPIPS trunk but squeeze is at hand, so the effect of guidance on a score that it does not optimise is not shown.")
    if any(row.setting.ablation == "guidance" for row in ablations):
        lines.append(
            "Guidance minimises LPIPS of squeeze to the training image, which is the paper's metric: what it gains there is partly by "
            "construction. The other trunks beside it, diversity, and the share of copies say what it costs."
        )
    if any(row.setting.ablation == "steps" for row in ablations):
        lines.append("The published steps were run with guidance 1; its 300 steps are the row 'SinSEMI + energy' of Table 2.")
    return lines
