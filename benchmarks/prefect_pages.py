"""Prefect's pages as a person sees them: fill in a deployment's form in a browser, and look at the run that comes of it.

    python benchmarks/prefect_pages.py [--pictures DIR] [--json]

A real server with its pages, a worker, and headless Chromium. Of the form: every parameter is there with its description, and arrives
typed. Of the run: its log, progress at 100, the table of metrics, the picture. `--pictures` keeps what was seen as PNG.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from browsing import Page, browser
from prefect_faults import wait_for
from production import Finding, Place, place_in

FIELD = """
(() => {
  const leaves = [...document.querySelectorAll("form *")].filter(e => !e.children.length);
  const named = leaves.filter(e => (e.innerText || "").trim().split(" (")[0] === %s);
  let box = named[0];
  while (box && !box.querySelector(%s)) box = box.parentElement;
  const field = box.querySelector(%s);
  field.scrollIntoView({block: "center"});
  const place = field.getBoundingClientRect();
  return [place.x + place.width / 2, place.y + place.height / 2];
})()
"""
TALL = 1900
"""Pixels of a window that holds the whole form."""


def field(page: Page, label: str, selector: str) -> None:
    """Click into the field of that label."""
    x, y = page.look(FIELD % (json.dumps(label), json.dumps(selector), json.dumps(selector)))
    page.press(x, y)
    time.sleep(0.7)


def fill(page: Page, place: Place, store: Path, pictures: Path | None) -> dict[str, object]:
    """Fill the form of the deployment in and send it off; what was written."""
    page.size(1280, TALL)
    page.open(f"{place.server.url.removesuffix('/api')}/v2/deployments/deployment/{place.deployment}/run", "checkpoint_seconds", 600)
    wanted = {
        "pipeline": str(place.pipeline), "store": str(store), "device": "cpu", "seed": 7, "overrides": ["steps.model.params.steps=41"],
        "redo": [], "keep_going": True, "workers": 1, "runner": "threads", "checkpoint_seconds": 30, "note": "new images since Monday",
    }  # fmt: skip
    for name in ("pipeline", "store", "note"):
        field(page, name, "textarea")
        page.write(str(wanted[name]))
    field(page, "seed", "input")
    page.write("7")
    field(page, "device", "button[aria-label='Select device']")
    page.click("[role=option]", "cpu")
    time.sleep(1)
    page.click("button", "Add item")
    time.sleep(1)
    field(page, "overrides", "textarea")
    page.write("steps.model.params.steps=41")
    field(page, "keep_going", "button[role=switch]")
    if pictures is not None:
        page.look("document.activeElement.blur()")
        page.picture(pictures / "form.png", 1280, 1500)
    page.size(1280, TALL)
    for _ in range(5):  # a loaded SQLite refuses at times, which the page says
        page.click("button", "Submit")
        for _ in range(20):
            time.sleep(1)
            if not str(page.look("location.href")).endswith("/run"):
                return wanted
    raise RuntimeError(f"the form cannot be sent: {page.look('document.body.innerText')}")


def form(page: Page, place: Place, pictures: Path | None) -> Finding:
    """The form, and the run that it begins."""
    finding, store = Finding("form"), place.server.folder / "form"
    began = time.monotonic()
    wanted = fill(page, place, store, pictures)
    page.ask("Page.navigate", url="about:blank")  # drawing costs while nobody looks
    run = place.server.ask("POST", "/flow_runs/filter", sort="EXPECTED_START_TIME_DESC", limit=1)[0]
    finding.check(run["parameters"] == wanted, f"arrived as {run['parameters']}")
    place.held()
    place.hold.unlink()
    place.held()
    place.hold.unlink()
    wait_for(lambda: place.ended(run["id"]), "the run ends", 1800)
    finding.seconds = round(time.monotonic() - began, 1)
    time.sleep(5)
    see(page, place, run["id"], finding, pictures)
    return finding


def see(page: Page, place: Place, run: str, finding: Finding, pictures: Path | None) -> None:
    """The pages of a run, and of its artifacts."""
    root = f"{place.server.url.removesuffix('/api')}/v2"
    ids = {one["key"]: one["id"] for one in place.artifacts(run)}
    sights = {
        "run": (f"runs/flow-run/{run}?tab=Logs", "made 6 images", 1300),
        "artifacts": (f"runs/flow-run/{run}?tab=Artifacts", "weave-metrics", 1000),
        "samples": (f"artifacts/artifact/{ids.get('weave-samples')}", "weave-samples", 760),
        "metrics": (f"artifacts/artifact/{ids.get('weave-metrics')}", "codes", 700),
        "report": (f"artifacts/artifact/{ids.get('weave-report')}", "fade.train", 1100),
    }
    for name, (path, text, height) in sights.items():
        page.size(1280, height)
        try:
            page.open(f"{root}/{path}", text, 120)
        except RuntimeError as error:
            finding.check(False, f"{name}: {error}")
        time.sleep(15 if "runs/" in path else 3)  # the graph is drawn late
        finding.check(not page.look("document.querySelectorAll(\"[href^='file:']\").length"), f"{name}: a link to a file")
        if pictures is not None:
            page.picture(pictures / f"{name}.png", 1280, height)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, help="a folder for what was seen")
    parser.add_argument("--json", action="store_true", help="print the finding as JSON")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="fabloom-pages-") as folder, place_in(Path(folder), pages=True) as place, browser() as page:
        finding = form(page, place, given.pictures)
    print(json.dumps(asdict(finding)) if given.json else f"form: {finding.seconds} s, {', '.join(finding.wrong) or 'sound'}")
    sys.exit(bool(finding.wrong))


if __name__ == "__main__":
    main()
