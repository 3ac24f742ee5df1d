"""`fabloom runs`, `report`, `open` and `compare`."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("surroundings")
Cli = Callable[..., Any]


@pytest.fixture
def two(cli: Cli, tmp_path: Path) -> Path:
    """A store with two runs of `fade`, that with more steps the newer."""
    store = tmp_path / "store"
    for steps in (2, 3):
        done = cli("run", "fade", "--engine", "inline", "--store", store, "--set", f"steps.model.params.steps={steps}", "--json")
        assert done.code == 0, done.err
    return store


def test_runs_come_and_go_by_name(cli: Cli, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest, oldest = cli("runs", "--store", two, "--json").json
    assert (newest["number"], oldest["number"]) == (1, 2) and newest["outcome"] == "done" and Path(newest["page"]).is_file()
    lines = cli("runs", "--store", two).out.splitlines()
    assert len(lines) == 3 and newest["run"] in lines[1] and oldest["run"] in lines[2]
    assert newest["run"] in cli("runs", "fade", "--store", two).out and "no run of fadd" in cli("runs", "fadd", "--store", two).out

    copy = tmp_path / "copy.html"
    assert cli("report", "2", "--store", two, "-o", copy, "--json").json == {"run": oldest["run"], "page": str(copy)}
    assert copy.read_bytes() == Path(oldest["page"]).read_bytes()

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    Path(oldest["page"]).unlink()
    done = cli("open", oldest["run"][:-3], "--store", two)
    assert (
        done.code == 0
        and done.out.strip() == oldest["page"]
        and opened == [Path(oldest["page"]).as_uri()]
        and Path(oldest["page"]).is_file()
    )
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    done = cli("open", "--store", two)
    assert done.code == 0 and done.out.strip() == newest["page"] and "No browser" in done.err
    assert cli("open", "--store", two, "--json").json == {"run": newest["run"], "page": newest["page"], "opened": False}

    told = cli("compare", "2", "1", "--store", two, "--json").json
    assert [one["run"] for one in told["runs"]] == [oldest["run"], newest["run"]] and Path(told["page"]).is_file()
    assert [(s["step"], s["field"], s["first"], s["second"]) for s in told["settings"]] == [("model", "steps", 2, 3)]
    assert {tuple(row["path"]) for row in told["metrics"]} == {("weight",), ("codes",)} and "No verdict" in told["verdict"]
    page = tmp_path / "both.html"
    done = cli("compare", "~1", newest["run"], "--store", two, "--out", page)
    assert done.code == 0 and "Settings that differ" in done.out and str(page) in done.out and "<script" not in page.read_text()
    same = cli("compare", "1", "1", "--store", two).out
    assert "No setting differs" in same and "the same run" in same and "chance" not in same


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["open", "9"], "the list has 2"), (["report", "nothing"], "no run 'nothing'"), (["compare", "1", "fade-"], "begins 2 runs"), (["compare", "1"], "RUN"),
        (["report", "1", "-o", "/dev/null/x.html"], "/dev/null"), (["compare", "1", "2", "-o", "."], "is a folder"),
    ],
)  # fmt: skip
def test_a_run_that_is_not_there_is_one_line_and_2(cli: Cli, two: Path, arguments: list[str], words: str) -> None:
    done = cli(*arguments, "--store", two)
    assert done.code == 2 and not done.out and len(done.err.strip().splitlines()) == 1 and words in done.err


def test_a_store_without_runs_says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert (
        "There is no run" in cli("runs", "--store", tmp_path / "empty").out
        and cli("runs", "--store", tmp_path / "empty", "--json").json == []
    )
    done = cli("open", "--store", tmp_path / "empty")
    assert done.code == 2 and "no runs yet" in done.err
