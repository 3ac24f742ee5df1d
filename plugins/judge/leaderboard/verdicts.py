"""What of the paper was found again: every published figure held against ours, with a verdict and the reason.

Two figures of different samples are never equal, and the spread over images is no error of a mean: by it, a generator whose images
scatter more would be "reproduced" more easily. So a verdict has these rules, and no other:

- "Reproduced": the printed figure, as wide as its rounding and its 1000 images leave it, meets the interval of ours, and that is narrow
  enough to have missed it (`WIDEST`): four images agree with anything.
- "Not reproduced": the two miss each other, and the means differ by more than the spread over images, theirs or ours. Intervals over
  images do not hold which training was run, and the paper ran one. A miss within the spread of single images may be that: it is not told
  apart, hence "not comparable". A count has no printed spread, so its verdict rests on the interval alone.
- "Not comparable": all else. What is not installed or not measured, another network, images other than the paper's, and everything that
  was looked at and could not be told apart. That a difference was not found is no evidence that there is none.

Distances are held by their ratio to the reference pair's, which cancels a unit. Of IoU the order against the baseline is what can be
tested: the values depend on 50 images of one pair, and on a training set that was not published. About one in twenty true figures would
miss an interval by chance; that two intervals must miss each other makes it fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace

from fabloom.kinds import Table

from . import published
from .published import Published, Spread
from .scores import GUIDED_NET, Distance, Estimate, Quality, Segmentation
from .tables import AblationRow, Row, others, share, text, with_ratio

TITLE = "Verdicts"
REPRODUCED, NOT_REPRODUCED, NOT_COMPARABLE = "reproduced", "not reproduced", "not comparable"
COLUMNS = ("method", "claim", "published", "ours", "verdict", "why")
TABLES = {"steps": 4, "guidance": 5}

WIDEST = 0.5
"""Width of our interval, over the published figure, above which meeting it shows nothing."""

FEWEST_IMAGES = 12
"""Images below which no interval is believed: at a nominal 95 %, percentile intervals of the mean of 12 normal, exponential or yes-or-no
values (0.8) cover 91, 87 and 91 %, and of 6 they cover 85, 82 and 72 % (3000 simulations)."""

QUANTILE, RISK = 1.96, 0.05
"""Standard errors in half a 95 % interval, and what that leaves out."""

Ends = tuple[float, float]
Said = tuple[str, str]
"""A verdict and its reason."""


@dataclass(frozen=True)
class Claim:
    """A published figure, ours, and what to think of it: a row of the table."""

    method: str
    claim: str
    published: str
    ours: str | None
    verdict: str
    why: str


def verdicts(rows: Sequence[Row], ablations: Sequence[AblationRow]) -> list[Claim]:
    """A claim for every known figure of the paper's rows, and of those settings of its ablations that were measured."""
    missing = dict(others(rows))
    claims: list[Claim] = []
    for known in published.ROWS:
        if known in missing:
            claims += [Claim(known.title, claim, shown, None, NOT_COMPARABLE, missing[known]) for claim, shown in figures(known).items()]
        for row in rows:
            if (row.entry.method, row.entry.variant) == (known.method, known.variant):
                claims += of_row(row, known)
    return claims + [claim for row in ablations for claim in of_setting(row)]


def table(claims: Sequence[Claim]) -> Table:
    """All claims."""
    return Table(COLUMNS, [list(astuple(claim)) for claim in claims])


def summary(claims: Sequence[Claim]) -> str:
    """How many are which."""
    found = [claim.verdict for claim in claims]
    return (
        f"Of {len(found)} published figures, reproduced: {found.count(REPRODUCED)}, not reproduced: {found.count(NOT_REPRODUCED)}, not "
        f"comparable: {found.count(NOT_COMPARABLE)}. The table '{TITLE}' says which, and why."
    )


def figures(known: Published) -> dict[str, str]:
    """The known figures of a row of Tables 1 to 3 as they are shown, by claim."""
    shown = {
        "Table 1, defects an image": text(known.count),
        "Table 2, SIFID": with_ratio(known.sifid, published.PAIR_SIFID),
        "Table 2, LPIPS squeeze": with_ratio(known.lpips, published.PAIR_LPIPS),
        "Table 3, IoU against the baseline": None if known.iou is None else f"{known.iou} ({lead(known.iou):+.{known.iou.digits}f})",
    }
    return {claim: figure for claim, figure in shown.items() if figure}


def of_row(row: Row, known: Published) -> Iterator[Claim]:
    """The claims of a method that is here."""
    q, s, shown = row.quality, row.segmenter, figures(known)
    found: list[tuple[str | None, Said]] = []
    if known.count:
        found.append((q.count.interval(), counted(known.count, q)))
    found += distances(known, q)
    if known.iou:
        ours = s.paper.spread()
        found.append((ours if ours is None or s.lead.value is None else f"{ours} ({s.lead.value:+.2f})", ordered(known.iou, s)))
    elsewhere = other_images(q)
    for (claim, figure), (ours, said) in zip(shown.items(), found, strict=True):
        yield Claim(row.entry.title, claim, figure, ours, *((NOT_COMPARABLE, elsewhere) if elsewhere else said))


def of_setting(row: AblationRow) -> Iterator[Claim]:
    """The claims of a setting of Tables 4 and 5; none where the paper has no such setting."""
    s, q = row.setting, row.quality
    known = published.setting(s.method, s.ablation, s.value)
    if known is None:
        return
    why, beside = other_images(q), published.BESIDE.get((s.method, s.ablation), "")
    if not why and s.beside != beside:
        why = f"another setting: published with {beside or 'nothing else fixed'}, ours with {s.beside or 'nothing else fixed'}"
    for (claim, figure), (ours, said) in zip(figures(known).items(), distances(known, q), strict=True):
        place = claim.replace("Table 2", f"Table {TABLES[s.ablation]}")
        yield Claim(f"{s.method}, {s.ablation} {s.value}", place, figure, ours, *((NOT_COMPARABLE, why) if why else said))


def other_images(quality: Quality) -> str:
    """Why these are not the images of the paper; '' where they can be: LPIPS of the reference pair rounds to the printed one.

    All published figures are of one pair. Another pair may share its LPIPS, so this finds strangers and proves nothing.
    """
    pair = quality.lpips.get(GUIDED_NET, Distance()).pair
    low, high = rounded(Spread(published.PAIR_LPIPS))
    if pair is None:
        return "whether these are the paper's images is not known: LPIPS squeeze of the reference pair was not measured"
    return "" if low <= pair <= high else f"other images: LPIPS squeeze of the pair is {pair:.2f} here and {published.PAIR_LPIPS:g} there"


def rounded(figure: Spread) -> Ends:
    """What a mean can have been before it was printed."""
    half = 0.5 * 10**-figure.digits
    return figure.mean - half, figure.mean + half


def leeway(figure: Spread) -> Ends:
    """The same, and by how much other images of that generator could have moved it, where the deviation is printed."""
    low, high = rounded(figure)
    error = QUANTILE * (figure.sd or 0.0) / published.IMAGES**0.5
    return low - error, high + error


def counted(figure: Spread, quality: Quality) -> Said:
    """Table 1, for which no code is published: the rule by which ours are counted may be another.

    Where all images hold equally many, resamples cannot leave that number, but another image differs from G such with a chance of up
    to 1 - (alpha/2)^(1/G) (Clopper, Pearson 1934), by a defect at least.
    """
    ours = quality.count
    if ours.bounds is not None and ours.low == ours.high and quality.judged:
        room = 1 - (RISK / 2) ** (1 / quality.judged)
        ours = replace(ours, low=max(0.0, ours.bounds[0] - room), high=ours.bounds[1] + room)
    verdict, why = agreement(figure.mean, rounded(figure), ours, quality.judged)
    return verdict, f"{why}; no code for the count is published"


def distances(known: Published, quality: Quality) -> list[tuple[str | None, Said]]:
    """Our SIFID and LPIPS as they are shown, and what is said of them, for those that are printed."""
    found: list[tuple[str | None, Said]] = []
    if known.sifid:
        found.append((quality.sifid.told(), of_sifid(known.sifid, quality)))
    if known.lpips:
        ours = quality.lpips.get(GUIDED_NET, Distance())
        found.append((ours.told(), of_ratio(known.lpips, published.PAIR_LPIPS, ours, quality.images)))
    return found


def of_sifid(figure: Spread, quality: Quality) -> Said:
    """A ratio cancels the unit of SIFID, which is not known; the layer is not known either, and nothing cancels that."""
    if quality.sifid.x100.value is None:
        like = quality.sifid_like.x100.value is not None
        return NOT_COMPARABLE, "measured with another network only" if like else "not measured: its weights are not at hand"
    verdict, why = of_ratio(figure, published.PAIR_SIFID, quality.sifid, quality.images)
    return verdict, f"{why}; the published layer is not known"


def of_ratio(figure: Spread, pair: float, ours: Distance, images: float) -> Said:
    """A distance over the reference pair's; the pair's is printed rounded as well."""
    if ours.x100.value is None:
        return NOT_COMPARABLE, "not measured: its weights are not at hand"
    (low, high), (least, most) = leeway(figure), rounded(Spread(pair))
    spread = max((figure.sd or 0.0) / pair, (ours.x100.sd or 0.0) / (ours.pair or pair))
    return agreement(figure.mean / pair, (low / most, high / least), ours.ratio, images, spread)


def agreement(figure: float, theirs: Ends, ours: Estimate, images: float, spread: float = 0.0) -> Said:
    """A figure with its ends against our estimate of so many images; `spread` is their deviation, by which one training may be off."""
    if ours.value is None or ours.bounds is None:
        return NOT_COMPARABLE, "ours has no interval"
    if images < FEWEST_IMAGES:
        return NOT_COMPARABLE, f"an interval of fewer than {FEWEST_IMAGES} images covers too little, and ours is of {images:.0f}"
    (low, high), gap = ours.bounds, ours.value - figure
    sides = f"ours [{low:.2f}, {high:.2f}], theirs {theirs[0]:.2f} to {theirs[1]:.2f}"
    if low <= theirs[1] and high >= theirs[0]:
        if high - low > WIDEST * figure:
            return NOT_COMPARABLE, f"our interval is wider than {share(WIDEST)} of the published figure: more images are needed; {sides}"
        return REPRODUCED, f"the intervals meet: {sides}"
    apart = f"ours is {abs(gap):.2f} {'above' if gap > 0 else 'below'} the published {figure:.2f}"
    if abs(gap) <= spread:
        within = f"within the spread over images ({spread:.2f}), as a training may differ"
        return NOT_COMPARABLE, f"{apart}: beyond the intervals ({sides}), {within}"
    beyond = f" and the spread over images ({spread:.2f})" if spread else ""
    return NOT_REPRODUCED, f"{apart}, beyond the intervals ({sides}){beyond}"


def lead(figure: Spread) -> float:
    """A published IoU over that of the published baseline."""
    return figure.mean - published.BASELINE_IOU.mean


def ordered(figure: Spread, ours: Segmentation) -> Said:
    """The side of the baseline on which a method is; the paper prints no interval of that, so its order is taken as printed."""
    claimed, unit = lead(figure), 10**-figure.digits
    if round(abs(claimed) / unit) < 1:
        return NOT_COMPARABLE, f"the paper claims no order: it differs from the published baseline by less than the rounding, {unit:g}"
    if ours.few:
        return NOT_COMPARABLE, ours.few
    if ours.lead.value is None or ours.lead.bounds is None:
        return NOT_COMPARABLE, "our difference to our baseline has no interval"
    low, high = ours.lead.bounds
    told = f"ours is {abs(ours.lead.value):.2f} {'above' if ours.lead.value > 0 else 'below'} our baseline [{low:+.2f}, {high:+.2f}]"
    theirs = f"published {abs(claimed):.{figure.digits}f} {'above' if claimed > 0 else 'below'}"
    if low <= 0 <= high:
        return NOT_COMPARABLE, f"{told}, which is not told apart from it; {theirs}"
    return REPRODUCED if (low > 0) == (claimed > 0) else NOT_REPRODUCED, f"{told}; {theirs}"
