"""What nobody should write, thousands of times: each case ends with an exit code and one line, cheaply, and nothing half-made.

    python benchmarks/fuzz.py --cases 3000 [--seed 1] [--kind yaml|line|manifest|name] [--anchors 24] [--show] [--json]

Four kinds of cases (`fuzzing` makes them): YAML of pipelines and of `--set`, command lines, manifests with a right hash of themselves,
and names. Each runs the command's entry function in a fork of this process, in a folder of its own, with real files for its streams. It
must hold that

* the exit code is 0, 2 or 3 (1 as well where something stored is damaged), and what is refused is refused with one line on stderr,
* there is no traceback, and no exception that an interpreter would tell at its end,
* it costs at most 1 second of CPU and 200 MB,
* nothing outside the case's folder is opened for writing, made, renamed or removed, and nothing half-written stays,
* what only looks changes nothing.

Some of the cases run again as real processes (`--anchors`): code and both streams must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing import choosing, controls
from fuzzing import world as fuzz_world
from fuzzing.world import MOST_BYTES, MOST_SECONDS, MOST_WAIT, Case

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MAKING = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
}
"""Audit events that change a file system, and which of their arguments are paths."""
QUIET = ("plan", "pipelines", "tasks", "plugins", "artifacts", "show", "lineage", "verify", "export", "list", "log")
"""Commands that leave a store as it is."""


PERIOD = 100
"""Cases between two lines of `--show`."""


@dataclass
class Ended:
    """What a case came to."""

    code: int
    out: bytes
    err: bytes
    seconds: float = 0.0
    size: int = 0
    outside: list[str] = field(default_factory=list)


# ----------------------------------------------------------------------------------------------------------------------------- one case


@contextlib.contextmanager
def streams(case: Case, folder: Path) -> Iterator[dict[int, int | None]]:
    """Descriptors for stdout and stderr of the case; None is a closed one."""
    opened: dict[int, int | None] = {}
    spare: list[int] = []
    for number, kind in ((1, case.stdout), (2, case.stderr)):
        if kind == "closed":
            opened[number] = None
            continue
        if kind == "file":
            handle = os.open(folder / f"stream{number}", os.O_RDWR | os.O_CREAT)
        elif kind == "full":
            handle = os.open("/dev/full", os.O_WRONLY)
        elif kind == "pipe":
            reading, handle = os.pipe()
            os.close(reading)
        else:
            master, handle = os.openpty()
            os.close(master)
        opened[number] = handle
        spare.append(handle)
    try:
        yield opened
    finally:
        for handle in spare:
            os.close(handle)


def watched(root: Path, out: int) -> Any:
    """An audit hook that writes a line to `out` for whatever is changed outside `root`."""
    inside, busy = f"{root}{os.sep}", []

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if busy or (event != "open" and event not in MAKING):
            return
        if event == "open" and (not isinstance(arguments[2], int) or not arguments[2] & WRITING):
            return
        busy.append(1)
        with contextlib.suppress(ValueError):  # a NUL in a path, which the call itself refuses
            for place in (0,) if event == "open" else MAKING[event]:
                if isinstance(path := arguments[place], str | bytes | os.PathLike):
                    full = os.path.realpath(os.path.split(os.fsdecode(path))[0]) + os.sep
                    if not full.startswith((inside, "/dev/", "/proc/", "/sys/")):  # places that cases name, where nothing can be made
                        os.write(out, f"{event} {os.fsdecode(path)!a}\n".encode())
        busy.clear()

    return look


def live(case: Case, root: Path, handles: dict[int, int | None], out: int) -> int:
    """The case in this process, which is a fork: what an interpreter that was started for it would do. Gives its exit code."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, most in ((resource.RLIMIT_CPU, 10), (resource.RLIMIT_AS, taken + (1 << 30))):
        resource.setrlimit(limit, (most, most))
    os.chdir(root / "here")
    os.environ.update({"HOME": str(root / "home"), "COLUMNS": "200"})
    sys.dont_write_bytecode = True
    for number, handle in ((0, os.open(os.devnull, os.O_RDONLY)), *handles.items()):
        if handle is None:
            os.close(number)
        else:
            os.dup2(handle, number)
    for number, name, errors in ((0, "stdin", "strict"), (1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        alive = number == 0 or handles[number] is not None
        opened = open(number, "r" if number == 0 else "w", encoding="utf-8", errors=errors, closefd=False) if alive else None  # noqa: SIM115
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    sys.argv = ["fabloom", *map(os.fsdecode, case.arguments)]
    sys.addaudithook(watched(root, out))
    from fabloom.flows.cli.main import main

    try:
        code: Any = case.call() if case.call is not None else main()
    except SystemExit as left:
        code = left.code
    except BaseException:
        code = 1
        with contextlib.suppress(Exception):
            traceback.print_exc()
    code = code if isinstance(code, int) else int(code is not None)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError) as error:  # what an interpreter tells at its end, with this code
            code = 120
            with contextlib.suppress(Exception):
                os.write(2, f"Exception ignored in: stdout\n{type(error).__name__}: {error}\n".encode())
    return code


def attempt(case: Case, root: Path) -> Ended:
    """Run a prepared case in a fork."""
    reading, writing = os.pipe()
    with streams(case, root) as handles:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            code = 1
            try:
                code = live(case, root, handles, writing)
            finally:
                os._exit(code)
    os.close(writing)
    ready = at_end(pid)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    with os.fdopen(reading, "rb") as told:
        outside = told.read().decode(errors="replace").splitlines()
    texts = [(root / f"stream{n}").read_bytes() if (root / f"stream{n}").is_file() else b"" for n in (1, 2)]
    code = os.waitstatus_to_exitcode(status) if ready else -signal.SIGALRM
    return Ended(code, texts[0], texts[1], used.ru_utime + used.ru_stime, used.ru_maxrss << 10, outside)


def at_end(pid: int) -> bool:
    """Wait for the end of a process; False where it sleeps for `MOST_WAIT` seconds, whatever else the machine does."""
    watch, asleep = os.pidfd_open(pid), 0.0
    try:
        while asleep < MOST_WAIT:
            if select.select([watch], [], [], 2.0)[0]:
                return True
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 2.0 if state in "SD" else 0.0
        return False
    finally:
        os.close(watch)


def process(case: Case, root: Path, site: Path) -> Ended:
    """Run a prepared case as a process of its own."""
    environment = {**os.environ, "HOME": str(root / "home"), "COLUMNS": "200", "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    with streams(case, root) as handles:
        gone = [f"{number}>&-" for number, handle in handles.items() if handle is None]
        command = [b"sh", b"-c", f'exec "$@" {" ".join(gone)}'.encode(), b"sh", sys.executable.encode(), b"-P", b"-m", b"fabloom.flows"]
        done = subprocess.run(
            [*command, *map(os.fsencode, case.arguments)], env=environment, cwd=root / "here", stdin=subprocess.DEVNULL,
            stdout=handles[1], stderr=handles[2], timeout=120, check=False,
        )  # fmt: skip
    texts = [(root / f"stream{n}").read_bytes() if (root / f"stream{n}").is_file() else b"" for n in (1, 2)]
    return Ended(done.returncode, *texts)


def listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of change of files."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in files:
            state = Path(above, name).lstat()
            found[str(Path(above, name))] = (state.st_size, state.st_mtime_ns)
        found |= {str(Path(above, name)): (0, 0) for name in folders}
    return found


def complaints(case: Case, ended: Ended, base: int, before: dict[str, Any], after: dict[str, Any], store: Path) -> list[str]:
    """What is not as it must be."""
    found = []
    err = ended.err.decode(errors="replace")
    if ended.code not in case.codes:
        found.append(f"exit code {ended.code}, wanted {sorted(case.codes)}")
    if "Traceback" in err or "Exception ignored" in err or "Error: " in err.partition("\n")[0].partition(":")[0]:
        found.append(f"a traceback: {err.strip().splitlines()[-1][:200]}")
    lines = err.splitlines()
    if ended.code in (2, 3) and case.stderr == "file" and case.one_line and (len(lines) != 1 or not err.startswith("fabloom: ")):
        found.append(f"{len(lines)} lines on stderr: {err[:200]!r}")
    if ended.code == 2 and case.one_line and ended.out:
        found.append(f"refused, and yet stdout holds {ended.out[:100]!r}")
    if any(ord(c) < 32 and c not in "\n\t" for c in err) or "\x1b" in ended.out.decode(errors="replace"):
        found.append(f"control characters are written: {(err or ended.out.decode(errors='replace'))[:200]!r}")
    if "--json" in case.arguments and ended.code == 0 and case.stdout == "file" and not is_json(ended.out):
        found.append(f"stdout is no JSON document: {ended.out[:200]!r}")
    if ended.seconds > MOST_SECONDS:
        found.append(f"{ended.seconds:.1f} CPU seconds")
    if ended.size - base > MOST_BYTES:
        found.append(f"{(ended.size - base) >> 20} MB")
    found += [f"outside: {what}" for what in ended.outside]
    return found + left_behind(case, ended, before, after, str(store))


def is_json(text: bytes) -> bool:
    """Whether a text is JSON as others read it, without NaN."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


def left_behind(case: Case, ended: Ended, before: dict[str, Any], after: dict[str, Any], store: str) -> list[str]:
    """Torn files, files of what was refused, and changes in a store by what only looks at it."""
    new = sorted(path for path in after if path not in before)
    torn = [path for path in new if re.search(r"(^|/)\.[^/]*\.(partial|tmp)\b", path)]  # a user's own out.partial is none
    if ended.code and case.stdout == "file":  # else it may be the telling that failed
        stores = (store, *(path.removesuffix("/store.json") for path in new if path.endswith("/store.json")))  # opening one makes it
        torn += [path for path in new if not path.startswith(stores)]
    found = [f"left behind: {path!a}" for path in torn[:3]]
    looks = any(word in QUIET for word in case.arguments[:2]) and "plan" not in case.arguments[:1]
    if looks and any(path.startswith(store) and state != after.get(path) for path, state in before.items()):
        found.append("a store that is only looked at was changed")
    return found


# ---------------------------------------------------------------------------------------------------------------------------- all cases


@dataclass
class Summary:
    """What the cases came to."""

    cases: int = 0
    broken: int = 0
    anchors: int = 0
    differing: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    most_seconds: float = 0.0
    most_megabytes: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.broken or self.differing)


def placed(case: Case, folder: Path, world: fuzz_world.World) -> Path:
    """A folder for one case: `here` to work in, with a copy of the store `s`, `home`, and what the case wants prepared."""
    root = Path(tempfile.mkdtemp(dir=folder, prefix="case-"))
    (root / "home").mkdir()
    shutil.copytree(world.template, root / "here", symlinks=True)
    case.prepare(root / "here")
    return root


def tried(cases: list[Case], world: fuzz_world.World, folder: Path, show: bool) -> Summary:
    """Every case once."""
    summary = Summary()
    nothing = Case("name", "nothing", ("plan", "fuzz", "--store", "s"))
    base = attempt(nothing, placed(nothing, folder, world)).size
    for case in cases:
        root = placed(case, folder, world)
        store = root / "here" / "s"
        before = listed(root / "here")
        ended = attempt(case, root)
        faults = complaints(case, ended, base, before, listed(root / "here"), store)
        summary.cases += 1
        summary.kinds[case.kind] += 1
        summary.codes[ended.code] += 1
        summary.most_seconds = max(summary.most_seconds, ended.seconds)
        summary.most_megabytes = max(summary.most_megabytes, (ended.size - base) >> 20)
        summary.seconds += ended.seconds
        if faults:
            summary.broken += 1
            told = f"{case.kind}: {case.name}: fabloom {' '.join(map(ascii, case.arguments))[:300]}: {'; '.join(faults)}"
            summary.faults.append(told)
            if show:
                print(told, file=sys.stderr)
        shutil.rmtree(root, ignore_errors=True)
        if show and summary.cases % PERIOD == 0:
            print(f"{summary.cases} of {len(cases)} cases, {summary.broken} broken, {summary.seconds:.0f} CPU seconds", file=sys.stderr)
    return summary


def anchored(cases: list[Case], world: fuzz_world.World, folder: Path, summary: Summary) -> None:
    """Cases as forks and as processes of their own: the same code and the same words."""
    for case in cases:
        outcomes = []
        for run in (attempt, lambda case, root: process(case, root, world.site)):
            root = placed(case, folder, world)
            ended = run(case, root)
            outcomes.append((ended.code, *(text.replace(os.fsencode(root), b"ROOT") for text in (ended.out, ended.err))))
            shutil.rmtree(root, ignore_errors=True)
        summary.anchors += 1
        if outcomes[0] != outcomes[1]:
            summary.differing += 1
            summary.faults.append(f"{case.kind}: {case.name}: a process gives {outcomes[1]!r:.400}, a fork {outcomes[0]!r:.400}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=choosing.KINDS)
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name holds it")
    parser.add_argument("--anchors", type=int, default=24, help="cases to run as processes of their own too")
    parser.add_argument("--control", action="store_true", help="add cases that break every rule, which must be seen")
    parser.add_argument("--light", action="store_true", help="without the cases that need torch")
    parser.add_argument("--show", action="store_true", help="tell faults as they come, and how far it is")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    for name, value in (("FABLOOM_THREADS", "1"), ("OMP_NUM_THREADS", "1"), ("FABLOOM_PLUGINS", "fuzz")):
        os.environ.setdefault(name, value)
    os.environ.pop("FABLOOM_STORE", None)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fabloom-fuzz-") as place:
        folder = Path(place).resolve()
        world = fuzz_world.World.made(folder, heavy=not given.light)
        chance = random.Random(given.seed)
        cases = [c for c in choosing.cases(world, given.cases, chance, given.kind) if given.only in c.name]
        cases += controls.controls() if given.control else []
        summary = tried(cases, world, folder, given.show)
        fit = [case for case in cases if case.call is None and not case.heavy]
        anchored(chance.sample(fit, min(given.anchors, len(fit))), world, folder, summary)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
        sys.exit(not summary.sound)
    print(
        f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, seed {given.seed}\n"
    )
    print("| what | count |\n|---|---|")
    for name, value in {**vars(summary), "wall_seconds": time.monotonic() - began}.items():
        shown = ", ".join(f"{k}: {v}" for k, v in value.most_common()) if isinstance(value, Counter) else value
        if name != "faults":
            print(f"| {name.replace('_', ' ')} | {round(shown, 1) if isinstance(shown, float) else shown} |")
    print("".join(f"\n* {fault}" for fault in summary.faults))
    print(f"\n{'sound' if summary.sound else 'BROKEN'}")
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
