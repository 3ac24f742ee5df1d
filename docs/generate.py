"""Write the reference pages from the code, or check that they are what the code says.

python docs/generate.py            writes docs/reference/ and docs/drawings/
python docs/generate.py --check    writes nothing; exit 1 and a diff where a page is not up to date
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["FABLOOM_PLUGINS"] = ""  # what comes with fabloom, whatever else is installed here
os.environ["FABLOOM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

from generators import commands, contract, drawings, production, tasks
from generators.markdown import Undocumented

FOLDER = Path(__file__).parent
PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": commands.cli_page,
    "reference/environment.md": commands.environment_page,
    "reference/hooks.md": contract.hooks_page,
    "reference/kinds.md": contract.kinds_page,
    "reference/pipeline.md": tasks.pipeline_page,
    "reference/pipeline.schema.json": tasks.schema_text,
    "reference/retrain.md": production.retrain_page,
    "reference/retrain.schema.json": production.schema_text,
    "reference/tasks.md": tasks.tasks_page,
    **{f"drawings/{name}.svg": draw for name, draw in drawings.DRAWINGS.items()},
}


def stale(folder: Path) -> dict[str, str]:
    """Diffs by page name of the pages in `folder` that differ from what the code says."""
    diffs = {}
    for name, build in PAGES.items():
        path = folder / name
        old = path.read_text().splitlines(keepends=True) if path.is_file() else []
        new = build().splitlines(keepends=True)
        if old != new:
            diffs[name] = "".join(difflib.unified_diff(old, new, f"{name} (kept)", f"{name} (from the code)"))
    return diffs


def main() -> int:
    """Write, or check with --check. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff where a page is not up to date")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="another place than docs/")
    options = parser.parse_args()
    try:
        if not options.check:
            for name, build in PAGES.items():
                (options.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (options.folder / name).write_text(build())
            return 0
        diffs = stale(options.folder)
        unlisted = (commands.variables_in_code() ^ commands.VARIABLES.keys()) - commands.FOR_TESTS.keys()
        if unlisted:
            raise Undocumented(f"{', '.join(sorted(unlisted))}: in the code or in VARIABLES of docs/generators/commands.py, not in both")
    except Undocumented as error:
        sys.stderr.write(f"{error}; describe it where it is declared\n")
        return 1
    sys.stdout.writelines(diffs.values())
    if diffs:
        sys.stderr.write(f"not up to date: {', '.join(diffs)}. Run `python docs/generate.py`.\n")
    return 1 if diffs else 0


if __name__ == "__main__":
    sys.exit(main())
