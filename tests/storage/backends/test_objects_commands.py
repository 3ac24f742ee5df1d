"""`--store s3://bucket/prefix`: a run, the commands that look, what is told where the door stays shut, and the secret that nobody sees."""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fabloom.flows.cli import doctor
from fabloom.flows.cli.main import main
from fabloom.kinds import ImageSet
from fabloom.registry import Registry
from fabloom.storage.backends.objects.store import ObjectStore
from fabloom.testing.store.conformance import commit, pictures

pytestmark = pytest.mark.usefixtures("s3")

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command in this process, its work folder below tmp_path."""
    monkeypatch.setenv("FABLOOM_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["fabloom", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capfd.readouterr()

    return call


@pytest.fixture
def url() -> str:
    return f"s3://lab/{secrets.token_hex(4)}"


@pytest.fixture
def guarded(s3: str) -> Iterator[None]:
    """From here on the server asks who is there."""

    def ask(count: str) -> None:
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{s3}/moto-api/reset-auth", count.encode(), plain, method="POST")).read()

    ask("0")
    yield
    ask("inf")


def test_a_run_is_reused_by_another_machine_and_looked_at_by_every_command(
    cli: Cli, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text("name: tiny\nsteps:\n  images: {task: line-pair.simulate, params: {count: 4}}\n")
    code, out, err = cli("run", "tiny.yaml", "--engine", "inline", "--store", url, "--json")
    assert code == 0, err
    step = json.loads(out)["steps"]["images"]
    assert step["status"] == "ran"
    key = step["key"]
    assert cli("ref", "set", "line/champion", key, "--store", url)[0] == 0
    monkeypatch.setenv("FABLOOM_WORK_DIR", str(tmp_path / "another"))
    for words in (
        ("artifacts",),
        ("show", key[:8]),
        ("lineage", "line/champion"),
        ("verify",),
        ("ref", "list"),
        ("ref", "log", "line/champion"),
        ("runs",),
        ("export", key, "png"),
        ("export", key, "zarr", "--format", "zarr"),
    ):
        code, out, err = cli(*words, "--store", url)
        assert code == 0 and out, (words, err)
    assert not (tmp_path / "another").exists(), "who only looks leaves nothing here"
    assert (tmp_path / "zarr" / "data.zarr" / "zarr.json").is_file() and len(list((tmp_path / "png").rglob("*.png"))) >= 4
    assert "reuse" in cli("plan", "tiny.yaml", "--store", url)[1]
    code, out, _ = cli("run", "tiny.yaml", "--engine", "inline", "--store", url, "--json")
    assert json.loads(out)["steps"]["images"]["status"] == "reused"
    assert cli("ref", "rollback", "line/champion", "--store", url)[0] == 2
    code, out, _ = cli("gc", "--unreferenced", "--older-than", "0", "--yes", "--store", url, "--json")
    assert code == 0 and json.loads(out)["artifacts"] == []
    told = doctor._guarded("store", lambda: doctor._store(url, Registry.load()))
    assert told.ok and told.finding.startswith(f"{url}: 1 artifacts"), told.finding


def test_a_wrong_secret_is_one_line_and_exit_3_and_is_nowhere(cli: Cli, url: str, tmp_path: Path, guarded: None) -> None:
    for words in (
        ("artifacts",),
        ("gc",),
        ("ref", "set", "champion", "a" * 40),
        ("run", "one-step", "--engine", "inline"),
        ("run", "one-step"),
    ):
        code, out, err = cli(*words, "--store", url)
        assert (code, out, len(err.splitlines())) == (3, "", 1) and "access denied" in err and "AWS_SECRET_ACCESS_KEY" in err, err
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in err
    assert not any(tmp_path.rglob("work/*"))


def test_the_right_secret_opens_the_door_and_is_kept_nowhere(
    cli: Cli, url: str, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    import boto3  # type: ignore[import-untyped]

    iam = boto3.client("iam", endpoint_url=s3, region_name="us-east-1")
    iam.create_user(UserName="operator")
    iam.put_user_policy(
        UserName="operator", PolicyName="s3",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}),
    )  # fmt: skip
    key = iam.create_access_key(UserName="operator")["AccessKey"]
    request.getfixturevalue("guarded")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    store = ObjectStore(url, work=tmp_path / "w")
    made = commit(store, "images", lambda ctx: ImageSet.write(ctx, pictures(3)))
    store.refs.set("champion", made.key)
    told = [
        repr(store),
        repr(store.bucket),
        repr(store.__dict__),
        *cli("artifacts", "--store", url),
        *cli("show", made.key, "--store", url, "--json"),
    ]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    objects = b"".join(bytes(piece) for entry in store.bucket.list("") for piece in store.bucket.stream(entry.name))
    assert made.key.encode() in objects
    for secret in (key["SecretAccessKey"], key["AccessKeyId"]):
        assert secret not in " ".join(map(str, told)) and secret.encode() not in files + objects


@pytest.mark.parametrize("given", ["s3://key:word@lab/x", "s3://AKIA@lab/x", "s3://lab/x?secret=word"])
def test_credentials_in_a_url_are_exit_2(cli: Cli, given: str) -> None:
    code, out, err = cli("artifacts", "--store", given)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and ":word" not in err and "=word" not in err and "AKIA@" not in err
