"""`reference/cli.md` and `reference/environment.md`: every command with its options, variables and exit codes."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from fabloom import errors
from fabloom.flows.run.prefect.settings import PREFERRED

from .markdown import NOTE, cell, code, described, prose, table, type_text

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\bFABLOOM_[A-Z][A-Z0-9_]*[A-Z]\b")

VARIABLES = {
    "FABLOOM_OFFLINE": "Set to anything but `0`: weights are never downloaded, and what is not on the machine counts as missing.",
    "FABLOOM_PLUGINS": "Entry point names, comma-separated: which third-party plugins load. Empty: none. "
    "What comes with fabloom always loads.",
    "FABLOOM_REPORT_URL": "Where the folder of report pages is served by http. Prefect's pages then link to the page of a run.",
    "FABLOOM_S3_BLOCK": "In runs of a deployment: the Secret block of Prefect's with the keys of the bucket; "
    "`fabloom deploy --s3-credentials` sets it.",
    "FABLOOM_S3_ENDPOINT": "The server of `s3://` stores; default that of AWS_ENDPOINT_URL, else Amazon's own. http:// on loopback only.",
    "FABLOOM_STORE": "The store where `--store` is not given. Default `./.fabloom`.",
    "FABLOOM_THREADS": "Threads a step computes with; default one for each core that nothing else keeps busy when the step begins. "
    "Equal digests are promised for equal numbers; the manifest records it, and a step that goes on keeps the number that it began with.",
    "FABLOOM_WEIGHTS_DIR": "Folder of pretrained weights (LPIPS). Looked at before torch's hub cache and a download; "
    "files are checked by sha256.",
    "FABLOOM_WORK_DIR": "Folder for what this machine keeps of stores in a bucket: work, staging, locks, report pages. "
    "Default `~/.cache/fabloom/work`.",
}
VALUES = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "Path": "PATH", "list[str]": "TEXT"}
"""What stands for a value of such a type."""

FOR_TESTS = {
    "FABLOOM_DATA_DIR": "Folder with the published line pair (`line_pair`) and DeepPCB (`deeppcb`), for `worth-it` on them, and for "
    "tests and benchmarks that read real data, which are skipped without it.",
}


def apps() -> Iterator[tuple[str, typer.Typer, str]]:
    """(name before the command's, app, help) of the command itself and of each group."""
    from fabloom.flows.cli.main import app

    yield "", app, str(app.info.help)
    for group in app.registered_groups:
        room = group.typer_instance
        if room is not None:
            named = isinstance(room.info.name, str)  # without a name its commands are the command's own
            yield f"{room.info.name} " if named else "", room, str(room.info.help) if named else ""


def commands() -> dict[str, Callable[..., Any]]:
    """Every command's function by its name, as in `ref set`."""
    found: dict[str, Callable[..., Any]] = {}
    for before, app, _ in apps():
        for info in app.registered_commands:
            if info.callback is None or info.hidden:
                continue
            found[before + (info.name or info.callback.__name__.replace("_", "-"))] = info.callback
    return found


def parameters(function: Callable[..., Any]) -> Iterator[tuple[str, Any, ArgumentInfo | OptionInfo, Any]]:
    """(name, annotation, typer's description, default) of each parameter of a command."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        notes = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        info = next((n for n in notes if isinstance(n, ArgumentInfo | OptionInfo)), None)
        required = parameter.default is inspect.Parameter.empty
        if info is None:
            info = typer.Argument() if required else typer.Option()
        yield name, typing.get_args(hint)[0] if notes else hint, info, None if required else parameter.default


def option_names(name: str, hint: Any, info: OptionInfo) -> str:
    """`--name`, or `--name/--no-name` for a switch without a name of its own."""
    declared = [d for d in (info.default, *(info.param_decls or ())) if isinstance(d, str) and d.startswith("-")]
    if declared:
        return ", ".join(declared)
    plain = f"--{name.strip('_').replace('_', '-')}"
    return f"{plain}/--no-{plain[2:]}" if hint is bool else plain


def option_rows(command: str, function: Callable[..., Any]) -> list[list[str]]:
    """A row for each option: names and value, default, what it does."""
    rows = []
    for name, hint, info, default in parameters(function):
        if not isinstance(info, OptionInfo):
            continue
        value = info.metavar or ("" if hint is bool else VALUES.get(plain := type_text(hint).removesuffix(" | None"), plain))
        text = described(info.help, f"fabloom {command}: option {option_names(name, hint, info)}")
        if info.envvar:
            text = f"{text.rstrip('.')}. Environment: `{info.envvar}`."
        shown = "" if default is None or default is False else str(default)
        rows.append([code(f"{option_names(name, hint, info)} {value}".strip()), code(shown), cell(text)])
    return rows


def argument_rows(command: str, function: Callable[..., Any]) -> list[list[str]]:
    """A row for each positional argument."""
    return [
        [code(info.metavar or name.upper()), cell(described(info.help, f"fabloom {command}: argument {name}"))]
        for name, _, info, _ in parameters(function)
        if isinstance(info, ArgumentInfo)
    ]


def usage(command: str, function: Callable[..., Any]) -> str:
    """The line that shows how to write the command."""
    words = ["fabloom", command]
    for name, _, info, default in parameters(function):
        if isinstance(info, ArgumentInfo):
            shown = info.metavar or name.upper()
            optional = default is not None or "None" in str(typing.get_type_hints(function)[name])
            words.append(f"[{shown.strip('[]')}]" if optional else shown)
    return " ".join([*words, "[OPTIONS]"])


def cli_page() -> str:
    """Every command, its arguments and options, from what typer was told."""
    text = NOTE + "# Commands\n\n"
    for before, _, help_ in apps():
        if help_ and not before:
            first, *rest = inspect.cleandoc(help_).split("\n\n")
            text += "\n\n".join([first, *rest]) + "\n\n"
    text += "`--store` and `--json` work with every command. `-h` or `--help` after any command shows what stands here.\n\n"
    from fabloom.flows.cli.main import fabloom as whole

    text += table(["option", "default", "what it does"], option_rows("", whole))
    for name, function in sorted(commands().items()):
        text += f"## fabloom {name}\n\n```text\n{usage(name, function)}\n```\n\n{prose(function.__doc__, f'fabloom {name}')}\n\n"
        arguments = argument_rows(name, function)
        if arguments:
            text += table(["argument", "what it is"], arguments)
        text += table(["option", "default", "what it does"], option_rows(name, function))
    return text


def environment_page() -> str:
    """Variables that the code reads, Prefect's settings that fabloom prefers, and exit codes with the errors behind them."""
    text = NOTE + "# Environment and exit codes\n\n## Variables\n\n"
    text += table(["variable", "what it does"], [[code(n), cell(t)] for n, t in VARIABLES.items()])
    text += "For tests and benchmarks:\n\n" + table(["variable", "what it does"], [[code(n), cell(t)] for n, t in FOR_TESTS.items()])
    text += "## Prefect's settings\n\nSet before Prefect is imported, where you have not set them yourself:\n\n"
    text += table(["variable", "value"], [[code(n), code(v)] for n, v in PREFERRED.items()])
    text += "## Exit codes\n\n"
    text += table(
        ["code", "meaning"],
        [
            ["0", "Fine: every step ran or was reused; nothing is damaged."],
            ["1", "A step failed for a reason of its own, or bytes in the store are damaged."],
            ["2", "Mend the command, the pipeline or the data, and run it again."],
            ["3", "The machine or the installation: device, weights, disk, permission, a plugin that this pipeline needs."],
            ["130", "Interrupted. Run the same command again to go on."],
        ],
    )
    text += "## Errors\n\nEvery error raised on purpose is one of these (`fabloom.errors`); the command line ends with its code.\n\n"
    rows = []
    for error in error_classes():
        bases = ", ".join(code(b.__name__) for b in error.__bases__ if b is not Exception)
        doc = described(error.__doc__, f"fabloom.errors.{error.__name__}")
        rows.append([code(error.__name__), bases, str(error.exit_code), cell(doc)])
    return text + table(["error", "is a", "code", "meaning"], rows)


def error_classes() -> list[type[errors.FabloomError]]:
    """All deliberate errors, bases first."""
    found = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.FabloomError)]
    return sorted(found, key=lambda e: (len(e.__mro__), e.exit_code, e.__name__))


def variables_in_code() -> set[str]:
    """Every `FABLOOM_…` that the package mentions."""
    folders = ("core", "storage", "plugins", "flows")
    return {name for folder in folders for path in (ROOT / folder).rglob("*.py") for name in VARIABLE.findall(path.read_text())}
