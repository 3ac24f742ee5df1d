"""The page of a run: one self-contained HTML file, rendered from plan, manifests and artifacts. A view: it has no key.

Nothing is fetched from anywhere and nothing runs: styles, pictures and charts are inline, and the page says so to the browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import write_durably
from fabloom.flows.report.draw.graph import draw
from fabloom.flows.report.draw.markup import anchor, code, duration, guarded, problem, section, size, table, text
from fabloom.flows.report.draw.pictures import SHOWN, png_data_uri
from fabloom.flows.report.draw.reduction import reduced
from fabloom.flows.report.draw.style import CSS
from fabloom.kinds import Exhibit, Table
from fabloom.kinds.metric import is_number
from fabloom.method import PlannedStep, StepResult
from fabloom.planning.plan import Plan
from fabloom.regular import clear, is_plain

from . import exhibits, provenance
from .numbers import Headline, comparisons, headline, number, told, words

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

__all__ = ["markdown_summary", "png_data_uri", "write_page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
DONE = ("ran", "reused")
MANY, FEW = 4, 8
"""Results (and half the image sets) that are shown open, and the samples of a set where there are more."""


def write_page(path: Path, plan: Plan, results: list[StepResult], store: Store) -> None:
    """Render the page of a run to `path`, replacing it as a whole. A damaged artifact shows its error in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_plain(path):
        clear(path)
    write_durably(path, Page(plan, results, store).render().encode())


@dataclass(frozen=True)
class Shown:
    """What a step's artifact has to show: its exhibits, and why there are no more of them ('' where all are there)."""

    step: PlannedStep
    exhibits: tuple[Exhibit, ...]
    problem: str = ""

    def of(self, section: str) -> tuple[Exhibit, ...]:
        """Those for a section of the page."""
        return tuple(exhibit for exhibit in self.exhibits if exhibit.section == section)

    @property
    def breaks_in(self) -> str:
        """The section where the problem is told: that of the last exhibit before it."""
        return (self.exhibits[-1].section if self.exhibits else "data") if self.problem else ""


class Page:
    """One page: what is known of the run, and a method for each section."""

    def __init__(self, plan: Plan, results: Sequence[StepResult], store: Store) -> None:
        self.plan, self.store = plan, store
        self.results = {r.name: r for r in results}
        self.done = [step for step in plan.steps if step.name in self.results and self.results[step.name].status in DONE]
        self.manifests: dict[str, dict[str, Any]] = {}
        self.damage: dict[str, str] = {}
        for step in self.done:
            try:
                self.manifests[step.name] = store.manifest(step.key)
            except Exception as error:
                self.damage[step.name] = f"{type(error).__name__}: {error}"
        self.shown = [self._shown(step) for step in self.done]

    def render(self) -> str:
        """The whole document."""
        parts = {
            "Result": (self.result, ""),
            "What ran": (self.what_ran, "From top to bottom; an arrow says what is made from what."),
            "Images": (self.images, ""),
            "Defects": (self.defects, "Where the masks of each set lie: the colours run from 0 to the largest share of that set."),
            "Training": (self.training, "Logarithmic where all values are positive. Thin: as logged; bold: running mean."),
            "Models and data": (self.models, ""),
            "Settings": (self.settings, "Every parameter of every step; bold where the pipeline sets it, otherwise the default."),
            "Lineage": (
                self.lineage,
                "What everything was made from. Equal keys ask for the same thing; equal digests are the same bytes.",
            ),
            "Reproduce": (self.reproduce, ""),
        }
        made = {title: section(title, guarded(make), hint) for title, (make, hint) in parts.items()}
        made = {title: body for title, body in made.items() if body}
        links = "".join(f'<a href="#{anchor(title)}">{text(title)}</a>' for title in made)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{text(self.plan.pipeline.name)} · fabloom</title>'
            f"<style>{CSS}</style></head><body>{guarded(self.header)}<nav><div>{links}</div></nav>\n<main>"
            + "\n".join(made.values())
            + "<footer>Rendered by fabloom from the store. A view: remove it freely, the run makes it again.</footer>"
            "</main></body></html>\n"
        )

    def _shown(self, step: PlannedStep) -> Shown:
        """The exhibits of a step's artifact, as far as they can be made: a kind may be a third party's, and bytes may be damaged."""
        if step.name in self.damage:
            return Shown(step, (), self.damage[step.name])
        made: list[Exhibit] = []
        try:
            for exhibit in self.store.get(step.key).exhibits():
                made.append(exhibit)  # noqa: PERF402  those before a failure are kept
        except Exception as error:
            return Shown(step, tuple(made), f"This part cannot be shown. {type(error).__name__}: {error}")
        return Shown(step, tuple(made))

    def _of(self, section: str) -> list[Shown]:
        return [shown for shown in self.shown if shown.of(section) or shown.breaks_in == section]

    def _drawn(self, shown: Shown, section: str, most: int = SHOWN) -> str:
        """The exhibits of one artifact for a section; one that cannot be drawn shows its error."""
        parts = [
            guarded(lambda exhibit=exhibit: exhibits.drawn(shown.step.name, exhibit, most))  # type: ignore[misc]
            for exhibit in shown.of(section)
        ]
        return "".join([*parts, problem(shown.problem) if shown.breaks_in == section else ""])

    def _summary(self, shown: Shown) -> str:
        """What the artifact is and holds, and the room it takes."""
        manifest = self.manifests.get(shown.step.name)
        if manifest is None:
            return ""
        kind = shown.step.spec.output
        taken = size(sum(int(entry[0]) for entry in manifest["files"].values()))
        return f'<p class="soft">{text(kind.kind)}: {guarded(lambda: text(kind.summarise(manifest)))}, {text(taken)} in the store</p>'

    def _seconds(self, name: str) -> float:
        """How long the artifact took to make, in this run or an earlier one."""
        made = self.manifests.get(name, {}).get("seconds", 0.0)
        return float(made) if is_number(made) else self.results[name].seconds

    def main_result(self) -> Headline | None:
        """What to read first: of the last result that says what it is about."""
        for shown in reversed(self._of("result")):
            for exhibit in shown.of("result"):
                found = headline(exhibit.metrics)
                if found is not None:
                    return found
        return None

    def header(self) -> str:
        """Name, headline in words, headline numbers."""
        pipeline, results = self.plan.pipeline, list(self.results.values())
        counts = [(status, sum(r.status == status for r in results)) for status in ("ran", "reused", "failed", "skipped")]
        listed = ", ".join(f"{many} {status}" for status, many in counts if many)
        cards, lead = [], ""
        found = self.main_result()
        if found is not None:
            lead = f'<p class="lead">{text(found)} {text(found.verdict())}</p>'
            for place, (name, metric) in enumerate(found.entries[:4]):
                value, _, interval = told(metric).partition(" ")
                between = f" {interval}" if interval else ""
                label = f"{words(name)} · " * bool(name) + f"{words(found.metric)}{between}"
                cards.append(f'<div class="card{" first" if place == 0 else ""}"><b>{text(value)}</b><span>{text(label)}</span></div>')
        for name, message in [(r.name, r.error) for r in results if r.status == "failed"]:
            lead += problem(f"Step '{name}' failed: {message}")
        total = sum(self._seconds(step.name) for step in self.done)
        cards.append(f'<div class="card"><b>{text(duration(total))}</b><span>of work in {len(results)} steps · {text(listed)}</span></div>')
        return (
            f'<header><div><div class="kicker">fabloom run · seed {pipeline.seed}</div><h1>{text(pipeline.name)}</h1>'
            f'<p class="soft">{text(pipeline.description.strip())}</p>{lead}<div class="cards">{"".join(cards)}</div></div></header>'
        )

    def result(self) -> str:
        """All of every report, the last one first: it is what the pipeline is for. Of many, the others are folded."""
        found = list(reversed(self._of("result")))
        return "".join(
            _titled(shown.step, self._drawn(shown, "result"), f"report-{shown.step.name}", fold=len(found) > MANY and shown is not found[0])
            for shown in found
        )

    def what_ran(self) -> str:
        """The DAG, and the steps with their times."""
        boxes: dict[str, tuple[Sequence[str], str]] = {}
        edges = []
        for step in self.plan.steps:
            for port, sources in self.plan.pipeline.steps[step.name].inputs.items():
                for source in [sources] if isinstance(sources, str) else sources:
                    if source.startswith(("ref:", "key:")):
                        boxes[source] = ((source[:24], "from the store"), "stored")
                    edges.append((source, step.name, port))
        longest = max((self._seconds(step.name) for step in self.done), default=0.0)
        rows = []
        for step in self.plan.steps:
            result = self.results.get(step.name)
            status = result.status if result else "skipped"
            took = self._seconds(step.name) if status in DONE else 0.0
            state = {"ran": f"ran in {duration(took)}", "reused": f"reused, made in {duration(took)}"}.get(status, status)
            boxes[step.name] = ((step.name, step.task, state), status)
            bar = f'<span class="time" style="width:{max(2, round(90 * took / longest))}px"></span>' if took and longest else ""
            shown = f'<span class="status {text(status)}">{text(status)}</span>'
            rows.append(
                [text(step.name), code(step.task), text(step.spec.output.kind), shown, f"{text(duration(took))}{bar}" if took else ""]
            )
        failures = "".join(problem(f"{r.name}: {r.error}") for r in self.results.values() if r.status in ("failed", "skipped"))
        drawn, arrows, left_out = reduced(boxes, edges)
        note = f'<p class="soft">{text(left_out)}</p>' if left_out else ""
        return (
            f'{note}<div class="scroll">{draw(drawn, arrows)}</div>'
            + table(["step", "task", "gives", "status", "took"], rows, ["", "", "", "", "nowrap"])
            + failures
        )

    def images(self) -> str:
        """Samples and statistics of every image set; of many sets fewer samples, and folded."""
        sets = self._of("images")
        many = len(sets) > 2 * MANY
        return "".join(
            _titled(shown.step, self._summary(shown) + self._drawn(shown, "images", FEW if many else SHOWN), fold=many) for shown in sets
        )

    def defects(self) -> str:
        """Maps of where defects are, beside each other."""
        maps = "".join(self._drawn(shown, "defects") for shown in self._of("defects"))
        return f'<div class="small">{maps}</div>' if maps else ""

    def training(self) -> str:
        """Curves of every step that logged some."""
        parts = []
        for step in self.done:
            drawn = guarded(lambda name=step.name: exhibits.curves(self.manifests.get(name, {})))  # type: ignore[misc]
            if drawn:
                parts.append(f"<h3>{text(step.name)} {code(step.task)}</h3>{drawn}")
        return "".join(parts)

    def models(self) -> str:
        """Weights, offline data, and whatever has no section of its own."""
        return "".join(_titled(shown.step, self._summary(shown) + self._drawn(shown, "data"), fold=False) for shown in self._of("data"))

    def settings(self) -> str:
        """All parameters of all steps."""
        parts = []
        for step in self.plan.steps:
            given = self.plan.pipeline.steps[step.name].params
            fields = type(step.params).model_fields
            values = step.params.model_dump(mode="json")
            rows = []
            for name, value in sorted(values.items(), key=lambda item: item[0] not in given):
                shown = text(number(value))
                cell = f"<b>{shown}</b>" if name in given else shown
                rows.append([code(name), cell, text((fields[name].description if name in fields else None) or "")])
            count = f"{len(given)} set, {len(values) - len(given)} default" if values else "no parameters"
            head = f'<summary>{text(step.name)} {code(step.task)}<span class="hint">{text(count)} · seed {step.seed}</span></summary>'
            parts.append(
                f"<details>{head}{table(['parameter', 'value', 'what it is'], rows, ['', '', 'long'], wide=True) if rows else ''}</details>"
            )
        return "".join(parts)

    def lineage(self) -> str:
        """What everything was made from."""
        return provenance.lineage(self.plan, self.store, self.manifests, self.damage)

    def reproduce(self) -> str:
        """The command and the pipeline."""
        return provenance.reproduce(self.plan.pipeline, list(self.manifests.values()))


def _titled(step: PlannedStep, body: str, name: str = "", *, fold: bool) -> str:
    """A part of the page under a step's name, which opens it where it is folded."""
    here = f' id="{text(name)}"' if name else ""
    if fold:
        return f"<details{here}><summary>{text(step.name)} {code(step.task)}</summary>{body}</details>"
    return f"<h3{here}>{text(step.name)} {code(step.task)}</h3>{body}"


def markdown_summary(metrics: Mapping[str, Any], tables: Mapping[str, Table] | None = None) -> str:
    """A report's numbers (plain or as Metrics) and tables as Markdown: the headline, then the comparisons."""
    found = headline(metrics)
    parts = [f"**{_plain(found)}** {_plain(found.verdict())}".rstrip()] if found else []
    for block in comparisons(metrics):
        rows = [[block.label(row), *map(told, cells)] for row, cells in block.rows.items()]
        parts.append(_markdown_table(words(block.title), ["metric", *map(words, block.columns)], rows))
    for title, t in (tables or {}).items():
        parts.append(_markdown_table(words(title), t.columns, [[number(cell) for cell in row] for row in t.rows]))
    return "\n\n".join(parts) + "\n"


def _markdown_table(title: str, columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    head = [f"### {_plain(title)}", ""] if title else []
    return "\n".join([*head, *("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)])


def _plain(value: Any) -> str:
    """Text that Markdown shows as it is: no tables, tags, links or emphasis begin in it."""
    return "".join("\\" + c if c in "\\`*_|[]" else c for c in text(" ".join(str(value).split())))
