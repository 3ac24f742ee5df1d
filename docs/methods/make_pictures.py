"""Make the pictures of the method pages: run the pipelines in pictures/ and draw what they gave.

python docs/methods/make_pictures.py                      all pictures, some twenty minutes on one core
python docs/methods/make_pictures.py line-pair images     these alone, seconds
python docs/methods/make_pictures.py --store FOLDER       keep what was made; a second run then reuses it

All images are simulated: a page must not carry what its maker gave no licence for. Everything runs on the CPU with one thread and the
seeds of the pipelines, so that the same machine gives the same pictures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drawing

import fabloom
from fabloom.kinds import Artifact
from fabloom.pipeline import Pipeline

FOLDER = Path(__file__).parent / "pictures"
Made = Mapping[str, Any]
"""Artifacts by the names of their steps."""


@dataclass(frozen=True)
class Picture:
    """Where a method's picture comes from: a pipeline in pictures/ and how to draw what its steps gave, as uint8 [h,w,3]."""

    pipeline: str
    draw: Callable[[Made], drawing.Sheet]


PICTURES = {
    "line-pair": Picture("line-pair", lambda made: drawing.grid(drawing.classes(made["images"], 2))),
    "contact-hole": Picture("contact-hole", lambda made: drawing.grid([drawing.classes(s, 1)[1] for s in made.values()])),
    "sram-cell": Picture("sram-cell", lambda made: drawing.grid(drawing.classes(made["images"], 1))),
    "wafer-map": Picture("wafer-map", lambda made: drawing.wafers(made["images"])),
    "ikddit": Picture("ikddit", lambda made: drawing.ensembles(made["test"], made["drawn"])),
    "overlay-map": Picture("overlay-map", lambda made: drawing.overlay(made["maps"])),
    "sem-etch": Picture("sem-etch", lambda made: drawing.grid([row for s in made.values() for row in drawing.classes(s, 1, 3)])),
    "images": Picture("own-images", drawing.variations),
    "ddpm": Picture("simulated", drawing.by_domain),
    "autoencoder": Picture("latents", lambda made: drawing.larger(drawing.picture(made["survived"], "Images"), 3)),
    "denoising-circuits": Picture("simulated", drawing.shared_noise),
    "mean-flow": Picture("one-step-from-images", lambda made: drawing.beside(made, "one", "few")),
    "consistency": Picture("one-step-from-images", lambda made: drawing.beside(made, "taught", "untaught")),
    "unet": Picture("simulated", drawing.predictions),
    "sinsemi": Picture("one-image", lambda made: drawing.from_one_image(made, "sinsemi")),
    "sinddm": Picture("one-image", lambda made: drawing.from_one_image(made, "sinddm")),
    "sindiffusion": Picture("single-scale", lambda made: drawing.from_patches(made["images"], made["stretched"])),
    "sinfusion": Picture("single-scale", lambda made: drawing.from_patches(made["images"], made["cropped"])),
    "copy-paste": Picture("pastes", lambda made: drawing.pasted(made["images"], made["moved"])),
    "noise-paste": Picture("pastes", lambda made: drawing.pasted(made["images"], made["textured"])),
    "gpnn": Picture("patches", lambda made: drawing.from_patches(made["images"], made["rearranged"])),
    "gpdm": Picture("patches", lambda made: drawing.from_patches(made["images"], made["matched"])),
    "singan": Picture("adversarial", lambda made: drawing.from_patches(made["images"], made["chained"])),
    "consingan": Picture("adversarial", lambda made: drawing.from_patches(made["images"], made["grown"])),
    "memory-bank": Picture("clean-only", drawing.scored),
    "icddm": Picture("icddm", drawing.scored),
    "kdcddm": Picture("icddm", lambda made: drawing.scored({**made, "found": made["told"]})),
    "score-maps": Picture("clean-only", lambda made: drawing.picture(made["judged"], "Scores")),
    "inpaint": Picture("inpaint", drawing.painted),
    "reference-difference": Picture("labels", drawing.differences),
    "quality": Picture("one-image", drawing.heat),
    "leaderboard": Picture("one-image", drawing.board),
    "samplers": Picture("samplers", lambda made: drawing.larger(drawing.picture(made["table"], "Samples"), 3)),
    "curate": Picture("curate", drawing.choices),
}


def make(name: str, store: Path) -> dict[str, Artifact]:
    """Run the pipeline `name` of pictures/ in this process, on the CPU. Exits with the error of a step that fails."""
    opened = fabloom.open_store(store)
    result = fabloom.run(Pipeline.load(FOLDER / f"{name}.yaml"), store=opened, engine="inline", device="cpu", check=False)
    for step in result.steps:
        if step.error:
            sys.exit(f"{name}: step '{step.name}' failed: {step.error}")
    return {step.name: opened.get(step.key) for step in result.steps}


def render(name: str, store: Path) -> drawing.Sheet:
    """The picture of the method `name`, uint8 [h,w,3]."""
    return PICTURES[name].draw(make(PICTURES[name].pipeline, store))


def main() -> None:
    """Draw the pictures that are named, or all."""
    os.environ["FABLOOM_PLUGINS"] = ""  # what comes with fabloom, whatever else is installed here
    os.environ["FABLOOM_THREADS"] = "1"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; none: all")
    parser.add_argument("--store", type=Path, help="store to keep what is made; default a temporary one")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the PNG files, default docs/methods/pictures")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - PICTURES.keys())
    if unknown:
        parser.error(f"no picture is called {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or PICTURES:
            drawing.save(render(name, options.store or Path(folder)), options.to / f"{name}.png")


if __name__ == "__main__":
    main()
