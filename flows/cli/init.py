"""`fabloom init`: a pipeline for a folder of images, or a file of wafer maps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fabloom.errors import UserError

from .output import emit_json, quiet_stdout, say
from .shared import JsonOption, StoreOption, load_registry

if TYPE_CHECKING:
    from fabloom.method import Survey

commands = typer.Typer()


@commands.command()
def init(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="Your images: flat, in clean/ and defect/, with masks/, and others; or an npz of wafer maps."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="FILE", help="The pipeline to write; nothing is overwritten.")
    ] = "pipeline.yaml",
    layout: Annotated[str | None, typer.Option("--layout", metavar="NAME", help="How the folder is laid out, where several fit.")] = None,
    masks: Annotated[
        str | None, typer.Option("--masks", metavar="FOLDER", help="Folder of masks that carry the names of the images.")
    ] = None,
    clean: Annotated[list[str] | None, typer.Option("--clean", metavar="PATTERN", help="File names that are clean. Repeatable.")] = None,
    defect: Annotated[
        list[str] | None, typer.Option("--defect", metavar="PATTERN", help="File names that have a defect. Repeatable.")
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            "--load",
            metavar="NAME=VALUE",
            help="Any other parameter of images.load or wafer-map.load: crop_bottom=60, 'grey_range=[0, 4095]'. Repeatable.",
        ),
    ] = None,
    structure: Annotated[
        Literal["registered", "free"] | None,
        typer.Option(help="registered: all images show the same at the same pixels. free: they do not. Default: measured."),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            "--test", metavar="FOLDER|same", help="Other images, or maps, to score on; or variations of the same ones. Default: held out."
        ),
    ] = None,
    generator: Annotated[
        str | None, typer.Option("--generator", metavar="METHOD|none", help="A one-shot method, or none. Default: sinsemi where it fits.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option("--tile", min=0, help="Side of squares to learn from, 0 for whole images. Default: by size.")
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Look at a folder of images and write a pipeline for it, with the reasons as comments. Then `fabloom run FILE`.

    Looked at: layout, sizes, depth, masks, which images are clean; and from pixels a lattice, whether images are registered, and under
    which flips they look the same. What is not clear is refused with the option that decides. Nothing is trained.

    Without masks, labels are the difference to a reference, or to the clean images where all are registered. Where neither is there, which
    images have a defect is all that is learned from, as in the pipeline `weak-labels`, if there are enough of them. A file of wafer maps
    (MixedWM38, WM-811K as converted) gets a pipeline after `wafer-patterns`, by its own labels.
    """
    from fabloom.flows.init.asking import survey, survey_test
    from fabloom.flows.init.choosing import choose
    from fabloom.flows.init.draft import Answers
    from fabloom.flows.init.words import found_in_words
    from fabloom.flows.init.writing import check_free, content, write

    path = Path(out)
    if not Path(folder).exists():
        raise UserError(f"'{folder}' does not exist. Give the folder of your images, one image file, or a file of wafer maps.")
    check_free(path)
    given: dict[str, Any] = {"layout": layout, "masks": masks and str(Path(masks).absolute()), "clean": clean, "defect": defect}
    given = {name: value for name, value in given.items() if value} | dict(parameter(word) for word in load or [])
    registry = load_registry()
    with quiet_stdout():
        found = survey(registry, Path(folder), given)
        other = survey_test(registry, Path(test).absolute(), found) if test not in (None, "same") else None
    if not json_:
        say(f"Found in {folder}")
        for line in found_in_words(found):
            say(f"  {line}")
    answers = Answers(structure, str(Path(test).absolute()) if test not in (None, "same") else test, generator, tile)
    try:
        draft = choose(found, answers, registry, other)
    except UserError as error:
        if json_:
            emit_json({"found": described(found), "chosen": [], "pipeline": None, "written": None, "refused": str(error)})
        raise
    write(path, draft, Path(folder))
    if json_:
        pipeline = content(draft, Path(folder))
        emit_json({"found": described(found), "chosen": draft.chosen, "pipeline": pipeline, "written": str(path), "refused": None})
        return
    say("\nChosen")
    for line in draft.chosen:
        say(f"  {line}")
    say(f"\nWritten: {out}\nNext:    fabloom run {out}")


def parameter(word: str) -> tuple[str, Any]:
    """Name and value of `--load NAME=VALUE`; the value is YAML."""
    from fabloom import plain_yaml

    name, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"--load '{word}': write it as NAME=VALUE")
    try:
        return name.strip(), plain_yaml.load(text)
    except plain_yaml.NotPlain as error:
        raise UserError(f"--load '{word}': the value cannot be read as YAML: {error}") from error


def described(found: Survey) -> dict[str, Any]:
    """What was found as JSON data."""
    data = asdict(found)
    return data | {"sizes": [{"height": height, "width": width, "images": count} for (height, width), count in found.sizes.items()]}
