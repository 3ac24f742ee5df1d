"""The notebooks of examples/notebooks run from top to bottom, and are committed without what they print."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One kernel for all of them, since importing torch takes seconds; each begins with no names of another."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        cwd=str(tmp_path_factory.mktemp("notebooks")),
        env={**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython"))},
    )
    yield manager
    manager.shutdown_kernel(now=True)


def executed(notebook: Any, kernel: Any) -> Any:
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    NotebookClient(notebook, km=kernel, timeout=300, allow_errors=False).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, kernel: Any) -> None:
    notebook = executed(nbformat.read(path, as_version=4), kernel)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.data["text/html"] for output in outputs if "data" in output and "text/html" in output.data]
    assert any("fabloom-view" in page for page in pages) and max(map(len, pages)) < 500_000
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr" and "Error" in output.text]


def test_a_cell_that_fails_fails_the_test(kernel: Any) -> None:
    """A control."""
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import fabloom\nfabloom.method('no-such')")])
    with pytest.raises(CellExecutionError, match="no-such"):
        executed(broken, kernel)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert {path.stem for path in NOTEBOOKS} == {"own-images", "one-shot", "overlay", "writing-a-method"}
