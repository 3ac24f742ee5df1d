"""`fabloom predict`: a trained segmenter on new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fabloom.progress import silent

from .main import JsonOption, StopRequest, StoreOption, app, conclude, display, load_registry
from .output import emit_json, say


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A segmenter of unet.train: KEY, or a ref such as line-pair/champion.")],
    images: Annotated[str, typer.Argument(metavar="FOLDER", help="Image files, read as images.load reads them; or one file.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="New folder for masks, overlays and tables.")],
    threshold: Annotated[float, typer.Option(help="A pixel is a defect where its probability is above this, between 0 and 1.")] = 0.5,
    min_area: Annotated[int, typer.Option(min=1, help="Fewest pixels of a defect.")] = 4,
    grey_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--grey-range", metavar="LOW HIGH", help="Images of more than 8 bits: values that become black and white."),
    ] = None,
    store: StoreOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_: JsonOption = False,
) -> None:
    """Find defects in new images with a trained segmenter.

    OUT gets `images.csv` (a line an image), `defects.csv` (a line a defect: file, class, box, area, score), `annotations.json` (COCO),
    `masks/` and `overlays/`, by the names of the images. Colour is made grey for a model of grey images. The same images and model again
    cost nothing but the writing.
    """
    from fabloom.flows.run.predict import predict_folder

    if not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold:g} is not between 0 and 1.", param_hint="--threshold")
    if grey_range is not None and not grey_range[0] < grey_range[1]:
        raise typer.BadParameter(f"{grey_range[0]:g} {grey_range[1]:g} does not rise.", param_hint="--grey-range")
    registry, stop = load_registry(), StopRequest()
    load = {"grey_range": list(grey_range)} if grey_range is not None else {}
    with display(json_) as live:
        result, found = predict_folder(
            model, images, out, load=load, segment={"threshold": threshold, "min_area": min_area}, store=store, device=device,
            registry=registry, emit=live.emit if live is not None else silent, stop=stop,
        )  # fmt: skip
    if json_:
        emit_json({**result.as_dict(), "found": dict(found), "out": str(Path(out).absolute()) if found else None})
    conclude(result, live, None)
    if found and not json_:
        say(f"{found['defects']} defects in {found['with defects']} of {found['images']} images: {out}")
    raise typer.Exit(result.exit_code)
