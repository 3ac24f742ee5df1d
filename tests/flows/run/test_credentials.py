"""The keys of a bucket from a block of Prefect's. With a real server, worker and bucket: `benchmarks/deployments.py`, case short."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.flows.run.prefect import credentials
from fabloom.flows.run.prefect.credentials import BLOCK, lent, variables

SECRET = "hunter2/of+the-plant"
GOOD = {"access_key_id": "PLANT", "secret_access_key": SECRET}


@pytest.mark.parametrize("value", [GOOD, {**GOOD, "region": None, "session_token": ""}])
def test_a_block_is_the_json_of_the_keys(value: Any) -> None:
    assert variables("plant-s3", json.dumps(value)) == {"AWS_ACCESS_KEY_ID": "PLANT", "AWS_SECRET_ACCESS_KEY": SECRET}
    whole = {**GOOD, "session_token": "t", "region": "eu-central-1", "endpoint": "https://minio.example.com"}
    found = variables("plant-s3", json.dumps(whole))
    assert found["FABLOOM_S3_ENDPOINT"] == "https://minio.example.com" and len(found) == 5


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (SECRET, "is no JSON object"),
        (json.dumps([SECRET]), "is no JSON object"),
        (None, "is no JSON object"),
        (GOOD, "is an object, which Prefect shows in plain"),
        ({"access_key_id": SECRET}, "has no secret_access_key"),
        ({"access_key_id": "", "region": SECRET}, "has no access_key_id and no secret_access_key"),
        ({**GOOD, SECRET: "x"}, "has a name that is none of access_key_id, secret_access_key"),
        ({**GOOD, "region": [SECRET]}, "has a region that is no text"),
        ({**GOOD, "endpoint": f"{SECRET}\nx"}, "has a endpoint that is no text"),
    ],
)
def test_what_does_not_fit_is_told_without_a_word_of_it(value: Any, words: str) -> None:
    with pytest.raises(EnvironmentProblem, match=words) as caught:
        variables("plant-s3", value if value is GOOD or not isinstance(value, dict) else json.dumps(value))
    assert "plant-s3" in str(caught.value) and "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_keys_are_in_the_environment_for_the_time_of_a_run_and_nothing_of_others_is_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"AWS_ACCESS_KEY_ID": "OWN", "AWS_SECRET_ACCESS_KEY": "own", "AWS_SESSION_TOKEN": "of-own", "FABLOOM_S3_ENDPOINT": "http://own"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv(BLOCK, raising=False)
    monkeypatch.setattr(credentials, "_value", lambda block: json.dumps({**GOOD, "region": "eu-central-1"}))
    with lent():
        assert os.environ["AWS_ACCESS_KEY_ID"] == "OWN", "no block is named"
    monkeypatch.setenv(BLOCK, "plant-s3")
    with pytest.raises(RuntimeError), lent():
        assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("PLANT", SECRET)
        assert "AWS_SESSION_TOKEN" not in os.environ, "a token of other keys would make these invalid"
        assert (os.environ["AWS_REGION"], os.environ["FABLOOM_S3_ENDPOINT"]) == ("eu-central-1", "http://own")
        raise RuntimeError
    assert own.items() <= os.environ.items() and "AWS_REGION" not in os.environ


def test_a_flow_run_whose_block_does_not_fit_ends_as_failed_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from fabloom.flows.production import shown
    from fabloom.flows.run.prefect.order import Order
    from fabloom.flows.run.prefect.session import run

    monkeypatch.setenv(BLOCK, "plant-s3")
    monkeypatch.setattr(credentials, "_value", lambda block: SECRET)
    for state in (run(Order("one-step", store="s3://lab/x")), shown.carry_out(shown.Parameters("/srv/retrain.yaml", "s3://lab/x"))):
        ended: Any = state
        assert ended.is_failed() and "'plant-s3'" in ended.message and "hunter2" not in ended.message and "\n" not in ended.message


def test_a_deployment_names_the_block_and_only_a_bucket_has_one() -> None:
    from fabloom.flows.cli.deploying import _s3_block
    from fabloom.flows.production.deploy import Wish, build, environment
    from fabloom.flows.production.subject import Subject
    from fabloom.flows.production.when import When

    assert _s3_block("plant-s3", "s3://lab/x") == "plant-s3" and _s3_block(None, "/srv/store") == ""
    for name, store in (("plant-s3", "/srv/store"), (SECRET, "s3://lab/x")):
        with pytest.raises(UserError, match="--s3-credentials") as caught:
            _s3_block(name, store)
        assert "hunter2" not in str(caught.value)
    wish = Wish("nightly", Subject("pipeline", "fade", {}), When(), s3_block="plant-s3")
    assert build(wish).job_variables["env"] == environment(wish) == {"PYTHONSAFEPATH": "1", BLOCK: "plant-s3"}
