"""What `fabloom deploy` refuses before anything is sent, and what it would send. A real server and worker: test_deployments.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.production import subject
from fabloom.flows.production.subject import Asked
from fabloom.flows.production.when import NEW_DATA, When, read_when, spell

INSTALLED = Path(__file__).parents[2] / "installed"
PIPELINE = """
name: mine
steps:
  images: {task: fade.make}
"""


@pytest.fixture(autouse=True)
def fade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(INSTALLED))
    monkeypatch.delenv("FABLOOM_STORE", raising=False)


@pytest.mark.parametrize(
    ("cron", "timezone", "interval", "words"),
    [
        ("0 2 * *", None, None, "has 4 fields"),
        ("0 2 * * *", "Mars/Olympus", None, "'Mars/Olympus' is not known"),
        ("0 2 * * *", None, "1h", "both say when"),
        (None, "UTC", None, "without one leave it out"),
        (None, None, "soon", "is no time"),
        (None, None, "3s", "between 10 s and a year"),
        (None, None, "4000d", "between 10 s and a year"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(cron: str | None, timezone: str | None, interval: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_when(cron, timezone, interval)


def test_schedules_are_told_as_they_are_read() -> None:
    assert read_when(" 0  2 * * * ", "Europe/Berlin", None) == When(cron="0 2 * * *", timezone="Europe/Berlin")
    assert str(read_when(None, None, "1h30m")) == "every 1h30m" and spell(90061) == "1d1h1m1s"
    assert read_when(None, None, "5400").interval == 5400
    assert read_when(None, None, None, on_new_data=True).interval == NEW_DATA
    assert str(When()) == "when asked"


def test_files_of_a_deployment_are_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    with pytest.raises(UserError, match=f"relative path.*another machine.*{tmp_path}/mine.yaml"):
        subject.read_subject(Asked("mine.yaml"))
    found = subject.read_subject(Asked(str(tmp_path / "mine.yaml"), None, ["steps.images.params.count=3"], seed=4))
    assert found.tags == ["fabloom", "pipeline:mine"]
    wanted = {"pipeline": str(tmp_path / "mine.yaml"), "store": str(tmp_path / ".fabloom"), "seed": 4}
    assert wanted.items() <= found.parameters.items() and found.parameters["overrides"] == ["steps.images.params.count=3"]
    assert not (tmp_path / ".fabloom").exists(), "nothing is made"
    data = "steps: {images: {task: images.load, params: {path: data/set}}}"
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{data}\n")
    with pytest.raises(UserError, match=rf"steps\.images\.params\.path: .*relative path.*{tmp_path}/data/set"):
        subject.read_subject(Asked(str(tmp_path / "mine.yaml")))


SPEC = """
line: etch
pipeline: mine.yaml
challenger: images
evaluate: {task: unet.evaluate, test: "ref:etch/heldout"}
gate: [{metric: iou_defect, by: 0.01}]
watch: [incoming, "ref:etch/images"]
"""


def test_a_line_is_deployed_with_a_folder_from_which_its_paths_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fabloom.flows.production.deploy import Wish, build

    monkeypatch.chdir(tmp_path)  # where there is no store: a specification is planned against the one that is here
    spec = tmp_path / "retrain.yaml"
    spec.write_text(SPEC)
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    with pytest.raises(UserError, match=r"pipeline: 'mine.yaml' is a relative path.*--folder"):
        subject.read_subject(Asked(str(spec)))
    with pytest.raises(UserError, match="--folder 'here' is no folder"):
        subject.read_subject(Asked(str(spec), folder="here"))
    found = subject.read_subject(Asked("retrain.yaml", folder=str(tmp_path), on_new_data=True))
    wanted = {"spec": str(spec), "store": str(tmp_path / ".fabloom"), "device": "specified", "seed": -1, "if_new": True}
    assert found.parameters == wanted and found.tags == ["fabloom", "line:etch"]
    made = build(Wish(found.name, found, When(interval=300)))
    assert made.full_name == "fabloom retrain/etch" and made.entrypoint == "fabloom.flows.production.flow.retrain"
    assert made.job_variables["working_dir"] == str(tmp_path) and made.job_variables["env"]["PYTHONSAFEPATH"] == "1"
    with pytest.raises(UserError, match="leave --set out"):
        subject.read_subject(Asked(str(spec), folder=str(tmp_path), overrides=["steps.images.params.count=3"]))
    spec.write_text(SPEC.replace("incoming", "/data/incoming").replace("mine.yaml", f"{tmp_path}/mine.yaml"))
    assert subject.read_subject(Asked(str(spec))).folder == ""
    with pytest.raises(UserError, match="a pipeline says nothing of it"):
        subject.read_subject(Asked("fade", on_new_data=True))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("challenger: images", "challenger: imagse", "challenger: .*Did you mean 'images'"),
        ("unet.evaluate", "unet.evaluat", "evaluate.task: there is no task"),
        ('"ref:etch/heldout"', "heldout", "evaluate.test: 'heldout' is no step"),
        ('heldout"}', 'heldout", params: {resampels: 9}}', "evaluate.params.*resamples"),
        ("watch:", "check: {step: imagse}\nwatch:", "check.step: .*Did you mean 'images'"),
    ],
)
def test_a_specification_that_would_fail_every_night_is_refused_today(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Where there is no store yet: names, task and parameters."""
    assert old in SPEC
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    (tmp_path / "retrain.yaml").write_text(SPEC.replace(old, new))
    with pytest.raises(UserError, match=words):
        subject.read_subject(Asked("retrain.yaml", folder=str(tmp_path)))


def test_a_specification_is_planned_where_its_store_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a ref that points nowhere is seen too, and what the evaluation cannot take."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    (tmp_path / "retrain.yaml").write_text(SPEC)
    asked = Asked("retrain.yaml", "store", folder=str(tmp_path))
    with pytest.raises(UserError, match=r"evaluate\.test: there is no ref 'etch/heldout'"):
        subject.read_subject(asked)
    (tmp_path / "retrain.yaml").write_text(SPEC.replace('"ref:etch/heldout"', "images"))
    with pytest.raises(UserError, match="expects Model"):
        subject.read_subject(asked)


def test_a_store_in_a_bucket_is_planned_against_where_it_lets_us_in(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FABLOOM_WORK_DIR", str(tmp_path / "work"))
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    (tmp_path / "retrain.yaml").write_text(SPEC)
    asked = Asked("retrain.yaml", "s3://lab/plans", folder=str(tmp_path))
    with pytest.raises(UserError, match=r"evaluate\.test: there is no ref 'etch/heldout'"):
        subject.read_subject(asked)
    (tmp_path / "mine.yaml").write_text(PIPELINE + "  more: {task: fade.train, inputs: {images: 'ref:gone'}}\n")
    with pytest.raises(UserError, match="there is no ref 'gone'"):
        subject.read_subject(replace(asked, what="mine.yaml"))
    found = subject.read_subject(Asked("fade", "s3://lab/plans"))
    assert (found.unplanned, found.parameters["store"]) == ("", "s3://lab/plans")
    assert "no such bucket" in subject.read_subject(Asked("fade", "s3://nowhere/plans")).unplanned
    monkeypatch.setenv("FABLOOM_S3_ENDPOINT", "http://127.0.0.1:9")
    why = subject.read_subject(asked).unplanned
    assert "'s3://lab/plans'" in why and "\n" not in why and "nobody-shows" not in why
    (tmp_path / "retrain.yaml").write_text(SPEC.replace("challenger: images", "challenger: imagse"))
    with pytest.raises(UserError, match="Did you mean 'images'"):
        subject.read_subject(asked)
    assert not [*(tmp_path / "work").glob("*/*/*")], "nothing is made or kept"


@pytest.mark.parametrize(("store", "why"), [("store", "no store at .*/store yet"), ("here", "")])
def test_what_kept_a_plan_from_being_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert re.search(f"^.*{why}$", subject.read_subject(Asked("fade", store)).unplanned)
    (tmp_path / "mine.yaml").write_text("name: mine\nsteps: {images: {task: images.load, params: {path: /data/of/another/machine}}}\n")
    assert "/data/of/another/machine is not on this machine" in subject.read_subject(Asked(str(tmp_path / "mine.yaml"), store)).unplanned
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    monkeypatch.chdir("/")
    assert "asked elsewhere" in subject.read_subject(Asked("mine.yaml", folder=str(tmp_path))).unplanned


KNOWN = ["fabloom/etch", "fabloom retrain/etch", "fabloom retrain/litho"]


def test_a_deployment_is_found_by_its_name_or_its_full_name() -> None:
    from fabloom.flows.production.listing import named

    assert named("litho", KNOWN) == named("fabloom retrain/litho", KNOWN) == "fabloom retrain/litho"
    assert named("fabloom/etch", KNOWN) == "fabloom/etch"
    with pytest.raises(UserError, match="name of 2 deployments: 'fabloom retrain/etch', 'fabloom/etch'"):
        named("etch", KNOWN)
    with pytest.raises(UserError, match="no deployment 'fabloom/litho'"):
        named("fabloom/litho", KNOWN)
    with pytest.raises(UserError, match="Did you mean 'litho'"):
        named("lito", KNOWN)


@pytest.mark.parametrize(
    ("overrides", "store", "words"),
    [
        (["steps.imagse.params.count=3"], None, "images"),
        (["steps.images.params.cuont=3"], None, "count"),
        (["steps.images.params.count=-3"], None, "steps.images.params.count"),
        ([], "s3://key:hunter2@host/x", "holds a password"),
    ],
)
def test_what_would_fail_every_night_is_refused_today(overrides: list[str], store: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        subject.read_subject(Asked("fade", store, overrides))
    assert "hunter2" not in str(caught.value)


def test_a_name_that_prefects_addresses_cannot_hold_is_refused() -> None:
    assert subject.check_name("nightly 2") == "nightly 2"
    for bad in ("", "a/b", "-x", "<b>", "x" * 101):
        with pytest.raises(UserError, match="--name"):
            subject.check_name(bad)


def test_a_deployment_has_a_module_flat_parameters_one_run_at_a_time_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """And Prefect's schema of the flow takes the parameters: a worker would refuse them otherwise."""
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy

    from fabloom.flows.production.deploy import Wish, build
    from fabloom.flows.run.prefect.flow import run_pipeline

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    found = subject.read_subject(Asked("fade", "/data/store"))
    wish = Wish("nightly", found, When(interval=900), pool="plant", secrets={"AWS_SECRET_ACCESS_KEY": "plant-s3"})
    made = build(wish)
    assert made.entrypoint == "fabloom.flows.run.prefect.flow.run_pipeline" and made.full_name == "fabloom/nightly"
    assert made.concurrency_limit == 1 and made.concurrency_options is not None
    assert made.concurrency_options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    assert made.job_variables["env"]["AWS_SECRET_ACCESS_KEY"] == "{{ prefect.blocks.secret.plant-s3 }}"
    assert "hunter2" not in made.model_dump_json()
    assert set(made.parameters) == set(run_pipeline.parameters.properties)
    assert not [name for name, value in made.parameters.items() if isinstance(value, dict)]
    run_pipeline.validate_parameters(made.parameters)
    again = build(wish)
    assert made.schedules == again.schedules and made.schedules is not None, "registering twice shifts nothing"
    assert [schedule.slug for schedule in made.schedules] == ["fabloom"]
    with pytest.raises(UserError, match=r"'61 \* \* \* \*' cannot be"):
        build(Wish("nightly", found, When(cron="61 * * * *")))
    assert build(wish, served=True).work_pool_name is None


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "words"),
    [
        (["fade", "--secret", "AWS_SECRET_ACCESS_KEY=hunter2!"], {}, 2, "never the secret itself"),
        (["faed"], {}, 2, "Did you mean 'fade'?"),
        (["fade"], {}, 3, "no Prefect server is named"),
        (["fade"], {"PREFECT_API_URL": "http://user:hunter2@127.0.0.1:9/api"}, 3, "does not answer at http://127.0.0.1:9/api"),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path, warm: Any, arguments: list[str], variables: dict[str, str], code: int, words: str
) -> None:
    known = {**os.environ, "PYTHONPATH": str(INSTALLED), "PREFECT_HOME": str(tmp_path / "prefect"), "NO_PROXY": "*", **variables}
    done = warm(["-m", "fabloom.flows", "deploy", *arguments], cwd=tmp_path, env=known)
    assert done.returncode == code, done.stderr
    assert words in done.stderr and len(done.stderr.splitlines()) == 1 and "hunter2" not in done.stderr + done.stdout
    assert not (tmp_path / ".fabloom").exists()


def test_the_listing_of_commands_does_not_import_prefect() -> None:
    code = "import sys; from fabloom.flows.cli import main; print('prefect' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == json.dumps(False).title()
    )
