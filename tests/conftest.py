"""Fixtures: a real store in a temporary folder, and a way to run one task of a method on it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fabloom import testing
from fabloom.kinds import Artifact
from fabloom.method import Method
from fabloom.params import Params
from fabloom.storage.backends.local import LocalStore

ROOT = Path(__file__).parents[1]
os.environ.setdefault("FABLOOM_THREADS", "1")
gc.set_threshold(
    50_000, 20, 20
)  # half a million objects of torch and others lie here for good, and were looked at again every other second
for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:  # tests in the background or under nohup: their children must not inherit that
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(_number, _default)
LONG = (
    "test_docs.py", "test_conformance.py", "test_export.py", "test_deaths.py", "test_conformance_kit.py", "test_prefect.py",
    "test_own_tests.py", "test_denoising_circuits.py", "test_processes.py", "test_one_shot.py", "test_segmenter.py", "test_faults.py",
    "test_prefect_faults.py", "test_unet.py", "test_store.py", "test_cli.py", "test_pipeline.py", "test_dataset.py", "test_segmentation.py",
    "test_notebooks.py", "test_architecture.py", "test_sinddm.py", "test_sinsemi.py", "test_packaging.py", "test_crowd.py",
)  # fmt: skip
"""Files of some ten CPU seconds and more, the longest first: processes take whole files, and whoever gets a long one last is waited for."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-shows", "AWS_REGION": "us-east-1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, in their own order otherwise."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """A store for all tests of a module, which call it `store` to have what several ask for with equal parameters made once."""
    return LocalStore(tmp_path_factory.mktemp("kept") / "store")


RunTask = Callable[..., Artifact]


@pytest.fixture
def run_task(store: LocalStore) -> RunTask:
    """`run_task(MethodClass, "task", {params}, seed=0, **inputs)` gives the committed artifact; `store=`, `workers=` and `stop=` are options."""

    def run(method: type[Method], task: str, params: Params | dict[str, Any] | None = None, *, seed: int = 0, **inputs: Any) -> Artifact:
        stop = inputs.pop("stop", lambda: False)
        into, workers = inputs.pop("store", store), inputs.pop("workers", 1)
        return testing.run_task(into, method, task, params, seed=seed, inputs=inputs, stop=stop, workers=workers)

    return run


class Warm:
    """`warm(["-m", "fabloom.flows", ...], cwd=..., env=...)` is `subprocess.run([sys.executable, *arguments], capture_output=True, text=True)`
    without importing torch and other heavy libraries each time: the process is forked from one that has them (see warm.py)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None

    def __call__(
        self, arguments: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if self._server is None:
            one = {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
            command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
            self._server = subprocess.Popen(command, env={**os.environ, **one}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdin is not None and self._server.stdout is not None
        out, err = self._folder / "out", self._folder / "err"
        for file in (out, err):
            file.unlink(missing_ok=True)  # a process that is left over may still write into the last ones
            file.touch()
        wanted = {"arguments": list(map(str, arguments)), "cwd": str(cwd or Path.cwd()), "env": dict(env or os.environ)}
        try:
            self._server.stdin.write(json.dumps({**wanted, "out": str(out), "err": str(err)}) + "\n")
            self._server.stdin.flush()
            status = int(self._server.stdout.readline())
        except BaseException:  # a test that ran out of time must not leave its answer to the next one
            self._server.kill()
            self._server = None
            raise
        return subprocess.CompletedProcess(wanted["arguments"], status, out.read_text(), err.read_text())

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    made = Warm(tmp_path_factory.mktemp("warm"))
    yield made
    made.close()


InstallExample = Callable[[str | Path], Path]


@pytest.fixture(scope="session")
def install_example(tmp_path_factory: pytest.TempPathFactory) -> InstallExample:
    """`install_example("remote-store")` builds and installs that distribution of `examples/`, or the one in another folder, (without
    its dependencies, which the extras bring) into a folder of its own, to be put on PYTHONPATH, and gives the folder."""
    installed: dict[str | Path, Path] = {}

    def install(name: str | Path) -> Path:
        if name not in installed:
            origin = ROOT / "examples" / name  # which an absolute path replaces
            folder = tmp_path_factory.mktemp(origin.name)
            source = folder / "source"  # a build leaves egg-info behind: not in the checkout
            shutil.copytree(origin, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
            command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
            command += ["--python", sys.executable, "--target", str(folder / "site"), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            installed[name] = folder / "site"
        return installed[name]

    return install


def data_folder(variable: str) -> Path:
    """The folder an environment variable names; skips the test where it is unset."""
    text = os.environ.get(variable)
    if not text:
        pytest.skip(f"{variable} is not set")
    return Path(text)


@pytest.fixture
def data_dir() -> Path:
    return data_folder("FABLOOM_DATA_DIR")


@pytest.fixture
def weights_dir() -> Path:
    return data_folder("FABLOOM_WEIGHTS_DIR")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server that speaks S3, once a session; it has one bucket, `lab`."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    plain, one = S3Response.put_object, threading.Lock()

    def put_object(self: Any) -> Any:
        with one:  # moto looks at the condition and writes without a lock: two could both be told that they were first
            return plain(self)

    S3Response.put_object = put_object
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT")).read()
    yield url
    server.stop()
    S3Response.put_object = plain


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its URL, with the environment that leads there."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FABLOOM_S3_ENDPOINT", s3_server)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_server
