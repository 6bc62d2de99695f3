"""From what code imports to the packages that have it."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path

import pytest

from jupyterlab_kf.services import packages, plans
from jupyterlab_kf.services.imports import Import, imports_of
from jupyterlab_kf.services.packages import Installed, Package

HERE = Installed(
    versions={"scikit-learn": "1.7.2", "opencv-python": "4.12", "opencv-python-headless": "4.12", "torch": "2.8.0+cpu"},
    modules={
        "sklearn": ("scikit-learn",),
        "cv2": ("opencv-python", "opencv-python-headless"),
        "torch": ("torch",),
        "google": ("protobuf", "google-cloud-storage"),
        "google.protobuf": ("protobuf",),
        "google.cloud.storage": ("google-cloud-storage",),
    },
)


def needed(source: str) -> list[Package]:
    return list(packages.imported(imports_of(ast.parse(source), "train.py"), lambda: HERE))


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import os.path, torch as t
def f():
    from sklearn.svm import SVC
    from . import near
    from ..above import far
class A:
    with x:
        import pandas
"""
    found = [(one.module, one.line, one.relative) for one in imports_of(ast.parse(source), "pkg/sub/a.py")]
    assert found == [
        ("os.path", 2, False),
        ("torch", 2, False),
        ("sklearn.svm", 4, False),
        ("sklearn.svm.SVC", 4, False),
        ("pkg.sub", 5, True),
        ("pkg.sub.near", 5, True),
        ("pkg.above", 6, True),
        ("pkg.above.far", 6, True),
        ("pandas", 9, False),
    ]


@pytest.mark.parametrize(
    ("source", "optional"),
    [
        ("try:\n import a\nexcept ImportError:\n a = None", True),
        ("try:\n import a\nexcept (OSError, ModuleNotFoundError):\n import b", True),
        ("try:\n import a\nexcept:\n pass", True),
        ("try:\n import a\nexcept ValueError:\n pass", False),
        ("try:\n import a\nfinally:\n pass", False),
        ("if TYPE_CHECKING:\n import a", True),
        ("if typing.TYPE_CHECKING:\n pass\nelse:\n import a", False),
        ("if x:\n import a", False),
    ],
)
def test_what_the_code_can_do_without_is_told(source: str, optional: bool) -> None:  # noqa: FBT001
    assert {one.optional for one in imports_of(ast.parse(source), "a.py")} == {optional}


def test_modules_are_not_packages() -> None:
    found = needed("import sklearn.svm, cv2, os\nimport yaml\nfrom google.cloud import storage\nimport torch\n")
    assert [(one.name, one.version, one.module) for one in found] == [
        ("google-cloud-storage", "", "google.cloud.storage"),
        ("opencv-python", "4.12", "cv2"),
        ("protobuf", "", "google"),
        ("pyyaml", "", "yaml"),
        ("scikit-learn", "1.7.2", "sklearn"),
        ("torch", "2.8.0+cpu", "torch"),
    ]
    assert found[1].others == ("opencv-python-headless",)
    assert (found[4].file, found[4].line) == ("train.py", 1)
    assert [one.requirement for one in found[3:]] == ["pyyaml", "scikit-learn==1.7.2", "torch==2.8.0"]


def test_the_environment_is_not_read_for_the_standard_library() -> None:
    def never() -> Installed:
        raise AssertionError

    assert packages.imported([Import("os.path", "a.py", 1), Import("json", "a.py", 2)], never) == ()


def place(root: Path, name: str, version: str, files: list[str], **texts: str) -> None:
    """A package as an installer leaves it."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    info = root / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file, text in texts.items():
        (info / file.replace("_json", ".json")).write_text(text)


def test_an_environment_says_which_package_has_which_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, source = tmp_path / "site", tmp_path / "my-lib"
    (source / "src" / "mylib").mkdir(parents=True)
    (source / "src" / "mylib" / "__init__.py").touch()
    site.mkdir()
    place(site, "Scikit_Learn", "1.7", ["sklearn/__init__.py", "sklearn/svm/base.py", "../../bin/tool"])
    place(site, "one-cloud", "1", ["shared/cloud/one/__init__.py"])
    place(site, "two-cloud", "2", ["shared/cloud/two.cpython-311.so"])
    link = json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}})
    place(site, "my-lib", "0.1", [], direct_url_json=link)
    monkeypatch.setattr(sys, "path", [str(site), str(source / "src")])
    found = packages.here()
    assert found.versions == {"scikit-learn": "1.7", "one-cloud": "1", "two-cloud": "2", "my-lib": "0.1"}
    assert found.modules["sklearn"] == ("scikit-learn",)
    assert set(found.modules["shared"]) == {"one-cloud", "two-cloud"}
    assert found.modules["shared.cloud.two"] == ("two-cloud",)
    assert found.modules["mylib"] == ("my-lib",)
    assert found.folders == {"my-lib": str(source)}
    assert packages.here() is found
    place(site, "new", "3", ["new.py"])
    os.utime(site, (1, 1))
    assert packages.here().versions["new"] == "3"


def test_a_job_records_the_packages_that_it_imports_under_their_own_names(tmp_path: Path) -> None:
    code = "import yaml\nimport nothing_of_the_kind\ntry:\n    import numpy\nexcept ImportError:\n    pass\n"
    made = plans.make(plans.Request(code=code, root=tmp_path), namespace="n", submission="0" * 12)
    assert sorted(made.spec.provenance["packages"]) == ["numpy", "pyyaml"]
