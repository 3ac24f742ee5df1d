"""`fabloom predict`: a trained segmenter on new images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabloom.progress import silent

from .init import parameter
from .output import emit_json, say
from .shared import JsonOption, StoreOption, conclude, display, load_registry
from .stopping import StopRequest

if TYPE_CHECKING:
    from fabloom.flows.export.klarf import Sheet

commands = typer.Typer()


@commands.command()
def predict(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A segmenter of unet.train or memory-bank.fit: a KEY, a ref, a step of the newest run such as segmenter, or RUN:STEP.",
        ),
    ],
    images: Annotated[str, typer.Argument(metavar="FOLDER", help="Image files, read as images.load reads them; or one file.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="New folder for masks, overlays and tables.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="A pixel is a defect where its probability is above this, between 0 and 1; by default the model's own."),
    ] = None,
    min_area: Annotated[int, typer.Option(min=1, help="Fewest pixels of a defect.")] = 4,
    grey_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--grey-range", metavar="LOW HIGH", help="Images of more than 8 bits: values that become black and white."),
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            "--load",
            metavar="NAME=VALUE",
            help="Any other parameter of images.load, such as info_bar=false; by default as the training images were read. Repeatable.",
        ),
    ] = None,
    table: Annotated[str, typer.Option(help="csv, or parquet, which needs pyarrow.")] = "csv",
    klarf: Annotated[str | None, typer.Option(metavar="1.2|1.8", help="Write a KLARF of this version too; needs --pixel-nm.")] = None,
    pixel_nm: Annotated[float | None, typer.Option("--pixel-nm", metavar="NM", help="Side of a pixel on the wafer, for --klarf.")] = None,
    klarf_field: Annotated[
        list[str] | None,
        typer.Option(
            "--klarf-field",
            metavar="NAME=VALUE",
            help="What images cannot know: lot, wafer, device, setup, step, station, slot, pitch_x_nm, pitch_y_nm. Repeat it.",
        ),
    ] = None,
    klarf_dies: Annotated[
        Path | None,
        typer.Option("--klarf-dies", metavar="CSV", help="Which die an image shows: columns file, x, y, perhaps left_nm, bottom_nm."),
    ] = None,
    store: StoreOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json_: JsonOption = False,
) -> None:
    """Find defects in new images with a trained segmenter.

    OUT gets `images.csv` (a line an image), `defects.csv` (a line a defect: file, class, box, area, score), `annotations.json` (COCO),
    `masks/` and `overlays/`, by the names of the images, `index.html` to look at them, and with `--klarf` `defects.klarf`, the list that
    review stations read. The threshold is the one that was chosen while the model was trained, for its stated rate of false alarms.
    Images are read as those of the training were: the same data bar is cut off, and 16 bits get the same range of grey. Colour is made grey
    for a model of grey images. The same images and model again cost nothing but the writing.
    """
    from fabloom.flows.run.predict import predict_folder

    if threshold is not None and not 0 < threshold < 1:
        raise typer.BadParameter(f"{threshold:g} is not between 0 and 1.", param_hint="--threshold")
    if grey_range is not None and not grey_range[0] < grey_range[1]:
        raise typer.BadParameter(f"{grey_range[0]:g} {grey_range[1]:g} does not rise.", param_hint="--grey-range")
    sheet = head(klarf, pixel_nm, klarf_field or [], klarf_dies)
    registry, stop = load_registry(), StopRequest()
    read = dict(parameter(word) for word in load or []) | ({"grey_range": list(grey_range)} if grey_range is not None else {})
    segment = {"min_area": min_area} | ({"threshold": threshold} if threshold is not None else {})
    with display(json_) as live:
        result, found = predict_folder(
            model, images, out, load=read, segment=segment, table=table, klarf=sheet, store=store, device=device,
            registry=registry, emit=stop.watching(live.emit, live.say) if live is not None else stop.watching(silent), stop=stop,
        )  # fmt: skip
    if json_:
        emit_json({**result.as_dict(), "found": dict(found), "out": str(Path(out).absolute()) if found else None})
    conclude(result, live, None)
    if found and not json_ and result.store is not None:
        for line in result.store.get(result.steps[-1].key).attrs.get("doubts", []):
            say(f"Note: {line}.")
        say(f"{found['defects']} defects in {found['with defects']} of {found['images']} images: {Path(out) / 'index.html'}")
    raise typer.Exit(result.exit_code)


def head(version: str | None, pixel_nm: float | None, given: list[str], dies: Path | None) -> Sheet | None:
    """The head of the KLARF that is asked for; None where none is. Raises UserError where it is not said in full."""
    from fabloom.flows.export.klarf import VERSIONS, Sheet, read_dies

    if version is None:
        if pixel_nm is not None or given or dies is not None:
            raise typer.BadParameter("say which: --klarf 1.2 or --klarf 1.8.", param_hint="--klarf")
        return None
    if version not in VERSIONS:
        raise typer.BadParameter(f"'{version}' is not {' or '.join(VERSIONS)}.", param_hint="--klarf")
    if pixel_nm is None or not 0 < pixel_nm < 1e9:
        raise typer.BadParameter("a KLARF holds positions on the wafer: give the side of a pixel in nanometres.", param_hint="--pixel-nm")
    return Sheet(version, pixel_nm, dies={} if dies is None else read_dies(dies)).with_fields(given)
