"""A page to look at findings with: overlays of images with defects, then of those that come closest, as plain HTML beside the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from fabloom.flows.report.draw.markup import text

SHOWN = 200
"""Most images on the page."""
POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"
STYLE = (
    "body{font:16px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}main{display:flex;flex-wrap:wrap;gap:1.5em}"
    "figure{margin:0;width:20em}img{width:100%;height:20em;object-fit:contain;background:#eee}figcaption{overflow-wrap:anywhere}"
)


@dataclass
class Gallery:
    """The page while images come; it keeps those that it will show and counts the others. `doubts` are what to know of all of them."""

    doubts: Sequence[str] = ()
    found: list[str] = field(default_factory=list)
    clean: list[tuple[float, str]] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, source: str, overlay: str, defects: int, score: float | None, kinds: Sequence[str] = ()) -> None:
        """An image by the name of its source, the relative path of its overlay, and what was found: `kinds` are the defects' classes."""
        self.counts[defects > 0] += 1
        if defects and len(self.found) < SHOWN:
            self.found.append(figure(source, overlay, defects, score, kinds))
        if not defects:
            self.clean.append((score or 0.0, figure(source, overlay, defects, score, kinds)))
        if len(self.clean) > 2 * SHOWN:
            self.clean = self.closest()

    def closest(self) -> list[tuple[float, str]]:
        """Images without a defect by their score, the largest first: what was nearly an alarm is looked at before what is surely clean."""
        return sorted(self.clean, key=lambda one: -one[0])[:SHOWN]

    def write(self, path: Path) -> None:
        """Write the page: images with defects in the order of the table, then the others by their score, `SHOWN` of them at most."""
        clean = self.closest()
        shown, images = [*self.found, *(one for _, one in clean)][:SHOWN], sum(self.counts)
        said = f"{self.counts[1]} of {images} images have defects."
        said += " The others follow, the largest score first." if self.found and any(score for score, _ in clean) else ""
        said += f" The first {SHOWN} are shown." if images > SHOWN else ""
        doubts = "".join(f'<p role="note"><b>Note:</b> {text(line)}.</p>' for line in self.doubts)
        page = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>Findings</title><style>{STYLE}</style></head>\n'
            f"<body><h1>Findings</h1><p>{said}</p>{doubts}<main>\n{''.join(shown)}</main></body></html>\n"
        )
        path.write_text(page, encoding="utf-8")


def figure(source: str, overlay: str, defects: int, score: float | None, kinds: Sequence[str] = ()) -> str:
    """One image with its caption; classes are named where they say more than that it is a defect."""
    link, count = text(quote(overlay)), f"{defects or 'no'} defect{'s' * (defects != 1)}"
    if told := [kind for kind in dict.fromkeys(kinds) if kind != "defect"]:
        count += f" ({text(', '.join(told))})"
    surest = "" if score is None else f", largest score {score}"
    picture = f'<a href="{link}"><img src="{link}" alt="" loading="lazy"></a>'
    return f"<figure>{picture}<figcaption><b>{text(source)}</b><br>{count}{surest}</figcaption></figure>\n"
