"""Imports point one way, light commands stay light, and the public names are these."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import fabloom

ROOT = Path(__file__).parents[1]
INSTALLED = ROOT / "tests" / "installed"
FOLDERS = {"core": "fabloom", "storage": "fabloom.storage", "plugins": "fabloom.plugins", "flows": "fabloom.flows"}
HEAVY = ("torch", "prefect", "diffusers", "zarr")


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    dotted = ".".join([FOLDERS[parts[0]], *parts[1:]])
    return dotted.removesuffix(".__init__")


def imports(path: Path, *, module_level: bool = False) -> set[str]:
    """Every module that a file imports, relative names resolved, also inside functions unless only the module level is asked for."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            origin = f"{base}.{node.module}".rstrip(".") if node.level and node.module else base if node.level else node.module or ""
            found |= {f"{origin}.{alias.name}" for alias in node.names} if node.level and not node.module else {origin}
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if not (module_level and (inside or typing_only)):
            todo.extend(ast.iter_child_nodes(node))
    return found


MODULES = {folder: sorted(p for p in (ROOT / folder).rglob("*.py")) for folder in FOLDERS}
EVERY = [path for paths in MODULES.values() for path in paths]


FLOORS = {
    **dict.fromkeys(("errors", "frames", "params", "hashing", "durable", "regular", "locks", "plain_yaml", "notebook", "notes", "progress", "network", "deprecation", "pipeline", "precision"), 0),
    "kinds": 1, "method": 2, "hooks": 3, "registry": 3, "planning": 4, "running": 5,
    **dict.fromkeys(("artifacts", "context", "plan", "execute", "keys"), 6),  # the names that came first
}  # fmt: skip
"""Of core, ground floor first: a room uses what lies on its own floor or below, for its types too."""

SECOND = {"storage": 7, "plugins": 8, "flows": 8}


def room(module: str) -> tuple[str, str]:
    """(folder, room of it) that a fabloom module lies in; ('', '') for anything else."""
    parts = module.split(".")
    if parts[0] != "fabloom":
        return "", ""
    if len(parts) > 1 and parts[1] in SECOND:
        return parts[1], ".".join(parts[2:3])
    return "core", ".".join(parts[1:2])


ALLOWED = {
    "core": {"core"},
    "storage": {"core", "storage"},
    "plugins": {"core", "storage", "plugins"},
    "flows": {"core", "storage", "flows"},
}
ON_THE_SERVER = {
    f"fabloom.flows.production.{name}"
    for name in ("deploy", "doors", "flow", "listing", "serve", "server", "shown", "slots", "written", "zombies")
}
"""What lies on Prefect's server is Prefect's; a line's specification, gate and night know nothing of it."""

DOORS = {"fabloom": {"flows"}}
"""The lazy Python door may name what stands above it."""


@pytest.mark.parametrize("path", EVERY, ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    name = module_name(path)
    folder, own = room(name)
    found = imports(path)
    allowed = ALLOWED[folder] | DOORS.get(name, set())
    if own == "testing":
        allowed = allowed | {"storage"}
    assert {room(m)[0] for m in found} - {""} <= allowed
    assert not {m.partition(".")[0] for m in found} & set(FOLDERS), "core, storage, plugins, flows are no import names"
    if not name.startswith("fabloom.flows.run.prefect"):
        late = name in ("fabloom.flows.cli.doctor", "fabloom.flows.cli.server_health")  # they look whether Prefect can be used
        assert late or name in ON_THE_SERVER or "prefect" not in {m.partition(".")[0] for m in found}
    if folder == "core" and own not in ("", "testing"):
        used = {room(m)[1] for m in found if room(m)[0] == "core"}
        assert not [other for other in used if FLOORS[other] > FLOORS[own]], "a floor of core stands on those below it"
    if folder == "plugins":
        own_method = ".".join(name.split(".")[:4])
        others = {".".join(m.split(".")[:4]) for m in found if m.startswith("fabloom.plugins.")}
        shared = [m for m in others if m.startswith("fabloom.plugins.blocks") or m == f"{own_method.rpartition('.')[0]}.scales"]
        if own != "quality":  # the public door of judge.quality
            assert others <= {own_method, *shared, "fabloom.plugins.quality", "fabloom.plugins"}, (
                "a method builds on blocks, not on another method"
            )


def test_no_modules_of_core_import_each_other_in_a_circle() -> None:
    """Type-only imports count: who reads a module needs the one that its types come from."""
    core = {module_name(path): path for path in MODULES["core"] if "testing" not in path.parts and path.parent.name != "core"}
    graph = {name: {found for found in imports(path) if found in core and found != name} for name, path in core.items()}
    assert sum(map(len, graph.values())) > 40
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("family", ["cross_domain", "data", "diffusion", "judge", "one_shot", "one_step", "overlay"])
def test_methods_are_rooms_of_the_same_shape(family: str) -> None:
    for folder in sorted(p for p in (ROOT / "plugins" / family).iterdir() if p.is_dir() and p.name != "__pycache__"):
        assert {"__init__.py", "method.py", "params.py"} <= {file.name for file in folder.iterdir()}, folder.name


def test_the_parser_of_imports_sees_them() -> None:
    """A control: what is known to be imported is found."""
    context = ROOT / "core" / "method" / "context.py"
    assert {"fabloom.method.loop", "fabloom.progress", "torch", "hashlib", "fabloom.kinds"} <= imports(context)
    assert "torch" not in imports(context, module_level=True)
    assert "prefect" in imports(ROOT / "flows" / "run" / "prefect" / "flow.py", module_level=True)
    assert "fabloom.flows.run.api" in imports(ROOT / "core" / "__init__.py") and len(EVERY) > 40


@pytest.mark.parametrize("path", [p for p in MODULES["plugins"] if p.name in ("method.py", "params.py", "__init__.py")], ids=module_name)
def test_a_methods_description_imports_nothing_heavy(path: Path) -> None:
    heavy = {*HEAVY, "numpy", "scipy", "skimage", "PIL", "torchvision", "segmentation_models_pytorch", "lpips"}
    assert not {m.partition(".")[0] for m in imports(path, module_level=True)} & heavy


RUNNER = """
import json, sys
from fabloom.flows.cli.main import main
sys.argv[0] = "fabloom"
code = 0
try:
    main()
except SystemExit as end:
    code = end.code
names = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"code": code, "loaded": sorted(names)}), file=sys.stderr)
"""


def loaded_by(store: Path, *arguments: str) -> set[str]:
    environment = {**os.environ, "PYTHONPATH": str(INSTALLED), "FABLOOM_STORE": str(store)}
    done = subprocess.run([sys.executable, "-c", RUNNER, *arguments], env=environment, capture_output=True, text=True, check=False)
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["code"] in (0, None), done.stderr
    return set(told["loaded"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a whole run in it, page included."""
    store = tmp_path_factory.mktemp("light") / "store"
    assert "torch" in loaded_by(store, "run", "fade", "--engine", "inline", "--device", "cpu", "--json"), (
        "the measurement sees what is loaded"
    )
    return store


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["run", "--help"], ["tasks"], ["tasks", "line-pair.simulate"], ["pipelines"], ["plugins"], ["plan", "fade"],
        ["plan", "one-step", "--json"], ["artifacts"], ["verify"], ["ref", "list"], ["gc"], ["runs"],
        ["report"], ["compare", "1", "1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_light_commands_load_nothing_heavy(made: Path, arguments: list[str]) -> None:
    loaded = loaded_by(made, *arguments)
    assert not loaded & set(HEAVY)
    if "--help" in arguments:
        assert "numpy" not in loaded


@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "people"])
def test_a_run_that_is_all_reused_loads_nothing_heavy(made: Path, form: list[str]) -> None:
    assert not loaded_by(made, "run", "fade", "--engine", "inline", *form) & set(HEAVY)


def test_importing_fabloom_and_its_door_is_light() -> None:
    code = "import fabloom, sys; fabloom.run; fabloom.open_store; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {*HEAVY, "numpy", "scipy"}


def test_the_public_names() -> None:
    wanted = {
        "Artifact", "Context", "DamagedArtifact", "DataError", "EnvironmentProblem", "Exhibit", "FabloomError", "Fields", "ImageSet", "Interrupted", "LazyArray",
        "Messenger", "Method", "Metric", "Model", "Network", "OfflineData", "Params", "Pipeline", "PipelineError", "PlannedStep", "Report", "RowSpec", "RunFailed", "RunResult", "Source",
        "Step", "StepFailed", "StepResult", "Table", "UserError", "hookimpl", "method", "open_store", "run", "task",
    }  # fmt: skip
    assert set(fabloom.__all__) == wanted and fabloom.__all__ == sorted(fabloom.__all__)
    for name in fabloom.__all__:
        assert getattr(fabloom, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        fabloom.no_such_name  # noqa: B018


def test_every_error_has_a_code_and_the_tree_is_as_drawn() -> None:
    codes = {
        "UserError": 2, "PipelineError": 2, "DataError": 2, "EnvironmentProblem": 3, "StepFailed": 1, "DamagedArtifact": 1, "Interrupted": 130,
    }  # fmt: skip
    for name, code in codes.items():
        assert getattr(fabloom, name).exit_code == code and issubclass(getattr(fabloom, name), fabloom.FabloomError)


def test_the_folder_names_are_no_packages_and_no_class_is_loaded_twice() -> None:
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    for name in FOLDERS:
        assert PathFinder.find_spec(name, elsewhere) is None, name
    loaded = [name for name in sys.modules if name.partition(".")[0] in FOLDERS]
    assert not loaded, f"second copies of fabloom's classes: {loaded}"
