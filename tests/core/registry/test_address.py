"""A secret in the URL of a store is refused before anybody sees it, whichever way it came, and is not repeated."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabloom.errors import PluginError, UserError
from fabloom.flows.cli.main import main
from fabloom.registry import Registry
from fabloom.registry.address import check_address, without_secrets

SECRET = "hunter2Xy"
REFUSED = [
    f"demo://user:{SECRET}@host/x",
    f"demo://:{SECRET}@host/x",
    f"demo:/user:{SECRET}@host/x",
    f"demo://user:a@b{SECRET}@host:9000/x",
    f"demo://user:a/{SECRET}@host/x",
    f"demo://user:{SECRET}",
    f"demo://user%3A{SECRET}@host/x",
    f"demo://user%253A{SECRET}@host/x",
    f"remote+s3://user:{SECRET}@host/x",
    f"filecache::s3://user:{SECRET}@host/x",
    f"user:{SECRET}@host/x",
    f"user:{SECRET}@host:/x",
    *(
        f"demo://host/x?{name}={SECRET}"
        for name in (
            "token", "key", "password", "sig", "X-Amz-Signature", "X-Amz-Security-Token", "AWSAccessKeyId", "account_key", "client-secret",
            "accessKey", "SharedAccessSignature", "a=1&pwd", "a=1;auth", "%74oken", "api%5Fkey", " token",
        )
    ),
    f"demo://host/x#access_token={SECRET}",
    f"s3://bucket/x?{SECRET}_token=1",
]  # fmt: skip
KEPT = [
    "/a/folder", "folder", "./12:30 me@work/x", "~/runs", "file:///a/folder", "file:///C:/runs", "", "/data/a:b@c/x", "/data/x?token=1",
    "demo://host/x", "demo://host:9000/x", "demo://[fe80::1]/x", "demo://[fe80::1]:9000/x", "ssh://me@host:22/x",
    "abfs://container@account.dfs.core.windows.net/x", "s3://bucket/2026-11-25T12:30/me@work", "remote+memory://lab/runs",
    "zip://*.csv::s3://bucket/x.zip", "demo://host/x?region=eu&endpoint=http%3A%2F%2Fhost%3A9000&keys_only=1", "demo://host/x?versioned",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="environment variables") as caught:
        check_address(url)
    assert SECRET.lower() not in str(caught.value).lower() and "\n" not in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("url", KEPT)
def test_what_holds_no_secret_is_kept(url: str) -> None:
    check_address(url)


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1).filter(lambda text: not re.search(r"[/?#]", text)), st.text("abc.-", min_size=1))
def test_any_password_is_refused_written_out_or_quoted(password: str, host: str) -> None:
    for written in (password, quote(password, safe="")):
        with pytest.raises(UserError):
            check_address(f"demo://user:{written}@{host}/x")


def test_secrets_are_taken_out_of_messages() -> None:
    told = without_secrets(
        f"for url 'http://user:{SECRET}@127.0.0.1:4200/api/flows?limit=1&sig={SECRET}' and http://{SECRET}@host and http://host/a@b?x=1"
    )
    assert told == "for url 'http://127.0.0.1:4200/api/flows?limit=1&sig=***' and http://host and http://host/a@b?x=1"


def test_a_url_at_the_wrong_place_is_not_repeated_either(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("FABLOOM_STORE", str(tmp_path / "store"))
    for command in (["run"], ["plan"], ["show"], ["ref", "log"]):
        with monkeypatch.context() as given:
            given.setattr("sys.argv", ["fabloom", *command, f"demo://user:{SECRET}@host/x?sig={SECRET}"])
            with pytest.raises(SystemExit) as caught:
                main()
        out, err = capfd.readouterr()
        assert caught.value.code == 2 and SECRET not in out + err and "host/x?sig=***" in err, err


PLUGIN = """
from fabloom import hookimpl
from fabloom.storage.backends.local import LocalStore

class Telling(LocalStore):
    url = "demo://user:hunter2Xy@host/x"

@hookimpl
def fabloom_open_store(url):
    if url.startswith("demo://"):
        open({seen!r}, "a").write(url)
        return Telling({place!r})
"""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a plugin for demo:// was asked to open, whose own store tells a secret; in an empty working folder."""
    site, module = tmp_path / "site", f"demo_{abs(hash(tmp_path))}"
    info = site / "demo-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(PLUGIN.format(seen=str(tmp_path / "seen"), place=str(tmp_path / "place")))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fabloom.plugins]\ndemo = {module}\n")
    monkeypatch.syspath_prepend(str(site))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "seen"


COMMANDS = [
    ["run", "one-step"], ["run", "one-step", "--json"], ["run", "one-step", "--engine", "inline"], ["plan", "one-step"], ["artifacts"],
    ["show", "abcdef"], ["verify", "--json"], ["gc"], ["export", "abcdef", "out"], ["ref", "list"], ["ref", "set", "a", "abcdef"],
]  # fmt: skip


def test_every_command_refuses_it_in_one_line_with_2_and_leaves_nothing(
    seen: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"demo://user:{SECRET}@host/x"
    for command in COMMANDS:
        for arguments, variable in ((["--store", url], None), ([], url), ([], f"user:{SECRET}@host/x"), ([], f"demo://h/x?sig={SECRET}")):
            with monkeypatch.context() as given:
                given.setattr("sys.argv", ["fabloom", *command, *arguments])
                if variable:
                    given.setenv("FABLOOM_STORE", variable)
                with pytest.raises(SystemExit) as caught:
                    main()
            out, err = capfd.readouterr()
            assert caught.value.code == 2 and out == "" and SECRET not in err, (command, err)
            assert len(err.splitlines()) == 1 and "environment variables" in err, err
    assert not seen.exists() and not list(Path().iterdir()), "no plugin was asked, nothing was made"


def test_a_plugin_whose_store_tells_a_secret_is_refused(seen: Path) -> None:
    with pytest.raises(PluginError, match=r"plugin demo:.* gives a store that tells a secret") as caught:
        Registry.load().open_store("demo://host/x")
    assert SECRET not in str(caught.value) and seen.read_text() == "demo://host/x"
