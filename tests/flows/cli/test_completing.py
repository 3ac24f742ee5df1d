"""What a shell completes, as it asks for it; and that asking loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabloom import testing
from fabloom.storage.backends.local import LocalStore

RUNNER = """
import json, os, sys
from fabloom.flows.cli.main import main
sys.argv = ["fabloom"]
answers = {}
import contextlib, io
for asked in json.loads(sys.stdin.read()):
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = asked, str(len(asked.split(" ")) - 1)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main()
    answers[asked] = out.getvalue().split()
print(json.dumps([answers, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def ask(store: Path, *asked: str) -> tuple[dict[str, list[str]], set[str]]:
    environment = {**os.environ, "_FABLOOM_COMPLETE": "complete_bash", "FABLOOM_STORE": str(store)}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(asked), env=environment, capture_output=True, text=True, check=True
    )
    answers, loaded = json.loads(done.stdout)
    return answers, set(loaded)


def test_a_shell_is_told_what_may_come_next(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    key = testing.write_artifact(store, testing.tiny_report).key
    store.refs.set("line/champion", key)
    asked = {
        "fabloom pl": {"plan", "plugins"},
        "fabloom run one-s": {"one-shot", "one-step", "one-shot-leaderboard", "one-step-leaderboard", "one-step-full", "one-step-gpu"},
        "fabloom run one-shot --redo se": {"segmenter"},
        "fabloom run one-shot --set steps.mo": {"steps.model."},
        "fabloom plan one-shot --set steps.model.params.st": {"steps.model.params.steps="},
        "fabloom tasks unet.tr": {"unet.train"},
        f"fabloom show {key[:3]}": {key[:12]},
        "fabloom lineage li": {"line/champion"},
        "fabloom ref log li": {"line/champion"},
        "fabloom run no-such --redo ": set(),
    }
    answers, loaded = ask(tmp_path / "store", *asked)
    assert {words: set(found) for words, found in answers.items()} == asked
    assert not loaded & {"torch", "prefect", "zarr", "numpy", "rich"}
    assert ask(tmp_path / "nothing", "fabloom show ", "fabloom ref log ")[0] == {"fabloom show ": [], "fabloom ref log ": []}
    assert not (tmp_path / "nothing").exists(), "asking makes no store"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_by_the_variable_that_is_answered(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from fabloom.flows.cli.completing import VARIABLE
    from fabloom.flows.cli.shell import completion

    completion(shell)  # type: ignore[arg-type]
    told = capsys.readouterr().out
    assert f"{VARIABLE}=complete_{shell}" in told and "fabloom" in told
    completion(shell, json_=True)  # type: ignore[arg-type]
    assert json.loads(capsys.readouterr().out)["script"] == told.rstrip("\n")
