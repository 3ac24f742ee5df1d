"""`fabloom new`: starting points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import emit_json, say
from .shared import JsonOption, StoreOption

commands = typer.Typer(name="new", no_args_is_help=True, help="Write a starting point, such as a plugin.")


@commands.command()
def plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters and digits in words joined by '-', as in my-weave.")],
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Write ./NAME/: a small installable package with a method that learns, a pipeline, and the conformance test.

    Its tests pass at once: `cd NAME`, `pip install -e '.[test]'`, `pytest`.
    """
    from fabloom.flows.scaffold import new_plugin
    from fabloom.registry import Registry

    files = new_plugin(name, Path.cwd(), Registry.load())
    if json_:
        emit_json({"folder": name, "files": [path.relative_to(Path.cwd()).as_posix() for path in files]})
        return
    for path in files:
        say(f"  {path.relative_to(Path.cwd())}")
    say(f"\nNext:  cd {name}\n       pip install -e '.[test]'\n       pytest\n       fabloom run {name}")
    say(f"\nThen make the method your own: {name}/README.md says what is where.")
