"""The documents tell the truth: their Python runs, their commands exist and work, their tables name what is there."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fabloom.hooks import Specs
from fabloom.pipeline import Pipeline
from fabloom.registry import Registry

ROOT = Path(__file__).parents[2]
TUTORIAL, PRODUCTION = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "production.md"
"""Their commands build on each other; they have tests of their own, here and in tests/flows/production."""
OPERATIONS = ROOT / "docs" / "operations.md"
"""What it does needs a server."""
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page not in (TUTORIAL, PRODUCTION))]
FABLOOM = [sys.executable, "-m", "fabloom.flows"]


def blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, code) for page in PAGES for code in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)]


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        found += [line.strip().removeprefix("$ ") for line in re.findall(r"^(?: {4}|\$ )(?:\$ )?fabloom .*$", text, re.M)]
    apart = PRODUCTION.read_text() + OPERATIONS.read_text()
    return sorted({command for line in found if (command := line.split("  #")[0].strip()) not in apart})


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "FABLOOM_STORE": str(folder / "store"), "FABLOOM_THREADS": "1", "COLUMNS": "200"}


def test_the_readme_example_is_the_example_file() -> None:
    shown = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert shown is not None
    assert (ROOT / shown[1]).read_text() == shown[2]


def test_python_blocks_run_in_order(tmp_path: Path, warm: Run) -> None:
    codes = [code for page, code in blocks("python") if "hookimpl" not in code and "Method" not in code]
    assert len(codes) >= 3
    # a page may go on with the store that an earlier one made
    codes.sort(key=lambda code: "fabloom.run(" not in code)
    for code in codes:
        done = warm(["-c", code], cwd=tmp_path, env=environment(tmp_path))
        assert done.returncode == 0, f"{code}\n{done.stderr}"


DOTTED = re.compile(r"(?<![\w./-])fabloom(?:\.[A-Za-z_]\w*)+")
NO_MODULES = {"fabloom.lock", "fabloom.json", "fabloom.x"}
PATHS = re.compile(r"(?<![\w./-])(?:core|storage|plugins|flows|tests|docs|benchmarks|examples)/[\w./-]*\w")
OWN_PAGES = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "RESULTS.md"]


def hasattr_deep(value: object, names: list[str]) -> bool:
    """Whether `value.a.b` is there for the names a, b."""
    return not names or (hasattr(value, names[0]) and hasattr_deep(getattr(value, names[0]), names[1:]))


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or an attribute of what its beginning names."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return hasattr_deep(value, parts[length:])
    return False


def test_the_names_of_fabloom_that_documents_tell_are_there() -> None:
    told = {(name, page.name) for page in OWN_PAGES for name in DOTTED.findall(page.read_text()) if name not in NO_MODULES}
    told |= {
        (f"{module}.{name.strip()}", page.name)
        for page in OWN_PAGES
        for module, names in re.findall(r"^from (fabloom[\w.]*) import ([\w, ]+)$", page.read_text(), re.M)
        for name in names.split(",")
    }
    assert len(told) > 40
    assert not [f"{page}: {name}" for name, page in sorted(told) if not resolves(name)]
    assert not resolves("fabloom.plugins.line_pair") and not resolves("fabloom.kinds.ImageSte")  # a control


def test_the_files_that_documents_name_are_there() -> None:
    told = {(path, page.name) for page in OWN_PAGES for path in PATHS.findall(page.read_text()) if "NAME" not in path}
    assert len(told) > 20
    assert not [f"{page}: {path}" for path, page in sorted(told) if not (ROOT / path).exists()]


def test_yaml_blocks_are_pipelines(tmp_path: Path) -> None:
    found = [code for _, code in blocks("yaml") if code.lstrip().startswith("name:")]
    assert found
    for code in found:
        path = tmp_path / "pipeline.yaml"
        path.write_text(code)
        Pipeline.load(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, warm: Run) -> tuple[Path, dict[str, str]]:
    """A store with what the documents' placeholders stand for, and the key of each: an image set, and a segmenter."""
    folder = tmp_path_factory.mktemp("made")
    images = "i: {task: line-pair.simulate, params: {count: 4, size: 32}}"
    small = "{steps: 1, batch: 2, accept_clean: true, decoder_channels: [8, 8, 8]}"
    (folder / "t.yaml").write_text(f"name: t\nsteps: {{{images}, segmenter: {{task: unet.train, inputs: {{images: i}}, params: {small}}}}}")
    done = warm(["-m", "fabloom.flows", "run", "t.yaml", "--engine", "inline", "--json"], cwd=folder, env=environment(folder))
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    return folder / "store", {"KEY": steps["i"]["key"], "MODEL": steps["segmenter"]["key"]}


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_docs_are_accepted(command: str, tmp_path: Path, warm: Run, made: tuple[Path, dict[str, str]]) -> None:
    """`run` is checked as `plan`, which takes the same pipeline and settings; what needs an artifact gets one."""
    folder = tmp_path / "work"
    (folder / "FOLDER" / "clean").mkdir(parents=True)
    from PIL import Image

    for index in range(2):
        Image.effect_noise((48, 48), 20 + index).save(folder / "FOLDER" / "clean" / f"no_defect{2 * index}.png")
    (folder / "FOLDER" / "defect").mkdir()
    Image.effect_noise((48, 48), 30).save(folder / "FOLDER" / "defect" / "bridge_defect1.png")
    for name in ("my-images", "tomorrow"):
        (folder / name).symlink_to(folder / "FOLDER")
    words = shlex.split(command)[1:]
    with_artifact = not {"KEY", "MODEL", "segmenter"}.isdisjoint(words)
    words = [str(made[0]) if word.startswith("s3://") else word for word in words]  # a bucket has tests of its own
    words = [made[1].get(word, word) for word in words]

    def run() -> subprocess.CompletedProcess[str]:
        variables = {**environment(folder), **({"FABLOOM_STORE": str(made[0])} if with_artifact else {})}
        return warm(["-m", "fabloom.flows", *words], cwd=folder, env=variables)

    if words[0] == "init":  # what it refuses of these images is not the question
        (folder / words[1]).mkdir(exist_ok=True)
        done = run()
        assert done.returncode in (0, 2) and "--help" not in done.stderr, done.stderr
        return
    if words[-2:] == ["--format", "segmenter"]:  # as far as the folder is looked at: test_segmenter.py goes on, for many seconds
        (folder / words[2] / "something").mkdir(parents=True)
        done = run()
        assert done.returncode == 2 and "exists and is no empty folder" in done.stderr, done.stderr
        return
    if words[0] == "run":
        words = ["plan", *words[1:]]
    words = ["one-step" if w == "pipeline.yaml" else w for w in words]
    words = ["one-step" if w == "PIPELINE" else w for w in words if w not in ("…",)]
    if "STEP" in words:
        words = words[: words.index("--redo")]
    done = run()
    assert done.returncode == 0, done.stderr


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_every_hook_is_documented() -> None:
    text = (ROOT / "docs" / "concepts.md").read_text()
    for name in (n for n in vars(Specs) if n.startswith("fabloom_")):
        assert f"`{name}(" in text, f"docs/concepts.md does not tell of {name}"


def test_every_built_in_loads_and_every_pipeline_type_checks(tmp_path: Path) -> None:
    registry = Registry.load()
    assert not [p for p in registry.problems if p.origin.distribution == "fabloom"]
    assert {"one-step", "one-step-full", "one-step-gpu", "line-pair-real", "line-pair-real-gpu", "one-shot", "one-shot-leaderboard"} <= set(
        registry.pipeline_names()
    )


# the tutorial, from its first command to its last


class Reader:
    """Does what the tutorial says, in a folder of its own: commands, changes, files; and keeps what the commands said."""

    def __init__(self, folder: Path, warm: Run) -> None:
        self.warm = warm
        self.top = self.at = folder
        self.site = folder / "site"
        self.said: list[str] = []
        self.changed = self.failing = False
        """The next run of the tests must fail: a change was made that the tutorial calls wrong."""

    def start(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        paths = [str(self.top / "my-weave" / "src"), str(self.site)]  # the sources first, as an editable installation has it
        env = {**environment(self.top), "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        if words[0] == sys.executable and "uv" not in words:
            return self.warm(words[1:], cwd=self.at, env=env)
        return subprocess.run(words, cwd=self.at, env=env, capture_output=True, text=True, check=False)

    def command(self, line: str) -> None:
        words = shlex.split(line)
        if words[0] == "cd":
            self.at = (self.at / words[1]).resolve()
            return
        done = self.start(self.argv(words))
        self.said.append(done.stdout + done.stderr)
        wrong = self.failing and words[0] == "pytest"
        assert (done.returncode != 0) is wrong, f"{line}\n{done.stdout}\n{done.stderr}"
        self.failing = self.failing and not wrong

    def argv(self, words: list[str]) -> list[str]:
        """The command as this test runs it: the same, but for an installation beside the environment and a smaller choice of tests."""
        match words:
            case ["fabloom", "run", "one-shot-leaderboard", *rest]:
                return [*FABLOOM, "plan", "one-shot-leaderboard", *rest]
            case ["fabloom", "run", *rest]:
                return [*FABLOOM, "run", *rest, "--engine", "inline"]
            case ["fabloom", *rest]:
                return [*FABLOOM, *rest]
            case ["pip", "install", "-e", what]:
                assert what == "./my-weave[test]"
                source = self.top / "source"  # a build leaves its traces in a copy
                shutil.copytree(self.top / "my-weave", source)
                options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable]
                return [sys.executable, "-m", "uv", "pip", "install", *options, "--target", str(self.site), str(source)]
            case ["pytest", *rest]:
                # as it comes from the template, all of them pass: tests/examples/test_own_tests.py
                chosen = [] if "-k" in rest else ["-k", "lock or (killed_and_resumed and train)" if self.changed else "lock"]
                return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *rest]
            case ["python", *rest]:
                return [sys.executable, *rest]
        raise AssertionError(f"the tutorial's test does not know how to run {words}")

    def change(self, name: str, text: str) -> None:
        (self.top / name).write_text(text)
        done = subprocess.run(
            ["git", "apply", "--verbose", str(self.top / name)], cwd=self.top, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        self.changed, self.failing = True, name == "average.diff"


def test_the_tutorial_works_from_its_first_command_to_its_last(tmp_path: Path, warm: Run) -> None:
    reader = Reader(tmp_path, warm)
    text = TUTORIAL.read_text()
    for language, title, body in re.findall(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", text, re.M | re.S):
        if language == "console":
            for line in body.replace("\\\n", " ").splitlines():
                reader.command(line.removeprefix("$ "))
        elif language == "diff":
            reader.change(title, body)
        elif language == "python":
            (reader.top / title).write_text(body)
        elif body.startswith("my-weave: "):  # what the tests said of the wrong change
            missing = [line for line in body.splitlines() if line not in reader.said[-1]]
            assert not missing, f"{missing}\n{reader.said[-1]}"
    assert not reader.failing
    before, after = (float(said.split()[4]) for said in reader.said if said.startswith("mean image: off by"))
    assert after < 0.75 * before
    leaderboard = reader.said[-1]
    assert "my-weave_segmentation" in leaderboard
    assert "steps would run" in leaderboard
