"""Screenshots of the report page and of what `fabloom predict` writes, for docs/assets.

    python docs/make_screenshots.py [--store STORE] [--chromium chromium]

A segmenter is trained for one or two CPU minutes on simulated contact holes and judged on others. Then it looks at new images, in one
folder as a tool would leave them. What is in STORE (default build/screenshots) already is reused. Needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

import fabloom
from fabloom.flows.export.job import export_artifact
from fabloom.flows.run.predict import predict_folder

ASSETS = Path(__file__).parent / "assets"
LARGEST = 150_000
"""Bytes of a picture."""
HOLES: dict[str, Any] = {"size": 64, "noise_std": 3.0}
PIPELINE: dict[str, Any] = {
    "name": "contact-holes",
    "description": "A segmenter for missing, bridged, shrunk and displaced contact holes, from simulated images.",
    "steps": {
        "training": {"task": "contact-hole.simulate", "params": {**HOLES, "count": 240}},
        "held-out": {"task": "contact-hole.simulate", "params": {**HOLES, "count": 60}, "seed": 1},
        "tomorrow": {"task": "contact-hole.simulate", "params": {**HOLES, "count": 12}, "seed": 2},
        "segmenter": {"task": "unet.train", "inputs": {"images": "training"}, "params": {"steps": 150, "preset": "small"}},
        "report": {"task": "unet.evaluate", "inputs": {"images": "held-out", "model": "segmenter"}},
    },
}


def screenshot(chromium: str, page: Path, out: Path, width: int, height: int) -> None:
    """A picture of the top of a page, as PNG of as many colours as its size allows."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [chromium, "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={width},{height}"]
        subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True, timeout=120)
        picture = Image.open(shot).convert("RGB")
    for colours in (256, 128, 64, 32):
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, optimize=True)
        if out.stat().st_size <= LARGEST:
            break
    if out.stat().st_size > LARGEST:
        raise SystemExit(f"{out} has {out.stat().st_size:,} bytes, more than {LARGEST:,}; make it smaller")
    print(f"{out}: {out.stat().st_size:,} bytes")


def main() -> None:
    """Make what is to be seen, and the pictures of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("build/screenshots"))
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome") or "chromium")
    given = parser.parse_args()
    result = fabloom.run(PIPELINE, store=given.store, emit=lambda event: print(event.get("message", ""), file=sys.stderr))
    assert result.report_path is not None
    screenshot(given.chromium, result.report_path.absolute(), ASSETS / "report-page.png", 1180, 900)
    with tempfile.TemporaryDirectory() as folder:
        written, images, findings = (Path(folder) / name for name in ("written", "tomorrow", "findings"))
        export_artifact(fabloom.open_store(given.store), result["tomorrow"].key, written, "png")
        images.mkdir()
        for file in (file for part in ("clean", "defect") for file in (written / part).glob("*.png")):
            file.rename(images / f"hole_{file.name}")
        predict_folder("contact-holes:segmenter", images, findings, store=given.store)
        screenshot(given.chromium, findings / "index.html", ASSETS / "predictions.png", 1180, 900)


if __name__ == "__main__":
    main()
