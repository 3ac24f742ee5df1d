"""The wheel holds the tree, the pins hold every dependency, and the versions that are installed work together."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from fabloom.flows.cli.doctor import FIXED

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]
EXTRAS = PROJECT["project"]["optional-dependencies"]


def wheel_name(path: Path) -> str:
    """Where a file of the tree belongs in the wheel."""
    parts = path.relative_to(ROOT).parts
    home = next(package for package, folder in FOLDERS.items() if folder == parts[0])
    return "/".join([*home.split("."), *parts[1:]])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the tree, so that nothing is left in the checkout and no old build leaks in."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", *FOLDERS.values()):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(folder)], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_exactly_the_modules_of_the_tree(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tree = {
        wheel_name(p) for folder in FOLDERS.values() for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert inside == tree
    assert {"fabloom/py.typed", "fabloom/testing/method/conformance.py", "fabloom/flows/scaffold/template/pyproject.toml"} <= inside
    assert "fabloom/flows/pipelines/one-step.yaml" in inside and len(inside) > 50
    assert {name.partition("/")[0] for name in inside} == {"fabloom"}, "generic names never reach site-packages"


def test_the_wheel_works_where_there_is_no_checkout(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    code = "import fabloom, fabloom.flows.cli.main as c, fabloom.registry as r; print(fabloom.__file__); print(*r.Registry.load().pipeline_names())"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place, names = done.stdout.splitlines()
    assert place.startswith(str(tmp_path)) and "one-step" in names.split()


def test_the_metadata(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(next(n for n in wheel.namelist() if n.endswith("METADATA"))).decode()
    found = Parser().parsestr(text)
    assert found["Name"] == "fabloom" and found["Requires-Python"] == ">=3.11"
    points = wheel.read(next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))).decode()
    assert "fabloom = fabloom.flows.cli.main:main" in points
    for line in ("sinsemi = fabloom.plugins.one_shot.sinsemi", "pipelines = fabloom.flows.pipelines", "store = fabloom.storage.backends"):
        assert line in points
    declared = PROJECT["project"]["entry-points"]["fabloom.plugins"]
    methods = {f"fabloom.{'.'.join(p.parent.relative_to(ROOT).parts)}" for p in (ROOT / "plugins").rglob("method.py")}
    homes = {home for home in declared.values() if home.startswith("fabloom.plugins.")}
    assert methods == {home for home in homes if not home.startswith("fabloom.plugins.blocks.")}, "an entry point for each method"


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_pins_are_plain_names_and_versions() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.!]*|#.*|", line), line
        assert "://" not in line and "@" not in line
    names = list(pins())
    assert len(names) == len(set(names)) > 50
    for name, version in pins().items():
        # OpenTelemetry publishes its conventions as betas only; mlflow-skinny wants them
        assert not Version(version).is_prerelease or name == "opentelemetry-semantic-conventions", name
        assert not Version(version).local


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    known = {normal(name): version for name, version in pins().items()}
    installed = [text for extra in ("dev", "bench", "docs", "mlflow", "onnx", "s3") for text in EXTRAS[extra]]
    wanted = [Requirement(text) for text in [*PROJECT["project"]["dependencies"], *installed]]
    for requirement in wanted:
        assert normal(requirement.name) in known, f"{requirement} is not in constraints.txt"
        assert known[normal(requirement.name)] in requirement.specifier, requirement


def test_the_doctor_checks_the_versions_that_are_declared() -> None:
    declared = {normal(Requirement(text).name): Requirement(text).specifier for text in PROJECT["project"]["dependencies"]}
    for name, wanted in FIXED.items():
        assert Requirement(f"{name}{wanted}").specifier == declared[normal(name)], name


def test_torchvision_imports_beside_torch() -> None:
    code = (
        "import torch, torchvision; from torchvision.ops import nms; print(nms(torch.tensor([[0., 0, 1, 1]]), torch.ones(1), 0.5).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "[0]", done.stderr[-2000:]


def test_every_ready_pipeline_is_named_after_its_file_and_described() -> None:
    files = sorted((ROOT / "flows" / "pipelines").glob("*.yaml"))
    assert files
    for file in files:
        content = yaml.safe_load(file.read_text())
        assert content["name"] == file.stem and content.get("description")


def test_nothing_shipped_names_a_path_or_address_of_one_machine() -> None:
    forbidden = re.compile(r"/home/\w+|/root/|/work/|file:///|index-url|trusted-host")
    for folder in FOLDERS.values():
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".yaml"):
                assert not forbidden.search(file.read_text()), file
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md"):
        assert not forbidden.search((ROOT / name).read_text()), name
