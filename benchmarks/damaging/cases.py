"""One damaged file of a store, and everything that is looked at afterwards."""

from __future__ import annotations

import json
import random
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .bench import Bench, places
from .looking import Summary, command, deadline, read, unprivileged
from .promises import ALL, promised
from .ways import Skip, damage

OF_A_STEP = ("journal", "staged", "note", "mark", "log", "checkpoint")
"""What a run that ended early left behind."""


class Case:
    """One damaged file, and everything that is looked at afterwards."""

    def __init__(self, bench: Bench, summary: Summary, place: str, path: Path, done: str, changed: Sequence[Path], number: int) -> None:
        self.bench, self.summary, self.place, self.path, self.done, self.number = bench, summary, place, path, done, number
        self.promise = promised(place, done)
        self.name = f"{number} {done} of {path}"
        parts = path.parts
        self.key = parts[2] if parts[0] == "objects" else None
        self.touched: set[str] = {one.parts[2] for one in changed if self.key}

    def wrong(self, what: str, detail: object) -> None:
        self.summary.tell(what, self.name, detail)

    def check(self) -> None:
        """Read, verify, every command; then heal."""
        with deadline():
            found = self.read()
            verified = self.verify()
        self.compare("reading", found, self.promise.reading)
        self.compare("verify", verified, self.promise.verify)
        self.summary.found_on_reading += found
        self.summary.found_by_verify += verified
        for one in self.commands():
            self.command(*one)
        self.heal()

    def compare(self, what: str, found: bool, promise: bool | str) -> None:
        if promise == "marks":
            if not self.bench.marked:
                return
            promise = True
        if found != promise:
            self.wrong("other_than_promised", f"{what} {'finds' if found else 'does not find'} it")

    def read(self) -> bool:
        """Whether reading tells the damage; every value that it gives is right, and what is not damaged gives all."""
        from fabloom.errors import DamagedArtifact, EnvironmentProblem, FabloomError, UserError

        try:
            store = self.bench.open(self.bench.hurt, read_only=True)
        except FabloomError as error:
            if self.place != "stamp":
                self.wrong("hidden_by_another", error)
            return True
        found = False
        for key, wanted in self.bench.values.items():
            values, errors = read(store, key)
            if any(wanted.get(name) != value for name, value in values.items()) or (not errors and values != wanted):
                if self.promise.reading == "marks" and not self.bench.marked:
                    self.summary.wrong_as_told += 1
                else:
                    self.wrong("wrong_values", key)
            for error in errors:
                if not (isinstance(error, DamagedArtifact | EnvironmentProblem | PermissionError) or type(error) is UserError):
                    self.wrong("tracebacks", repr(error))
            if errors and key not in self.touched:
                self.wrong("hidden_by_another", f"{key}: {errors[0]}")
            found |= bool(errors)
        return self.read_ref(store) if self.place == "ref" else found

    def read_ref(self, store: Any) -> bool:
        from fabloom.errors import FabloomError

        name = self.path.relative_to("refs").as_posix().removesuffix(".json")
        try:
            value = store.refs.get(name)
        except (FabloomError, PermissionError):
            return True
        if value != self.bench.keys["report"] or len(store.refs.log(name)) != 3:
            self.wrong("wrong_values", value)
        return False

    def verify(self) -> bool:
        """Whether `verify` tells the damage, and nothing of what is sound."""
        from fabloom.errors import FabloomError
        from fabloom.storage.verify import verify

        try:
            store = self.bench.open(self.bench.hurt, read_only=True)
        except FabloomError:
            return True
        health = verify(store)
        gone = {key for key in self.touched if not _has(store, key)}
        allowed = set(self.touched)
        for key in self.bench.values:
            if key not in self.touched:
                inputs = store.manifest(key)["preimage"]["inputs"].values()
                if gone & {one for value in inputs for one in (value if isinstance(value, list) else [value])}:
                    allowed.add(key)
        allowed |= {f"ref {name}" for name in ("champion", "line/champion") if self.bench.keys["report"] in gone or self.place == "ref"}
        strangers = set(health.problems) - allowed
        if strangers:
            self.wrong("other_than_promised", f"verify blames {strangers}")
        if self.key:
            return self.key in health.problems
        return bool(health.problems)

    def commands(self) -> list[tuple[str, ...]]:
        """Three of the commands that look, in turn."""
        key = self.key or self.bench.keys["report"]
        out = str(self.bench.outside / "exported")
        every: list[tuple[str, ...]] = [
            ("artifacts",), ("show", key), ("verify",), ("lineage", self.bench.keys["report"]), ("lineage", key), ("export", key, out),
            ("export", key, out, "--format", "zarr"), ("artifacts", "--json"), ("verify", key), ("ref", "list"), ("ref", "log", "champion"),
            ("gc",), ("gc", "--unreferenced", "--older-than", "0"), ("plan", self.pipeline),
        ]  # fmt: skip
        chosen = [every[(self.number * 3 + turn) % len(every)] for turn in range(3)]
        if self.promise.run == "hand" or (self.place in OF_A_STEP and self.number % 5):
            chosen = [one for one in chosen if one[0] != "gc"]  # it would take away with the rest what the next run is to go on from
        return sorted(chosen, key=lambda one: one[0] == "gc")  # gc last: it takes away what others are to look at

    def command(self, *arguments: str) -> tuple[int, str, str]:
        try:
            with deadline():
                code, out, err = command(self.bench.registry, *arguments, "--store", str(self.bench.hurt))
        except TimeoutError:
            self.wrong("hangs", arguments)
        except Exception:
            self.wrong("tracebacks", f"{arguments} {traceback.format_exc()}")
        else:
            if code not in (0, 1, 2, 3) or (code and not (out + err).strip()):
                self.wrong("tracebacks", f"{arguments} ends with {code}: {err}")
            if arguments[0] == "artifacts" and code == 0:
                missing = [one for one in self.bench.values if one[:12] not in out and one not in self.touched]
                if missing:
                    self.wrong("hidden_by_another", f"artifacts leaves out {missing}")
            return code, out, err
        return 1, "", ""

    @property
    def pipeline(self) -> str:
        return str(self.bench.folder / f"{self.pipeline_name}.yaml")

    @property
    def pipeline_name(self) -> str:
        if self.place == "page" or self.bench.keys["report"] in self.touched:
            return "report"
        if self.place in ("journal", "staged") or self.bench.keys["record"] in str(self.path):
            return "record"
        return "walk" if self.bench.keys["walk"] in str(self.path) else "make"

    def run(self, *more: str) -> int:
        """A run through the command line; digests of what it says it made or reused must be right."""
        code, out, _ = self.command("run", self.pipeline, "--engine", "inline", "--device", "cpu", "--json", *more)
        if out.startswith("{"):
            for name, step in json.loads(out)["steps"].items():
                if step["digest"] and step["digest"] != self.bench.digests[f"{self.pipeline_name}/{name}"]:
                    self.wrong("wrong_digests", f"{more} {name} {step}")
        return code

    def heal(self) -> None:
        """Run again, as the promise says, and look once more."""
        wanted, code = self.promise.run, self.run()
        if wanted == "gc":
            if code not in (0, 3):
                self.wrong("other_than_promised", f"a run before gc ends with {code}")
            self.command("gc")
            code = self.run()
        if wanted == "hand":
            self.summary.by_hand += 1
            if code not in (1, 3):
                self.wrong("other_than_promised", f"a run ends with {code}")
            return
        if wanted == "redo":
            code = self.run(*(word for name, key in self.bench.keys.items() if key in self.touched for word in ("--redo", name)))
        if code:
            self.wrong("failed_steps", f"the run that heals ends with {code}")
        elif self.healed():
            self.summary.healed += 1
        else:
            self.wrong("other_than_promised", "it is not healed")

    def healed(self) -> bool:
        from fabloom.storage.verify import verify

        store = self.bench.open(self.bench.hurt)
        problems = [key for key in verify(store).problems if self.place != "ref"]
        return not problems and all(read(store, key) == (wanted, []) for key, wanted in self.bench.values.items())


def _has(store: Any, key: str) -> bool:
    from fabloom.errors import FabloomError

    try:
        return bool(store.has(key))
    except FabloomError:
        return True


def store_cases(bench: Bench, cases: int, seed: int, summary: Summary) -> None:
    """Every kind of file with every damage in turn, the file and the bits at random."""
    chance = random.Random(seed)
    known = places(bench)
    combinations = [(place, how) for place in known for how in ALL]
    data = [(place, how) for place, how in combinations if place in ("data", "metadata", "manifest", "ref", "journal", "checkpoint")]
    order = [*combinations, *data] * (cases // len(combinations) + 1)
    if cases < len(combinations):
        chance.shuffle(order)
    for number, (place, how) in enumerate(order):
        if summary.cases >= cases:
            break
        family = chance.choice(known[place])
        path = chance.choice(family)
        bench.copy()
        try:
            done, changed = damage(bench.hurt / path, how, [bench.hurt / one for one in family], bench.outside, chance)
            case = Case(bench, summary, place, path, done, [one.relative_to(bench.hurt) for one in changed], number)
            with unprivileged(how == "no permission"):
                case.check()
        except Skip as why:
            summary.skipped[f"{how} of {place}: {why}"] += 1
            continue
        except TimeoutError:
            summary.tell("hangs", f"{number} {how} of {path}", traceback.format_exc())
        except Exception:
            summary.tell("tracebacks", f"{number} {how} of {path}", traceback.format_exc())
        summary.cases += 1
        if summary.cases % 100 == 0:
            print(f"{summary.cases} cases, {len(summary.told)} faults", file=sys.stderr)
