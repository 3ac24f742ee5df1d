"""Looking at a store: values as hashes, commands in this process, nothing that waits for ever."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer.main

from .ways import Skip

NOBODY = 65534
LONGEST = 120
"""Seconds after which something hangs, also on a machine that has other things to do."""

get_command = functools.cache(typer.main.get_command)
"""Building the command line anew is most of the time that a command takes."""


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """TimeoutError in what waits too long."""

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def unprivileged(really: bool) -> Iterator[None]:
    """As `nobody`, where this is root: to root every file is open."""
    if not really or os.geteuid() != 0:
        yield
        return
    try:
        os.setresuid(NOBODY, NOBODY, 0)
    except PermissionError:
        raise Skip("this root cannot become nobody") from None
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def read(store: Any, key: str) -> tuple[dict[str, str], list[BaseException]]:
    """What every array and the attributes of an artifact come to, as hashes, and the errors instead of them."""
    from fabloom.hashing import blake, canonical_json

    found: dict[str, str] = {}
    errors: list[BaseException] = []
    try:
        artifact = store.get(key)
        names = artifact._reader.names()
    except Exception as error:
        return found, [error]
    for name in ("", *names):
        try:
            if name:
                array = artifact.array(name)[...]
                found[name] = blake(f"{array.dtype} {array.shape}".encode() + array.tobytes())
            else:
                found[name] = blake(canonical_json(dict(artifact.attrs)))
        except Exception as error:
            errors.append(error)
    return found, errors


def command(registry: Any, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `fabloom …`, in this process. What would be a traceback raises."""
    from fabloom.flows.cli import main
    from fabloom.registry import Registry

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    load, argv, built = Registry.load, sys.argv, typer.main.get_command
    Registry.load = lambda *a, **k: registry  # type: ignore[method-assign]
    sys.argv, typer.main.get_command = ["fabloom", *arguments], get_command
    code = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main.main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        finally:
            Registry.load, sys.argv, typer.main.get_command = load, argv, built  # type: ignore[method-assign]
            for number, handler in kept.items():
                signal.signal(number, handler)
    if "Traceback" in err.getvalue():
        raise AssertionError(err.getvalue())
    return code, out.getvalue(), err.getvalue()


@dataclass
class Summary:
    """What the damages did."""

    cases: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    found_on_reading: int = 0
    found_by_verify: int = 0
    healed: int = 0
    by_hand: int = 0
    other_than_promised: int = 0
    wrong_values: int = 0
    wrong_as_told: int = 0
    hidden_by_another: int = 0
    wrong_digests: int = 0
    failed_steps: int = 0
    tracebacks: int = 0
    hangs: int = 0
    checkpoint_cases: int = 0
    marked: bool = False
    cpu_seconds: float = 0.0
    told: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        broken = ("other_than_promised", "wrong_values", "hidden_by_another", "wrong_digests", "failed_steps", "tracebacks", "hangs")
        return not any(getattr(self, name) for name in broken)

    def tell(self, what: str, case: str, detail: object) -> None:
        """Count a fault, and keep what there is to say of it."""
        setattr(self, what, getattr(self, what) + 1)
        self.told.append(f"{what}: {case}: {str(detail)[-700:]}")
