"""What travels with a job, and what is refused before anything is created."""

from __future__ import annotations

import gzip
import io
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.services import bundle, functions


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_cell_travels_byte_for_byte(tmp_path: Path) -> None:
    cell = "x = '$HOME `id` $(ls) \\\\ \"'\nprint(x)\n\n\n# é\t\n"
    made = bundle.collect(cell, root=tmp_path, filename="cell.py", first_line=2)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(made.archive()))) as tar:
        file = tar.extractfile("cell.py")
        assert file is not None
        assert file.read() == cell.encode()
    assert (made.main, made.filename, made.first_line) == ("cell.py", "cell.py", 2)


def test_equal_code_gives_equal_archives(tmp_path: Path) -> None:
    one, two = (bundle.collect("print(1)\n", root=tmp_path) for _ in range(2))
    assert one.archive() == two.archive()
    assert one.digest == two.digest
    assert one.digest != bundle.collect("print(2)\n", root=tmp_path).digest


def test_local_modules_are_found_however_deep_and_others_are_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "helpers.py": "import numpy as np\nfrom pkg.deep import thing\n",
            "pkg/__init__.py": "",
            "pkg/deep/__init__.py": "from . import thing\nfrom ..side import x\n",
            "pkg/deep/thing.py": "",
            "pkg/side.py": "x = 1\n",
            "unused.py": "",
        },
    )
    made = bundle.collect("import helpers\nimport os.path\nimport torch\n", root=tmp_path)
    assert sorted(made.files) == [
        "cell.py",
        "helpers.py",
        "pkg/__init__.py",
        "pkg/deep/__init__.py",
        "pkg/deep/thing.py",
        "pkg/side.py",
    ]
    assert {(one.top, one.file, one.line) for one in made.imports} == {
        ("numpy", "helpers.py", 1),
        ("os", "cell.py", 2),
        ("torch", "cell.py", 3),
    }


def test_a_script_comes_with_its_folder_first_on_the_path(tmp_path: Path) -> None:
    write(tmp_path, {"scripts/train.py": "import near\n", "scripts/near.py": "import far\n", "far.py": ""})
    made = bundle.collect("scripts/train.py", root=tmp_path)
    assert made.main == "scripts/train.py"
    assert made.paths == ("scripts", "")
    assert sorted(made.files) == ["far.py", "scripts/near.py", "scripts/train.py"]


def test_files_and_folders_are_shipped_without_rubbish(tmp_path: Path) -> None:
    write(tmp_path, {"conf/a.yaml": "a: 1\n", "conf/__pycache__/a.pyc": "", "conf/sub/b.txt": "b", "data.csv": "1,2\n"})
    made = bundle.collect("print(1)", files=["conf", "data.csv"], root=tmp_path)
    assert sorted(made.files) == ["cell.py", "conf/a.yaml", "conf/sub/b.txt", "data.csv"]


def test_what_shipped_files_import_counts_and_what_is_no_python_of_ours_does_not(tmp_path: Path) -> None:
    write(tmp_path, {"lib/a.py": "import pandas\nimport lib.b\n", "lib/b.py": "", "lib/old.py": "print 1\n"})
    made = bundle.collect("from lib import a\n", files=["lib"], root=tmp_path)
    assert [one.module for one in made.imports] == ["pandas"]


@pytest.mark.parametrize(
    ("files", "script", "message"),
    [
        ({"mxnet.py": "import os\nimport mxnet\n"}, "mxnet.py", r"mxnet\.py, line 2: 'import mxnet' would find mxnet"),
        ({"s/torch.py": "import torch.nn\n"}, "s/torch.py", r"s/torch\.py, line 1: .* hides the package 'torch'"),
        ({"numpy.py": "import helper\n", "helper.py": "import numpy"}, "numpy.py", r"helper\.py, line 1: .*numpy\.py"),
        ({"a.py": "import random\n", "random.py": "import random"}, "a.py", r"random\.py, line 1: 'import random'"),
    ],
)
def test_a_file_that_hides_the_package_it_wants_is_refused(
    files: dict[str, str], script: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, files)
    with pytest.raises(BundleError, match=message) as refused:
        bundle.collect(script, root=tmp_path)
    assert refused.value.hint.startswith("rename ")


def test_a_file_may_have_a_packages_name_where_nothing_wants_that_package(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "import model\n", "model.py": "import train\n", "pandas.py": "", "code.py": "1"})
    assert bundle.collect("train.py", files=["pandas.py"], root=tmp_path).imports == ()
    assert bundle.collect("code.py", root=tmp_path).main == "code.py"


def test_a_function_may_be_called_as_a_package(tmp_path: Path) -> None:
    def mxnet() -> None:
        import mxnet  # noqa: F401  # type: ignore[import-not-found]

    made = bundle.collect(mxnet, root=tmp_path)
    assert (made.main, made.call, made.imports[-1].module) == ("mxnet_.py", "mxnet", "mxnet")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("x = 1\n!pip install x\n", r"cell\.py, line 3: '!pip install x' is a shell line"),
        ("files = !ls\n", "line 2: 'files = !ls' is a shell line"),
        ("%matplotlib inline\n", "line 2: '%matplotlib inline' is a magic"),
        ("x = %time 3\n", "is a magic"),
        ("%%time\nx\n", "cell magic"),
        ("print?\n", "asks for help"),
        ("x = 1\nif x\n  y\n", r"cell\.py, line 3: expected ':'"),
        ("", "is empty"),
        ("   \n", "is empty"),
    ],
)
def test_what_only_a_notebook_understands_is_refused_with_its_line(cell: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        bundle.collect(cell, first_line=2, root=tmp_path)


def test_percent_inside_an_expression_is_python(tmp_path: Path) -> None:
    assert bundle.collect("x = (5\n% 3)\ny = '''\n!not a shell line\n'''\n", root=tmp_path).files


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (".env", "PASSWORD=x", r"\.env is not shipped: environment files hold passwords"),
        ("keys/id_rsa", "x", "keys/id_rsa is not shipped: it looks like an SSH key"),
        ("a.pem", "x", "a.pem is not shipped"),
        ("kubeconfig", "x", "credentials"),
        ("notes.txt", "hello\n-----BEGIN RSA PRIVATE KEY-----\n", "notes.txt, line 2, is not shipped: a private key"),
        (
            "sa.json",
            '{\n "type": "service_account"}',
            "sa.json, line 2, is not shipped: it looks like a service",
        ),
        ("conf.yaml", "apiVersion: v1\nkind: Config\n", "it is a kubeconfig"),
    ],
)
def test_secrets_stay_at_home(name: str, text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {name: text})
    with pytest.raises(BundleError, match=message):
        bundle.collect("print(1)", files=[name], root=tmp_path)


def test_a_secret_in_the_cell_is_told_with_the_cells_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cell\.py, line 3, is not shipped: an AWS access key"):
        bundle.collect("x = 1\nkey = 'AKIAABCDEFGHIJKLMNOP'\n", first_line=2, root=tmp_path)


def test_what_is_largest_is_named(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(1_200_000))
    assert bundle.collect("print(1)", files=["big.bin"], root=tmp_path).largest() == (
        "big.bin (1.1 MiB), cell.py (0 KiB)"
    )


def test_missing_files_scripts_and_notebooks(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no file or folder nothing\.csv"):
        bundle.collect("print(1)", files=["nothing.csv"], root=tmp_path)
    with pytest.raises(BundleError, match=r"no script train\.py"):
        bundle.collect("train.py", root=tmp_path)
    with pytest.raises(BundleError, match=r"no notebook a\.ipynb"):
        bundle.collect(Path("a.ipynb"), root=tmp_path)


class Scalar:
    """As NumPy's: no shape, and an item."""

    shape = ()

    def item(self) -> float:
        return 0.5


def test_parameters_are_plain_data() -> None:
    given = {"a": 1, "b": [1, (2, "x")], "c": {"k": None}, "d": True, "e": Scalar()}
    assert bundle.plain(given) == {"a": 1, "b": [1, [2, "x"]], "c": {"k": None}, "d": True, "e": 0.5}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": object()}, "parameter model is a builtins.object, which is not plain data"),
        ({"a": {"b": [{1}]}}, r"parameter a\['b'\]\[0\] is a builtins.set"),
        ({"a": {1: 2}}, "keys must be text"),
        ({"a": float("nan")}, "JSON cannot carry"),
        ({"not a name": 1}, "cannot be a variable's name"),
    ],
)
def test_other_parameters_are_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bundle.plain(params)


# Functions

RATE = 0.5
TABLE = {"a": [1, 2]}
THING = object()


def helper(x: float) -> float:
    return math.sqrt(x) * RATE


class Model:
    def __init__(self, n: int) -> None:
        self.n = helper(n)


def train(n: int, *, scale: float = 1.0) -> float:
    return Model(n).n * scale + len(TABLE)


def uses_object() -> object:
    return THING


def run(source: str, name: str, **params: Any) -> Any:
    space: dict[str, Any] = {}
    exec(compile(source, "x", "exec"), space)
    return space[name](**params)


def as_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (helper, Model, train, uses_object):
        monkeypatch.setattr(value, "__module__", "__main__")


def test_a_function_comes_with_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    as_notebook(monkeypatch)
    made = functions.extract(train, {"n": 4})
    assert run(made.source, "train", n=4) == train(4)
    assert "import math" in made.source
    assert "RATE = 0.5" in made.source
    assert "THING" not in made.source


def _closure() -> Callable[[], int]:
    held = 3

    def inner() -> int:
        return held

    return inner


def test_a_local_name_is_not_the_kernels_object_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "model", object())
    monkeypatch.setitem(globals(), "item", object())

    def train(n: int) -> int:
        import json as model

        total = [item for item in range(n)]  # noqa: C416  a comprehension binds its own name
        return len(model.dumps(total))

    made = functions.extract(train, {"n": 4})
    assert made.source.count("model") == 2
    scope: dict[str, Any] = {}
    exec(made.source, scope)
    assert scope["train"](4) == len("[0, 1, 2, 3]")


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        (_closure(), {}, "'inner' is a closure over held"),
        (lambda: 1, {}, "a lambda has no source"),
        (len, {}, "not a plain function"),
        (Model.__init__, {}, "is a method"),
        (train, {}, r"do not fit train\(n"),
        (train, {"n": 1, "m": 2}, "unexpected keyword"),
    ],
)
def test_functions_that_cannot_travel(function: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        functions.extract(function, params)


def test_a_function_that_uses_an_object_of_the_kernel_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    as_notebook(monkeypatch)
    with pytest.raises(BundleError, match=r"'uses_object' uses 'THING', a builtins\.object"):
        functions.extract(uses_object, {})
