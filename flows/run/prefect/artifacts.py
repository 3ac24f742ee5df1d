"""What Prefect's pages show of a run that has ended: its report, its metrics as a table, a picture, and where its page is.

Each has a key of the pipeline's own, so that what Prefect shows under it is the history of one thing. All of it is bounded, and losing it
costs no run: what was made is in the store.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import httpx
from prefect.artifacts import create_image_artifact, create_link_artifact, create_markdown_artifact, create_table_artifact

from fabloom.flows.run.result import RunResult
from fabloom.running.engine import Engine

from .outage import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabloom.kinds import Artifact, Report

log = logging.getLogger("fabloom")

MARKDOWN_ROOM = 150_000
"""Characters of the report with its pictures."""
PICTURE_ROOM = 100_000
"""Characters of a picture."""
ROWS = 200
"""Rows of the table of metrics."""
SHOWN = 24
"""Samples of the picture."""


def publish(result: RunResult, engine: Engine, note: str = "") -> None:
    """Show the run. Whatever fails is logged, and the rest is shown where there is still a server to show it to."""
    line = slug(result.plan.pipeline.name)
    report: Report | None = None
    try:
        report = report_of(result, engine)  # once: it may be far away
    except Exception as error:
        log.warning("the report of %s cannot be read: %s", result.run, reason(error))
    for show in (_report, _metrics, _samples, _page):
        try:
            show(result, engine, report, line, " – ".join(filter(None, (result.run, note))))
        except httpx.TransportError as error:
            log.warning("%s cannot be shown in Prefect any more: %s", result.run, reason(error))
            return
        except Exception as error:
            log.warning("the %s of %s cannot be shown in Prefect: %s", show.__name__.strip("_"), result.run, reason(error))


def slug(name: str) -> str:
    """What Prefect admits as the key of an artifact.

    >>> slug("Line pair/v2")
    'line-pair-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "pipeline"


def report_of(result: RunResult, engine: Engine) -> Report | None:
    """The last report of the run that is there."""
    key = next((step.key for step in reversed(result.steps) if step.kind == "Report" and step.status in ("ran", "reused")), None)
    return cast("Report", engine.store.get(key)) if key is not None else None


def _report(result: RunResult, engine: Engine, report: Report | None, line: str, described: str) -> None:
    """Numbers, tables and pictures of the last report, then the steps."""
    from fabloom.flows.report.draw.encoding import data_uri
    from fabloom.flows.report.markdown import markdown_summary

    parts = [markdown_summary(report.described, report.tables)[: MARKDOWN_ROOM // 2]] if report is not None else []
    room = MARKDOWN_ROOM - sum(map(len, parts))
    for title, pixels in report.pictures.items() if report is not None else ():
        drawn = f"### {title}\n![{title}]({data_uri(pixels, min(room, PICTURE_ROOM))})"
        if len(drawn) < room:
            parts.append(drawn)
            room -= len(drawn)
    rows = [f"| {one.name} | {one.task} | {one.outcome} | {one.seconds:.1f} | `{one.key[:12]}` |" for one in result.steps[:ROWS]]
    parts.append("\n".join(["### Steps", "| step | task | | seconds | key |", "| --- | --- | --- | --- | --- |", *rows]))
    if not report_url() and result.report_path is not None:
        parts.append(f"The page with everything: `{result.report_path}`")
    create_markdown_artifact("\n\n".join(parts), key=f"{line}-report", description=described)


def _metrics(result: RunResult, engine: Engine, report: Report | None, line: str, described: str) -> None:
    """The last report's metrics, a row each."""
    from fabloom.kinds.metric import leaves

    if report is None:
        return
    rows = [
        {
            "metric": " / ".join(path), "value": one.value, "low": one.interval[0] if one.interval else None,
            "high": one.interval[1] if one.interval else None, "unit": one.unit, "better": one.better,
        }
        for path, one in leaves(report.described).items()
    ]  # fmt: skip
    create_table_artifact(rows[:ROWS], key=f"{line}-metrics", description=described)


def _samples(result: RunResult, engine: Engine, report: Report | None, line: str, described: str) -> None:
    """The first samples of the last images that the run made."""
    from fabloom.flows.report.draw.pictures import sample_sheet

    for artifact in _images(result, engine):
        for exhibit in artifact.exhibits():
            if exhibit.samples is not None and len(exhibit.samples):
                sheet = sample_sheet(exhibit.samples, None, 8, SHOWN, room=PICTURE_ROOM)
                create_image_artifact(sheet.uri, key=f"{line}-samples", description=described)
                return


def _images(result: RunResult, engine: Engine) -> Iterator[Artifact]:
    """Artifacts with images, the last first."""
    for step in reversed(result.steps):
        if step.status in ("ran", "reused") and step.kind == "ImageSet":
            yield engine.store.get(step.key)


def _page(result: RunResult, engine: Engine, report: Report | None, line: str, described: str) -> None:
    """A link to the run's page, where somebody serves the pages: browsers do not follow file:// from there."""
    url = report_url()
    if url and result.report_path is not None:
        create_link_artifact(f"{url}/{quote(result.report_path.name)}", link_text=result.run, key=f"{line}-page", description=described)


def report_url() -> str:
    """Where the folder of report pages is served, without a slash at its end; '' where FABLOOM_REPORT_URL does not say."""
    url = os.environ.get("FABLOOM_REPORT_URL", "").rstrip("/")
    return url if re.match(r"https?://", url) else ""
