"""What the leaderboard takes from the reports of quality.evaluate and unet.evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fabloom.errors import DataError
from fabloom.kinds import Metric, Report
from fabloom.plugins.blocks.sources import FEWEST

GUIDED_NET = "squeeze"
"""LPIPS trunk of the paper's metric, and of its guidance."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and standard deviation, each where there is one."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends of its interval, None where unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def hundredfold(self) -> Estimate:
        """The same in the unit of the paper's tables."""
        return Estimate(*(None if v is None else 100 * v for v in (self.value, self.low, self.high, self.sd)))

    def interval(self, digits: int = 2) -> str | None:
        """'0.81 [0.77, 0.85]', None where undefined."""
        if self.value is None:
            return None
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.value:.{digits}f}{bounds}"

    def spread(self, digits: int = 2) -> str | None:
        """'0.82 ± 0.26', None where undefined."""
        if self.value is None:
            return None
        return f"{self.value:.{digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{digits}f}")


@dataclass(frozen=True)
class Distance:
    """A distance to the reference image: over the generated images (x 100), and as a ratio to that of the reference pair."""

    x100: Estimate = Estimate()
    ratio: Estimate = Estimate()
    pair: float | None = None
    """The reference pair's own distance, x 100."""

    def told(self) -> str | None:
        """'2.41 ± 0.92 (1.05)': mean, deviation over images, and ratio."""
        text = self.x100.spread()
        return text if text is None or self.ratio.value is None else f"{text} ({self.ratio.value:.2f})"


@dataclass(frozen=True)
class Quality:
    """Scores of a set of generated images."""

    count: Estimate = Estimate()
    single_share: float | None = None
    lines: float | None = None
    off_share: float | None = None
    sifid: Distance = Distance()
    sifid_like: Distance = Distance()
    lpips: Mapping[str, Distance] = field(default_factory=dict)
    diversity: Estimate = Estimate()
    copies: float | None = None
    same_place: Estimate = Estimate()
    chance: float | None = None
    """Of defects that lie where the reference's does: the share, and what would by chance. Reports before version 7 have neither."""
    noise: Estimate = Estimate()
    """Deviation of the noise over that of the clean image; not in those reports either."""
    images: float = 0
    judged: float = 0
    """How many images were scored, and in how many of them defects could be counted; 0 where the report does not say."""


@dataclass(frozen=True)
class Segmentation:
    """Scores of one predictor on the real test set: the paper's protocol, and the honest one.

    `moved` is the IoU of defect images over flips and shifts of the test set, `detection` and `false_alarms` are so too. `lead` is by how
    much a model exceeds the baseline under the paper's protocol, on the same resamples. `sources` are the images that the test set was
    made of, None where the report does not say.
    """

    paper: Estimate = Estimate()
    defect: Estimate = Estimate()
    moved: Estimate = Estimate()
    detection: Estimate = Estimate()
    false_alarms: Estimate = Estimate()
    lead: Estimate = Estimate()
    sources: float | None = None

    @property
    def few(self) -> str:
        """Why nothing can be said of other images; '' where the sources are enough, or the report does not say of how many."""
        if self.sources is None or self.sources >= FEWEST:
            return ""
        many = "source" if self.sources == 1 else "sources"
        return f"the test images come from {self.sources:.0f} {many}, and fewer than {FEWEST} show nothing about others"


def metric(metrics: Mapping[str, Any], *path: str) -> float | None:
    """A number in nested metrics, None where there is none."""
    found: Any = metrics
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found.value) if isinstance(found, Metric) and found.known else None


def estimate(metrics: Mapping[str, Any], name: str, *, sd: str = "") -> Estimate:
    """The metric `name` with its interval and, where asked, its deviation under another name."""
    found = metrics.get(name)
    low, high = (found.interval if isinstance(found, Metric) else None) or (None, None)
    return Estimate(metric(metrics, name), low, high, metric(metrics, sd) if sd else None)


def block(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A nested group of metrics, empty where it was left out."""
    found = metrics.get(name)
    return found if isinstance(found, Mapping) else {}


def distance(metrics: Mapping[str, Any], name: str) -> Distance:
    """One distance of quality.evaluate."""
    group = block(metrics, name)
    pair = metric(group, "pair")
    return Distance(estimate(group, "raw", sd="sd").hundredfold(), estimate(group, "ratio"), None if pair is None else 100 * pair)


def read_quality(report: Report) -> Quality:
    """The scores of a report of quality.evaluate. Raises DataError for another report."""
    metrics = report.described
    nets = {name.removeprefix("lpips_"): distance(metrics, name) for name in metrics if name.startswith("lpips_")}
    if not nets and "defects" not in metrics:
        raise DataError(f"report {report.key[:12]} holds no scores of quality.evaluate; give its reports to `quality` and `ablations`")
    defects, images = block(metrics, "defects"), metric(metrics, "images") or 0
    judged = metric(defects, "judged_share")
    return Quality(
        count=estimate(defects, "count", sd="count_sd"),
        single_share=metric(defects, "share_one"),
        lines=metric(defects, "lines"),
        off_share=metric(defects, "off_reference_share"),
        sifid=distance(metrics, "sifid"),
        sifid_like=distance(metrics, "sifid_nsfwjs"),
        lpips=nets,
        diversity=estimate(block(metrics, "diversity"), "lpips").hundredfold(),
        copies=metric(block(metrics, "copies"), "copy_share"),
        same_place=estimate(block(metrics, "places"), "same_place"),
        chance=metric(block(metrics, "places"), "same_place_chance"),
        noise=estimate(block(block(metrics, "noise"), "generated"), "deviation"),
        images=images,
        judged=images if judged is None else round(images * judged),
    )


def read_segmentation(report: Report, predictor: str) -> Segmentation:
    """The scores of 'model', 'baseline' or 'nothing' in a report of unet.evaluate. Raises DataError for another report."""
    scores = block(report.described, predictor)
    if not scores:
        raise DataError(f"report {report.key[:12]} has no '{predictor}'; give reports of unet.evaluate with a baseline to `segmentation`")
    return Segmentation(
        paper=estimate(scores, "iou", sd="iou_sd"),
        defect=estimate(scores, "iou_defect"),
        moved=estimate(scores, "iou_defect_moved"),
        detection=estimate(scores, "detection_rate_moved"),
        false_alarms=estimate(scores, "false_alarm_rate_moved"),
        lead=estimate(block(report.described, "difference"), "iou") if predictor == "model" else Estimate(),
        sources=metric(report.described, "sources"),
    )
