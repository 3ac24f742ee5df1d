"""Templates of container pools and the image. No container runs here: a real server takes the templates in test_deployments.py."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.production import pools

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "production"
INSTRUCTIONS = {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "CMD"}


@pytest.mark.parametrize("kind", pools.KINDS)
def test_the_files_are_what_the_installed_prefect_makes(kind: pools.Kind) -> None:
    """Another version ships another template: `python -m fabloom.flows.production.pools KIND > examples/production/KIND-pool.json`."""
    assert json.loads((EXAMPLES / f"{kind}-pool.json").read_text()) == pools.template(kind)


@pytest.mark.parametrize("arguments", [[], ["k8s"], ["docker", "kubernetes"]])
def test_a_kind_of_pool_that_there_is_not_gets_no_other_ones_template(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="KIND one of docker, kubernetes"):
        pools.main(arguments)
    assert json.loads(pools.main(["docker"])) == pools.template("docker")


def test_the_prefect_that_is_advised_is_the_one_that_is_needed() -> None:
    needed = next(one for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if "prefect" in one)
    assert needed in Path(pools.__file__).read_text()


@pytest.mark.parametrize("kind", pools.KINDS)
def test_a_job_filled_in_has_image_store_and_secret_and_nothing_left_open(kind: pools.Kind) -> None:
    """As a worker fills it in: the pool's defaults, under the deployment's job variables."""
    from prefect.utilities.templating import apply_values, find_placeholders

    template = pools.template(kind)
    known = template["variables"]["properties"]
    used = {one.name for one in find_placeholders(json.dumps(template["job_configuration"]))}
    assert used <= set(known), "the server refuses a template whose variables it does not declare"
    values: dict[str, Any] = {name: field["default"] for name, field in known.items() if "default" in field}
    values["env"] = {**values["env"], "AWS_SECRET_ACCESS_KEY": "filled in by the worker"}
    job = apply_values(template["job_configuration"], values)
    assert not find_placeholders(json.dumps(job))
    assert job["env"]["FABLOOM_STORE"].startswith(pools.PLACE) and job["env"]["PYTHONSAFEPATH"] == "1"
    if kind == "docker":
        assert job["image"] == pools.IMAGE and job["volumes"] == [f"{pools.PLACE}:{pools.PLACE}"]
        return
    spec = job["job_manifest"]["spec"]
    pod = spec["template"]["spec"]
    assert (spec["parallelism"], spec["completions"]) == (1, 1) and not {*pools.OF_THE_JOB} & {*pod}, "what a pod has not"
    (container,) = pod["containers"]
    assert container["image"] == pools.IMAGE and pod["terminationGracePeriodSeconds"] >= 60
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["store"] == pools.PLACE and {volume["name"] for volume in pod["volumes"]} == set(mounted)
    assert "nvidia.com/gpu" not in container["resources"].get("limits", {}), "a GPU is asked for only where one is wanted"
    with_gpu = apply_values(template["job_configuration"], {**values, "gpus": "1"})
    (container,) = with_gpu["job_manifest"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions in order: word and the rest."""
    text = re.sub(r"\\\n", " ", (EXAMPLES / "Dockerfile").read_text())
    return [(word, rest) for line in text.splitlines() if line.strip() and line[0] != "#" for word, _, rest in [line.partition(" ")]]


def test_the_image_installs_this_package_and_runs_as_nobody_special() -> None:
    """Read as text: there is no Docker here."""
    words = dockerfile()
    assert [word for word, _ in words if word not in INSTRUCTIONS] == []
    base = next(rest.partition("=")[2] for word, rest in words if word == "ARG")
    assert ":" in base and "latest" not in base and {rest.split()[0] for word, rest in words if word == "FROM"} == {"${BASE}"}
    last = [word for word, _ in words][::-1].index("FROM")
    image = words[-last:]
    assert "USER" in [word for word, _ in image[[word for word, _ in image].index("RUN") :]]
    assert [rest for word, rest in words if word == "USER"][-1] not in ("root", "0")
    assert json.loads(words[-1][1])[0] == "fabloom" and words[-1][0] == "CMD"
    for word, rest in image:
        assert word != "COPY" or rest.split()[0] in ("--from=wheel", "constraints.txt"), "sources and what lies beside them stay behind"
    (install,) = [rest for word, rest in image if word == "RUN"]
    assert "--constraint /tmp/constraints.txt" in install and "[s3]" in install, "a store in a bucket needs no shared folder"
    assert not re.search(r"(?i)password|secret|token|_key", (EXAMPLES / "Dockerfile").read_text())


def test_the_image_is_built_from_what_the_package_needs_and_nothing_that_lies_beside_it() -> None:
    """A store, an environment or the history in a layer would be with everybody who has the image."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["setuptools"]["package-dir"].values(), project["project"]["readme"], "constraints.txt", "pyproject.toml"}
    assert let_in == needed and all((ROOT / name).exists() for name in let_in)


def test_the_prefect_yaml_of_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    """`prefect deploy --all` takes such a file in benchmarks/deployments.py."""
    from fabloom.flows.production.deploy import Wish, build
    from fabloom.flows.production.subject import Asked, read_subject
    from fabloom.flows.production.when import When
    from fabloom.flows.production.written import check_new, check_secrets, write_yaml

    when = When(cron="0 2 * * *", timezone="Europe/Berlin")
    wish = Wish("line-pair", read_subject(Asked("one-step", "/srv/fabloom/store")), when, "plant")
    check_new(tmp_path / "prefect.yaml")
    write_yaml(build(wish), tmp_path / "prefect.yaml")
    assert (tmp_path / "prefect.yaml").read_text() == (EXAMPLES / "prefect.yaml").read_text()
    with pytest.raises(UserError, match="there already"):
        check_new(tmp_path / "prefect.yaml")
    with pytest.raises(UserError, match="the secret itself into the deployment"):
        check_secrets(["AWS_SECRET_ACCESS_KEY=plant-s3"])
