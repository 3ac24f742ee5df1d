"""Write the tables of parameters of the method pages from the code, or check that they are what the code says.

python docs/methods/generate.py            writes what stands between `<!-- defaults: METHOD.TASK -->` and `<!-- end -->`
python docs/methods/generate.py --check    writes nothing; exit 1 and a diff where a table is not up to date
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from generators.markdown import cell, code, described, table, type_text
from generators.tasks import nested, registry
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fabloom.method import TaskSpec
from fabloom.params import Source

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"(<!-- defaults: (\S+) -->\n).*?(<!-- end -->)", re.S)
GIVEN = re.compile(r" ?\((?:ddpm: )?published:? ([^();][^()]*)\)")
LONGEST = 60
"""Characters of a value that is written out; a longer one is left to the description."""
COLUMNS = ["parameter", "default", "published", "what it is"]


class Unknown(Exception):
    """A page asks for the table of a task that no built-in method has."""


def text_of(value: Any) -> str:
    """A value as YAML writes it."""
    if isinstance(value, Source):
        return str(value.path)
    if isinstance(value, BaseModel):
        return "its fields, below"
    if isinstance(value, list | tuple) and any(isinstance(v, BaseModel) for v in value):
        return "its fields, below" if value else "[]"
    if isinstance(value, float) and len(repr(value)) > 10:
        return f"{value:.3g}"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else "see the description"


def values_of(model: type[BaseModel], preset: str | None) -> dict[str, Any]:
    """Every parameter's value under a preset, or under the default one; {} where required parameters leave it open."""
    if any(field.is_required() for field in model.model_fields.values()):
        return {}
    made = model.model_validate({} if preset is None else {"preset": preset})
    filled = getattr(made, "filled", None)
    values = {name: getattr(made, name) for name in model.model_fields}
    return {**values, **filled()} if filled else values


def has_published(model: type[BaseModel]) -> bool:
    """Whether `preset: published` is a choice of these parameters."""
    field = model.model_fields.get("preset")
    return field is not None and "published" in typing.get_args(field.annotation)


def chosen(field: FieldInfo) -> str:
    """The choice that a description calls published: the one named last before '(published'."""
    before, mark, _ = (field.description or "").partition("(published")
    last = before.split(":")[-1] if mark else ""
    places = {str(c): last.rfind(str(c)) for c in typing.get_args(field.annotation) if isinstance(c, str)}
    best = max(places, key=places.__getitem__, default="")
    return best if places.get(best, -1) >= 0 else ""


def rows(
    model: type[BaseModel], owner: str, before: str = "", given: BaseModel | None = None, preset: BaseModel | None = None
) -> Iterator[list[str]]:
    """A row for each parameter, those of a nested group below it. `given` and `preset` are the group's default and published values."""
    defaults = dict(given) if given else values_of(model, None)
    published = dict(preset) if preset else values_of(model, "published") if has_published(model) and not given else {}
    for name, field in model.model_fields.items():
        text = described(field.description, f"{owner}: {before}{name}")
        default = defaults.get(name, None if field.is_required() else field.get_default(call_default_factory=True))
        shown = "required" if field.is_required() else text_of(default)
        other = published.get(name, default)
        yield [code(before + name), code(shown), cell(said(text, field) or (text_of(other) if other != default else "")), cell(rest(text))]
        inner = nested(field.annotation)
        if inner is not None:
            many = "[" in type_text(field.annotation)
            groups = [g[0] if isinstance(g, list | tuple) and g else g for g in (default, other)]
            held = [g if isinstance(g, inner) else None for g in groups]
            yield from rows(inner, owner, f"{before}{name}{'[]' if many else ''}.", held[0], held[1] if groups[0] != groups[1] else None)


def said(text: str, field: FieldInfo) -> str:
    """The published value that a description tells in brackets, as YAML writes it; '' for none."""
    found = GIVEN.search(text)
    return {"True": "true", "False": "false"}.get(found[1], found[1]) if found else chosen(field)


def rest(text: str) -> str:
    """A description without the published value in brackets."""
    return GIVEN.sub("", text)


def defaults(spec: TaskSpec) -> str:
    """The table of one task."""
    found = list(rows(spec.params, spec.full_name))
    if not any(row[2] for row in found):
        return table([c for c in COLUMNS if c != "published"], [[name, default, text] for name, default, _, text in found])
    return table(COLUMNS, found)


def filled_in(page: str, where: str) -> str:
    """A page with all of its tables written anew. Raises Unknown for a task that is not there."""

    def one(match: re.Match[str]) -> str:
        spec = registry().tasks.get(match[2])
        if spec is None:
            raise Unknown(f"{where}: <!-- defaults: {match[2]} --> names no task; there are {', '.join(sorted(registry().tasks))}")
        return f"{match[1]}\n{defaults(spec)}{match[3]}"

    return BLOCK.sub(one, page)


def main() -> int:
    """Write, or check with --check. Returns the exit code."""
    os.environ["FABLOOM_PLUGINS"] = ""  # what comes with fabloom, whatever else is installed here
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff where a table is not up to date")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="another folder of pages than docs/methods")
    options = parser.parse_args()
    stale = []
    for path in sorted(options.folder.glob("*.md")):
        old = path.read_text()
        try:
            new = filled_in(old, path.name)
        except Unknown as error:
            sys.stderr.write(f"{error}\n")
            return 1
        if new == old:
            continue
        if not options.check:
            path.write_text(new)
            continue
        stale.append(path.name)
        sys.stdout.writelines(
            difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"{path.name} (kept)", f"{path.name} (from the code)")
        )
    if stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}. Run `python docs/methods/generate.py`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
