"""`MethodConformance`: subclass it, name your method, and every promise of the contract is a test."""

from __future__ import annotations

import signal

import pytest

from fabloom.kinds import ImageSet
from fabloom.storage.verify import check_artifact

from . import checks
from .bench import Bench, breach, listed, told
from .description import DescriptionConformance
from .sandbox import Outcome

PROMPT = 10.0
"""Seconds within which a task that shows no progress must be over, since it cannot be stopped."""


class MethodConformance(DescriptionConformance):
    """Everything the contract promises of a method. Each task runs in processes of its own, on the CPU, with one thread.

    `params` gives tiny parameters by task; what is left out has its default. `inputs` says what a port gets: the name of another
    task of the method, a function of a context that writes an artifact (see `fabloom.testing.tiny_images`), or a list of those;
    without it a Model comes from `train`, OfflineData from `record`, and other ports get the tiny artifact of their kind.
    """

    def test_output(self, task: str, fabloom_bench: Bench) -> None:
        """What is committed is of the declared kind, with the arrays, dtypes and shapes of that kind."""
        spec, artifact = fabloom_bench.specs[task], fabloom_bench.committed(task, tell=True)
        wrong = checks.problems(artifact)
        count = getattr(fabloom_bench.step(task).params, "count", None)
        if (
            task == "sample"
            and isinstance(artifact, ImageSet)
            and isinstance(count, int)
            and not wrong
            and artifact.array("images").shape[0] != count
        ):
            wrong = [f"{artifact.array('images').shape[0]} images where params.count asks for {count}"]
        if wrong:
            breach(
                spec.full_name,
                listed(wrong),
                f"a {spec.output.kind} holds what docs/reference/kinds.md says; others read it without looking",
                f"write it with {spec.output.kind}.write, which checks, instead of ctx.staging",
            )

        misjudged = checks.misjudged(fabloom_bench.step(task), fabloom_bench.store)
        if misjudged:
            breach(
                spec.full_name,
                listed(misjudged),
                "an array that `expect` names comes out so: `fabloom plan` tells how much a step will write",
                "name only arrays that follow from the parameters and the given outlines; return None where that is not known",
            )

    def test_same_seed_same_digest(self, task: str, fabloom_bench: Bench) -> None:
        """The same key gives the same bytes, in another process, with another hash seed, with a checkpoint at every step."""
        outcome, files = fabloom_bench.again(task)
        if outcome.digest != fabloom_bench.reference(task).digest:
            breach(
                fabloom_bench.name(task),
                f"two runs with the same seed, parameters and inputs differ in {', '.join(files[:6])}" if files else told(outcome),
                "equal keys give equal digests: randomness comes from ctx.seed, and no time, path, host or process is stored",
                "draw from ctx.generator(name) (torch) or a generator seeded with ctx.seed; sort sets before iterating",
            )

    def test_another_seed_gives_another_sample(self, fabloom_bench: Bench) -> None:
        """`sample` is not fixed to one seed."""
        task = "sample"
        if task not in fabloom_bench.specs:
            pytest.skip(f"{self.method.name} has no task 'sample'")
        fabloom_bench.committed(task)
        outcome = fabloom_bench.run(task, seed=1)
        if outcome.digest == fabloom_bench.reference(task).digest:
            breach(
                fabloom_bench.name(task),
                "another seed gives the same images",
                "samples are drawn from ctx.seed",
                "use ctx.generator(), no fixed seed",
            )

    def test_inputs_are_untouched(self, task: str, fabloom_bench: Bench) -> None:
        """Artifacts are immutable: neither their files nor their attributes change."""
        outcome = fabloom_bench.reference(task)
        changed = {port: ["its attributes in memory"] for port in outcome.attrs_changed}
        for port, keys in fabloom_bench.step(task).inputs.items():
            for key in keys if isinstance(keys, list) else [keys]:
                if found := check_artifact(fabloom_bench.store.folder(key)):
                    changed[port] = found
        if changed:
            breach(
                fabloom_bench.name(task),
                "; ".join(f"input '{port}' was changed: {', '.join(what)}" for port, what in changed.items()),
                "inputs are committed artifacts that other steps use too",
                "copy what you alter (slicing gives numpy arrays of your own), and write only through Kind.write(ctx, …)",
            )

    def test_no_network(self, task: str, fabloom_bench: Bench) -> None:
        """A task talks to nobody."""
        self._refused(task, fabloom_bench, "network", "a task reaches no network: it works in a year and behind a firewall",
                      "take data as a parameter of type Source, weights from a table with hashes or from an input")  # fmt: skip

    def test_no_writes_outside(self, task: str, fabloom_bench: Bench) -> None:
        """A task writes into ctx.workdir and its artifact only."""
        litter = fabloom_bench.reference(task).litter
        if litter:
            breach(fabloom_bench.name(task), f"left {', '.join(litter[:5])} in the current folder", WRITES, WRITES_FIX)
        self._refused(task, fabloom_bench, "write", WRITES, WRITES_FIX)

    def test_no_pickle(self, task: str, fabloom_bench: Bench) -> None:
        """A task neither writes nor reads a pickle while it runs, its libraries included."""
        self._refused(task, fabloom_bench, "pickle", "nothing is pickled or unpickled: loading a pickle runs whatever code it holds",
                      "checkpoints are made by ctx.loop; keep tensors with Model.write, read weights with safetensors")  # fmt: skip

    def test_progress_reaches_its_total(self, task: str, fabloom_bench: Bench) -> None:
        """Every progress ends at its total, neither short of it nor beyond."""
        outcome = fabloom_bench.reference(task)
        rule = "a progress counts to its total: rate and ETA are computed from it"
        if outcome.overdue:
            breach(
                fabloom_bench.name(task),
                f"did not end within {self.seconds:g} s",
                rule,
                "end the loop, or raise `seconds` of the test class",
            )
        self._refused(
            task,
            fabloom_bench,
            "progress",
            rule,
            "give ctx.progress the number of units that really come, and advance by those that are done",
        )
        last = {e["name"]: e for e in outcome.events if e["event"] == "progress"}
        short = [f"'{e['name']}' ends at {e['done']} of {e['total']} {e['unit']}" for e in last.values() if e["done"] != e["total"]]
        if short and not outcome.error:
            breach(fabloom_bench.name(task), "; ".join(short), rule, "advance by what was done, and count what is skipped as done (done=…)")

    def test_killed_and_resumed_equals_uninterrupted(self, task: str, fabloom_bench: Bench) -> None:
        """SIGKILL half-way, run again: the digest is that of the uninterrupted run."""
        fabloom_bench.committed(task)
        counted = fabloom_bench.again(task)[0].points
        point = next((p for p in ("checkpoint", "block") if counted.get(p, 0) > 1), "return")
        with fabloom_bench.anew(task):
            killed = fabloom_bench.run(task, die=(point, max(1, counted.get(point, 1) // 2)))
            assert killed.status == -signal.SIGKILL, f"the run was to be killed at a {point}: {told(killed)}"
            self._same(task, fabloom_bench, fabloom_bench.run(task), f"killed at a {point} and run again")

    def test_parts_join_to_the_whole(self, task: str, fabloom_bench: Bench) -> None:
        """A task that says it can be made in parts gives the same bytes in two; others have nothing to show."""
        spec = fabloom_bench.specs[task]
        if spec.fanout is None:
            return
        fabloom_bench.committed(task)
        if not spec.fanout.cut(fabloom_bench.step(task).params, 2):
            breach(
                spec.full_name,
                f"there are too few rows to cut: {spec.fanout.count} is below two units ({' and '.join(map(str, spec.fanout.unit))})",
                "a task with a fanout gives the same from any number of workers, and the kit looks",
                "give the test class `params` with at least two units of rows",
            )
        with fabloom_bench.anew(task):
            outcome = fabloom_bench.run(task, workers=2)
            if outcome.digest != fabloom_bench.reference(task).digest:
                files = fabloom_bench.differing(task) if outcome.digest else []
                how = f"{', '.join(files[:6])} differ" if files else f"it fails: {told(outcome)}"
                breach(
                    fabloom_bench.name(task),
                    f"made in two parts, {how}",
                    "a row follows from the seed and its number, never from the rows before it, and attributes from those of the parts",
                    "make the rows of ctx.rows(count) alone, each from a generator of its own; cut at batches; override Method.joined",
                )

    def test_stops_promptly(self, task: str, fabloom_bench: Bench) -> None:
        """A stop is honoured at the next sign of progress."""
        fabloom_bench.committed(task)
        rule = "a stop is honoured within seconds: Ctrl-C and a preempted machine wait for it"
        with fabloom_bench.anew(task):
            outcome = fabloom_bench.run(task, stop=True)
            advanced = [e for e in outcome.events if e["event"] == "progress" and e["done"] > 0]
            if advanced and not outcome.error.startswith("Interrupted"):
                breach(fabloom_bench.name(task), "went on after a stop was requested", rule,
                       "let Interrupted through: no bare `except Exception` around advance")  # fmt: skip
            if not advanced and not outcome.error and outcome.seconds > PROMPT:
                breach(fabloom_bench.name(task), f"showed no progress for {outcome.seconds:.0f} s, and so could not be stopped", rule,
                       "use ctx.loop or ctx.progress, or look at ctx.stop_requested()")  # fmt: skip

    def _same(self, task: str, fabloom_bench: Bench, outcome: Outcome, how: str) -> None:
        if outcome.digest != fabloom_bench.reference(task).digest:
            files = fabloom_bench.differing(task) if outcome.digest else []
            breach(
                fabloom_bench.name(task),
                f"{how}, it gives another result: {', '.join(files[:6])} differ" if files else f"{how}, it fails: {told(outcome)}",
                "a run that was killed goes on from its checkpoint and ends bit for bit like one that was not (CPU)",
                "give ctx.loop everything that has state (net, optimizer, scheduler, ema), and draw from ctx.generator inside the loop",
            )

    def _refused(self, task: str, fabloom_bench: Bench, kind: str, rule: str, fix: str) -> None:
        found = [detail for what, detail in fabloom_bench.reference(task).forbidden if what == kind]
        if found:
            breach(fabloom_bench.name(task), f"{DID[kind]} {listed(list(dict.fromkeys(found))[:5])}", rule, fix)


DID = {"network": "reached for the network:", "write": "wrote", "pickle": "pickled or unpickled:", "progress": "counted wrongly:"}


WRITES = "a task writes to ctx.workdir and through Kind.write only: a killed step must leave nothing behind elsewhere"
WRITES_FIX = "put scratch files into ctx.workdir, results into the artifact"
