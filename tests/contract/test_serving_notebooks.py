"""The example notebooks of serving, run from their first cell to their last; each asserts what it shows.

On the embedded cluster alone: they are about models, and what serves them is seen on both elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from jupyterlab_kf.settings import Settings

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.mark.parametrize(
    ("name", "said", "pictures"),
    [
        ("ensemble", "slipped   sure by 0.85, right 33%, tagged as outliers 100%", 2),
        ("bandit", "with the bandit", 2),
        ("titles", "feature   please add support for Windows nodes", 2),
    ],
)
def test_the_notebook_does_what_it_says(cluster: Settings, tmp_path: Path, name: str, said: str, pictures: int) -> None:
    assert cluster.data_dir
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without what they said"
    resources = {"metadata": {"path": str(tmp_path)}}
    done = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    assert any(said in str(output.get("text", "")) for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == pictures
