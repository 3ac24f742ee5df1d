"""Conventional tasks: what a task of one of these names has, so that a pipeline swaps methods by changing one word.

A method of another shape says so with a **signature**, `@task(version=1, signature="translating")`: swapping works among the methods of
one signature, and errors tell which one a method has. Without one the ports are those of `CONVENTIONAL`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

SIGNATURE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Convention:
    """What tasks of one name have in common.

    `forms` are the required inputs (port to kind) by signature, '' the plain one; none of these is declared, the ports tell. `kept` are
    those that every declared signature has too, beside whatever else it requires. `output` is the kind that comes out; a declared
    signature may give another where `any_output`.
    """

    forms: Mapping[str, Mapping[str, str]]
    output: str
    kept: Mapping[str, str] = field(default_factory=dict)
    any_output: bool = False


CONVENTIONAL: dict[str, Convention] = {
    "train": Convention({"": {"images": "ImageSet"}}, "Model"),
    "sample": Convention({"": {"model": "Model"}}, "ImageSet", {"model": "Model"}, any_output=True),
    "record": Convention({"": {"teacher": "Model"}}, "OfflineData", {"teacher": "Model"}),
    "distill": Convention(
        {"": {"teacher": "Model", "offline": "OfflineData"}, "from-images": {"teacher": "Model", "images": "ImageSet"}},
        "Model",
        {"teacher": "Model"},
    ),
}
"""Optional inputs (`base: Model | None = None`) may stand beside all of these."""


def signature_of(name: str, declared: str, required: Mapping[str, str], output: str) -> str:
    """The signature of a task: '' for a plain or an unconventional one. `required` are its inputs without a default.

    Raises ValueError for ports that the name does not allow, and for a signature that cannot be declared.
    """
    convention = CONVENTIONAL.get(name)
    if convention is None:
        if declared:
            raise ValueError(f"signature={declared!r}: only {', '.join(CONVENTIONAL)} have a signature; leave it out of '{name}'")
        return ""
    form = next((tag for tag, ports in convention.forms.items() if ports == required and convention.output == output), None)
    if not declared:
        if form is None:
            raise ValueError(
                f"a task named '{name}' has the inputs {_forms(convention)} and returns {convention.output}, so that methods can be "
                "swapped. Where it must have others, declare which: @task(version=1, signature='translating')"
            )
        return form
    _check_declared(name, declared, form, required, output)
    return declared


def _forms(convention: Convention) -> str:
    return " or ".join(listed(ports) for ports in convention.forms.values())


def listed(ports: Mapping[str, object]) -> str:
    """Ports as an author writes them: `model: Model, images: ImageSet`."""
    return ", ".join(f"{port}: {kind}" for port, kind in ports.items()) or "none"


def _check_declared(name: str, declared: str, form: str | None, required: Mapping[str, str], output: str) -> None:
    convention = CONVENTIONAL[name]
    if not isinstance(declared, str) or not SIGNATURE.fullmatch(declared):
        raise ValueError(f"signature={declared!r}: small letters, digits and hyphens, as in 'conditional' or 'translating'")
    if form is not None or declared in convention.forms:
        raise ValueError(f"signature='{declared}': a task named '{name}' with the inputs {_forms(convention)} has one; leave it out")
    lacking = {port: kind for port, kind in convention.kept.items() if required.get(port) != kind}
    if lacking:
        raise ValueError(f"signature='{declared}': a task named '{name}' has the input {listed(lacking)} in every signature")
    if output != convention.output and not convention.any_output:
        raise ValueError(f"signature='{declared}': a task named '{name}' returns {convention.output} in every signature, not {output}")
