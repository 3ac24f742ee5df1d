"""Where the command line writes: one line for an error, whatever is in it, and streams that are closed, full or gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabloom.flows.cli.output import LONGEST, emit_json, one_line, say, table


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain  words", "plain  words"), ("two\n  lines\r\n", "two lines"), ("red \x1b[31m", "red \\x1b[31m"), ("\udcff", "\\udcff"), ("é漢", "é漢"),
        ("a\u2028b\x85c", "a b c"), ("\u202e", "\\u202e"), ("", ""),
    ],
)  # fmt: skip
def test_a_message_is_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_middle_of_a_very_long_line_is_left_out() -> None:
    line = one_line("begin" + "x" * 10 * LONGEST + "end")
    assert line.startswith("begin") and line.endswith("end") and " … " in line and len(line) == LONGEST + 3


def test_what_is_printed_moves_no_cursor_and_json_loses_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    odd = "\x1b[31m\x9b2J\u202e\udce9\U000e0001é"
    say(odd)
    table(["a", "b"], [[odd, odd], ["c", "d\ne"]])
    out = capfd.readouterr().out
    assert len(out.splitlines()) == 4 and all(c.isprintable() for c in out.replace("\n", "")) and "é" in out
    emit_json({"name": odd})
    out = capfd.readouterr().out
    assert json.loads(out) == {"name": odd} and all(c.isprintable() for c in out.replace("\n", "")) and "é" in out


def shell(redirection: str, arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`fabloom ARGUMENTS` in a shell, with its streams as they are redirected."""
    command = f'"{sys.executable}" -P -m fabloom.flows {arguments} {redirection}'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=folder)


def test_closed_and_full_streams(tmp_path: Path) -> None:
    """What a descriptor that is closed costs: the next file that is opened takes its number, and what is printed goes into it."""
    script = "import os, sys; from fabloom.flows.cli.output import settle; settle()\n"
    script += "f = open('data', 'w'); print('x'); os.write(1, b'y'); os.write(2, b'z'); f.write('whole'); f.close()"
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{script}" 0<&- 1>&- 2>&-'], check=False, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "data").read_text() == "whole"
    done = shell(">/dev/full", "artifacts", tmp_path)
    assert done.returncode == 3
    assert done.stderr == "fabloom: the output cannot be written: No space left on device. Mend the disk, or write it elsewhere.\n"
    done = shell(">&-", "artifacts", tmp_path)
    assert done.returncode == 0 and not done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fabloom.flows", "artifacts"], stdout=writing, stderr=subprocess.PIPE, check=False, cwd=tmp_path
    )
    os.close(writing)
    assert done.returncode == 1 and not done.stderr, "as in `| head`"
