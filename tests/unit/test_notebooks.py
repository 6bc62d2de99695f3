"""A notebook as a job's program: what runs, what is left out, what is refused, and what a traceback says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.errors import BundleError
from jupyterlab_kf.services import bundle, notebooks, plans


def document(*cells: str | tuple[str, str], **metadata: Any) -> bytes:
    """A notebook of code cells; a pair is a source and its tag."""
    made: list[dict[str, Any]] = []
    for cell in cells:
        source, tags = (cell, []) if isinstance(cell, str) else (cell[0], [cell[1]])
        made.append({"cell_type": "code", "metadata": {"tags": tags}, "outputs": [], "source": source})
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def program(*cells: str | tuple[str, str]) -> notebooks.Program:
    return notebooks.read(document(*cells), "train.ipynb")


def only(source: str) -> str:
    (cell,) = program(source).cells
    return cell.text


def test_cells_keep_their_borders_and_their_numbers_are_those_of_run_all() -> None:
    found = json.loads(document("import os\nx = 1", "  \n", "print(x)\n"))
    found["cells"].insert(0, {"cell_type": "markdown", "source": ["# Title\n", "!text"]})
    found["cells"][1]["source"] = ["import os\n", "x = 1"]
    made = notebooks.read(json.dumps(found).encode(), "train.ipynb")
    assert made.text == "# %% cell 1\nimport os\nx = 1\n\n# %% cell 2\nprint(x)\n"
    assert made.spans == (("train.ipynb cell 1", 2, 2), ("train.ipynb cell 2", 6, 1))
    lines = made.text.split("\n")
    assert [lines[at - 1 : at - 1 + count] for _, at, count in made.spans] == [["import os", "x = 1"], ["print(x)"]]
    assert made.dropped == ()


@pytest.mark.parametrize(
    ("source", "text", "dropped"),
    [
        ("%matplotlib inline\nx = 1", "pass  # %matplotlib inline\nx = 1", ("%matplotlib inline",)),
        ("if x:\n    %autoreload 2\ny = 1", "if x:\n    pass  # %autoreload 2\ny = 1", ("%autoreload 2",)),
        ("%load_ext jupyterlab_kf\nx = 1", "pass  # %load_ext jupyterlab_kf\nx = 1", ("%load_ext jupyterlab_kf",)),
        ("%kf_jobs -A", "pass  # %kf_jobs -A", ("%kf_jobs -A",)),
        ("x = 1\nx?\n?x\nx.real??", "x = 1\npass  # x?\npass  # ?x\npass  # x.real??", ("x?", "?x", "x.real??")),
        ("%time?", "pass  # %time?", ("%time?",)),
        ("%timeit f(\\\n  1)\nx = 1", "pass  # %timeit f(\\\n#   1)\nx = 1", ("%timeit f(\\\n  1)",)),
        ("%time x = f()", "x = f()  # %time", ()),
        ("y = %time f()", "y = f()  # %time", ()),
        ("\n%%time\nx = 1", "\npass  # %%time\nx = 1", ("%%time",)),
        ("%%capture --no-stderr\n%matplotlib\nx = 1", "pass  # %%capture --no-stderr\npass  # %matplotlib\nx = 1",
         ("%%capture", "%matplotlib")),
        ("%env A=b c", "__import__('os').environ['A'] = 'b c'  # %env", ()),
        ("%set_env A b=c", "__import__('os').environ['A b'] = 'c'  # %set_env", ()),
        ("%env A", "pass  # %env A", ("%env A",)),
    ],
)  # fmt: skip
def test_what_a_job_can_do_of_a_notebooks_own_lines(source: str, text: str, dropped: tuple[str, ...]) -> None:
    made = program(source)
    assert made.cells[0].text == text
    assert made.dropped == tuple(f"cell 1: {line}" for line in dropped)
    ast.parse(text)
    assert text.count("\n") == source.count("\n")


@pytest.mark.parametrize(
    "source",
    [
        'text = """\n%matplotlib inline\n!ls\n"""',
        "text = '''\n!ls it's\n'''  # it's",
        "rest = (a\n  % b)",
        "x = 5 \\\n  % 3",
        "print('%d = !x' % 1)\nprint(a, '?')\nx = a != b",
        'f"""{x!r}\n%time\n"""',
        "s = 'it\\'s \\\n%time'",
        "# what now?\nx = 1  # !",
        "@decorate\ndef f(a=1):\n    return a % 2",
    ],
)
def test_python_stays_as_it_is(source: str) -> None:
    assert only(source) == source


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        ("x = 1\n!pip install numpy", r"train.ipynb cell 1, line 2: '!pip install numpy' is a shell line", "--image"),
        ("%pip install x", r"cell 1, line 1: %pip is a magic", "--image"),
        ("for a in b:\n    !echo {a}", r"cell 1, line 2: '!echo \{a\}' is a shell line", "subprocess"),
        ("(1,\n2)\nfiles = !ls", r"cell 1, line 3: 'files = !ls' is a shell line", "subprocess"),
        ("x = %sql select", r"cell 1, line 1: 'x = %sql select' is a magic", "skip-execution"),
        ("%cd ..", r"%cd is a magic", "os.chdir"),
        ("%run a.py", r"%run is a magic", "import"),
        ("%env A=$B", r"%env is a magic", "skip-execution"),
        ("\n%%bash\nls", r"cell 1, line 2: %%bash is something that only", "skip-execution"),
        ("%%capture out\nx = 1", r"%%capture is", "skip-execution"),
        ("%%writefile {name}\nx", r"wants the name of one file", "skip-execution"),
    ],
)
def test_what_only_a_notebook_can_do_is_refused_with_its_place(source: str, said: str, hint: str) -> None:
    with pytest.raises(BundleError, match=said) as caught:
        program(source)
    assert hint in caught.value.hint


def test_cells_that_do_not_run_are_told() -> None:
    made = program(
        "%%kf_train pytorch\nx", "%%html\n<b>", ("!pip install x", "skip-execution"), "%%timeit\nf()", "y = 1"
    )
    assert [cell.number for cell in made.cells] == [5]
    assert made.dropped == (
        "cell 1: %%kf_train", "cell 2: %%html", "cell 3: tagged skip-execution", "cell 4: %%timeit"
    )  # fmt: skip


def test_a_file_that_a_cell_writes_is_written() -> None:
    source = '%%writefile -a \'out.txt\'\n!text """\n'
    assert only(source) == (
        "with open('out.txt', 'a', encoding='utf-8') as _file:\n    _ = _file.write('!text \"\"\"\\n')"
    )


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        ((("lr = 1", "parameters"), "print(lr)"), ["cell 1", "parameters", "cell 2"]),
        (("x = 1", "print(lr)"), ["parameters", "cell 1", "cell 2"]),
        ((("lr = 1", "parameters"), ("lr = 9", "injected-parameters"), "x = 1"), ["cell 1", "parameters", "cell 3"]),
    ],
)
def test_parameters_are_set_where_papermill_sets_them(cells: Any, order: list[str]) -> None:
    made = program(*cells).given({"lr": 0.5, "text": "it's", "deep": {"a": [None, True]}})
    assert [cell.title for cell in made.cells] == order
    (given,) = [cell for cell in made.cells if cell.title == "parameters"]
    assert given.text == "# Parameters\nlr = 0.5\ntext = \"it's\"\ndeep = {'a': [None, True]}"


def test_the_text_of_a_program_is_read_back_and_parameters_replaced() -> None:
    made = program(("lr = 1", "parameters"), "x = '''\n\n'''", "print(lr)").given({"lr": 2})
    again = notebooks.from_text(made.text, "train.ipynb")
    assert again is not None
    assert (again.cells, again.text, again.spans) == (made.cells, made.text, made.spans)
    assert "lr = 3" in again.given({"lr": 3}).text
    assert "lr = 2" not in again.given({"lr": 3}).text


def test_one_cell_is_named_by_its_notebook() -> None:
    made = notebooks.from_text("%%kf_train pytorch -n 2\n%time f()\n", "train.ipynb cell 4")
    assert made is not None
    assert made.spans == (("train.ipynb cell 4", 2, 3),)
    assert made.cells[0].text == "pass  # %%kf_train pytorch -n 2\nf()  # %time\n"
    with pytest.raises(BundleError, match=r"train.ipynb cell 4 has no code to run"):
        notebooks.from_text("%%html\n<b>", "train.ipynb cell 4")
    assert notebooks.from_text("x = 1", "cell.py") is None
    assert notebooks.notebook_of("sub/train.ipynb.py") == "sub/train.ipynb"
    assert notebooks.notebook_of("train.py") == "train.py"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no", "is not a notebook"),
        (b'{"worksheets": []}', "is not a notebook of format 4"),
        (document("x", kernelspec={"language": "R"}), "is a notebook of R"),
        (document("  "), "has no code to run"),
        (document("%%kf_train\nx"), "has no code to run"),
    ],
)
def test_what_is_no_notebook_of_python(content: bytes, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        notebooks.read(content, "a.ipynb")


def test_a_notebook_travels_with_its_modules_and_without_its_outputs(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.ipynb").write_bytes(document("import near\nimport train\n", "x = 1"))
    (tmp_path / "sub" / "near.py").write_text("import far\n")
    (tmp_path / "sub" / "train.py").write_text("")
    (tmp_path / "far.py").write_text("")
    made = bundle.collect("sub/train.ipynb", root=tmp_path)
    assert sorted(made.files) == ["far.py", "sub/near.py", "sub/train.ipynb.py", "sub/train.py"]
    assert (made.main, made.filename, made.paths) == ("sub/train.ipynb.py", "sub/train.ipynb", ("sub", ""))
    said = json.loads(bundle.instructions(made))
    assert said["folder"] == "sub"
    assert said["cells"] == [["sub/train.ipynb cell 1", 2, 2], ["sub/train.ipynb cell 2", 6, 1]]


def test_faults_are_named_by_cell_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(document("x = 1", "y = 2\nif:\n"))
    with pytest.raises(BundleError, match=r"a.ipynb cell 2, line 2: invalid syntax"):
        bundle.collect(Path("a.ipynb"), root=tmp_path)
    (tmp_path / "b.ipynb").write_bytes(document("x = 1", "\nkey = 'AKIAABCDEFGHIJKLMNOP'"))
    with pytest.raises(BundleError, match=r"b.ipynb cell 2, line 2, is not shipped"):
        bundle.collect(Path("b.ipynb"), root=tmp_path)


def test_a_plan_says_what_does_not_run_and_how_to_say_it_again(tmp_path: Path) -> None:
    (tmp_path / "train.ipynb").write_bytes(document("%matplotlib inline\nlr = 1"))
    asked = plans.Request(code=tmp_path / "train.ipynb", workers=2, params={"lr": 2}, root=tmp_path)
    made = plans.make(asked, namespace="n", submission="0" * 12)
    assert "Does not run in the job: cell 1: %matplotlib inline" in made.summary
    assert made.magic() == "%kf_train pytorch train.ipynb -n 2 --param lr=2\n"
    assert "kf.train(\n    'train.ipynb',\n    'pytorch'" in made.python()
    assert made.spec.name == "train-00000"
