"""The notebooks run from the first cell to the last, in a folder of their own, and keep no output."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat reads notebooks; it is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks; it is not installed")
pytest.importorskip("ipykernel", reason="ipykernel runs the notebooks' cells; it is not installed")

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the notebooks train in PyTorch")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/svg+xml" in output.get("data", {}) for output in shown)
    assert not any("fetch" in str(output.get("data", {}).get("text/html", "")) for output in shown)
