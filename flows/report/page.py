"""The page of a run: one self-contained HTML file, rendered from plan, manifests and artifacts. A view: it has no key.

Nothing is fetched from anywhere and nothing runs: styles, pictures and charts are inline, and the page says so to the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fabloom.durable import write_durably
from fabloom.flows.report.draw.graph import draw
from fabloom.flows.report.draw.markup import anchor, code, duration, guarded, problem, section, size, table, text
from fabloom.flows.report.draw.pictures import SHEET_ROOM, SHOWN
from fabloom.flows.report.draw.reduction import reduced
from fabloom.kinds import Exhibit
from fabloom.kinds.metric import is_number
from fabloom.method import PlannedStep, StepResult
from fabloom.planning.plan import Plan
from fabloom.regular import clear, is_plain

from . import exhibits, provenance
from .numbers import Headline, headline, number, told, words
from .shown import FEW, Shown, common_grey, views
from .templating import rendered

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
DONE = ("ran", "reused")
SHEETS_ROOM = 900_000
"""Characters that all sheets of samples may take."""
USUAL = exhibits.Room()
MANY = 4
"""Results (and half the image sets) that are shown open."""


def write_page(path: Path, plan: Plan, results: list[StepResult], store: Store) -> None:
    """Render the page of a run to `path`, replacing it as a whole. A damaged artifact shows its error in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_plain(path):
        clear(path)
    write_durably(path, Page(plan, results, store).render().encode())


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
        self.grey = common_grey(self.shown)
        self.views, self.unseen = views(self.shown, self.grey)

    def render(self) -> str:
        """The whole document."""
        parts = {
            "Result": (self.result, ""),
            "Test images": (self.judged, ""),
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
        return rendered(
            "page.html",
            title=self.plan.pipeline.name,
            policy=POLICY,
            header=Markup(guarded(self.header)),  # noqa: S704  made of templates and escaped text
            anchors={title: anchor(title) for title in made},
            parts=[Markup(body) for body in made.values()],  # noqa: S704  the same
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

    def _drawn(self, shown: Shown, section: str, room: exhibits.Room = USUAL) -> str:
        """The exhibits of one artifact for a section; one that cannot be drawn shows its error."""
        name = shown.step.name
        parts = [
            guarded(lambda exhibit=exhibit: exhibits.drawn(name, exhibit, room))  # type: ignore[misc]
            for exhibit in shown.of(section)
            if exhibit.gallery is None
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

    def main_result(self) -> tuple[Headline | None, str]:
        """What to read first, of the last result that says what it is about, and what its author says that it shows."""
        for shown in reversed(self._of("result")):
            for exhibit in shown.of("result"):
                found = headline(exhibit.metrics)
                if found is not None:
                    return found, exhibit.verdict
        return None, ""

    def header(self) -> str:
        """What failed, the headline in words, the images to look at first, and the headline numbers."""
        results = list(self.results.values())
        counts = [(status, sum(r.outcome == status for r in results)) for status in ("ran", "reused", "failed", "stopped", "skipped")]
        found, verdict = self.main_result()
        cards = []
        for name, metric in found.entries[:4] if found else ():
            value, _, interval = told(metric).partition(" ")
            cards.append((value, f"{words(name)} · " * bool(name) + words(found.metric) + f" {interval}" * bool(interval)))  # type: ignore[union-attr]
        last = next(reversed(self.views.values()), None)
        return rendered(
            "header.html",
            pipeline=self.plan.pipeline,
            failures=[f"Step '{r.name}' failed: {r.error}" for r in results if r.outcome == "failed"],
            lead=found.lead(verdict) if found else [],
            leaning=found.leaning() if found else "",
            cards=cards,
            view=last,
            pictures=[] if last else self._leading(),
            total=duration(sum(self._seconds(step.name) for step in self.done)),
            steps=len(results),
            listed=", ".join(f"{many} {status}" for status, many in counts if many),
        )

    def _leading(self) -> list[Markup]:
        """The first picture of the last report that has one, where no images were judged one by one."""
        for shown in reversed(self._of("result")):
            for exhibit in shown.of("result"):
                if exhibit.picture is not None:
                    return [Markup(guarded(lambda e=exhibit: exhibits.picture(e.title, e.picture, e.caption)))]  # type: ignore[misc]  # noqa: S704
        return []

    def result(self) -> str:
        """All of every report, the last one first: it is what the pipeline is for. Of many, the others are folded."""
        found = list(reversed(self._of("result")))
        return "".join(
            _titled(
                shown.step,
                self._given(shown.step) + self._drawn(shown, "result"),
                f"report-{shown.step.name}",
                fold=len(found) > MANY and shown is not found[0],
            )
            for shown in found
        )

    def _given(self, step: PlannedStep) -> str:
        """Which steps a report means by its inputs, such as model and baseline; of long lists how many."""
        inputs = self.plan.pipeline.steps[step.name].inputs
        named = [
            f"{port}: {one if isinstance(one, str) else f'{len(one)} steps' if len(one) > MANY else ', '.join(one)}"
            for port, one in inputs.items()
        ]
        return f'<p class="soft">{text(" · ".join(named))}</p>' if named else ""

    def judged(self) -> str:
        """The images that reports judged one by one, the last report first."""
        found = [shown.step for shown in reversed(self._of("result")) if shown.step.name in self.views | self.unseen]
        return "".join(_titled(step, self._gallery(step.name), fold=place > 0) for place, step in enumerate(found))

    def _gallery(self, name: str) -> str:
        if name in self.unseen:
            return problem(self.unseen[name])
        return guarded(lambda: rendered("gallery.html", v=self.views[name]))

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
            status = result.outcome if result else "skipped"
            took = self._seconds(step.name) if status in DONE else 0.0
            state = {"ran": f"ran in {duration(took)}", "reused": f"reused, made in {duration(took)}"}.get(status, status)
            boxes[step.name] = ((step.name, step.task, state), status)
            bar = f'<span class="time" style="width:{max(2, round(90 * took / longest))}px"></span>' if took and longest else ""
            shown = f'<span class="status {text(status)}">{text(status)}</span>'
            rows.append(
                [text(step.name), code(step.task), text(step.spec.output.kind), shown, f"{text(duration(took))}{bar}" if took else ""]
            )
        bad = [r for r in self.results.values() if r.status in ("failed", "skipped")]
        failures = "".join(
            f'<p class="soft">{text(f"{r.name}: {r.error}")}</p>' if r.outcome == "stopped" else problem(f"{r.name}: {r.error}")
            for r in bad
        )
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
        parts = []
        for shown in sets:
            grey = self.grey.get(shown.step.name)
            room = exhibits.Room(FEW if many else SHOWN, min(SHEET_ROOM, SHEETS_ROOM // len(sets)), grey)
            parts.append(_titled(shown.step, self._summary(shown) + self._drawn(shown, "images", room), fold=many))
        return "".join(parts)

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
