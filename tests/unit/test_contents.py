"""What an image has, who knows it, and what is told of the difference to the notebook."""

from __future__ import annotations

import venv
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import jupyterlab_kf as kf
from jupyterlab_kf import names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.embedded.images import Environment, ImageError, Images, Recipe
from jupyterlab_kf.embedded.kubelet import contents as asked
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import check
from jupyterlab_kf.services import contents, plans
from jupyterlab_kf.services.contents import Contents
from jupyterlab_kf.services.packages import Package, Wanted
from jupyterlab_kf.settings import load

SKLEARN = Package("sklearn", "scikit-learn", "1.7.2", file="train.py", line=3)
NUMPY = Package("numpy", "numpy", "2.2.6", file="train.py", line=1)
CV2 = Package("cv2", "opencv-python", "4.12", ("opencv-python-headless",), file="train.py", line=2)
MINE = Package("mylib", "mylib", "0.1", folder="/home/me/mylib", file="train.py", line=4)
ABSENT = Package("einops", "einops", file="Cell In[3]", line=2)
IMAGE = Contents("lab/torch:2", {"numpy": "2.2.1", "opencv-python-headless": "4.12"}, "profiles.yaml")


def gaps(*needed: Package, install: tuple[Wanted, ...] = (), has: Contents = IMAGE) -> list[str]:
    return [str(gap) for gap in contents.gaps(needed, has, install)]


def test_an_image_that_has_it_all_is_not_spoken_of() -> None:
    assert gaps(NUMPY, CV2) == []
    assert gaps(replace(SKLEARN, optional=True)) == []


def test_what_is_missing_is_told_with_its_place_and_what_to_do() -> None:
    (one,) = gaps(NUMPY, SKLEARN)
    assert one == (
        "the image lab/torch:2 has no scikit-learn (1.7.2 here; train.py, line 3): have it installed at start with "
        "--install, or choose an image that has it with --image"
    )
    (both,) = gaps(ABSENT, SKLEARN)
    assert "einops (not here either; Cell In[3], line 2), scikit-learn (1.7.2 here" in both
    assert "have them installed at start with --install NAME" in both
    (own,) = gaps(MINE)
    assert own == (
        "the image lab/torch:2 has no mylib, which is installed here from /home/me/mylib: ship it with --files"
    )
    (many,) = gaps(*(Package(f"m{n}", f"p{n}", "1", file="a.py", line=n) for n in range(12)))
    assert "p7 (1 here; a.py, line 7), 4 more: have them" in many


def test_versions_of_another_major_or_minor_number_are_told() -> None:
    there = Contents("i", {"numpy": "1.26.4", "opencv-python-headless": "4.10.0.84"})
    (one,) = gaps(NUMPY, CV2, has=there)
    assert one == (
        "the image i has numpy 1.26.4 (here 2.2.6), opencv-python 4.10.0.84 (here 4.12): to have the versions of here, "
        "--install numpy==2.2.6 opencv-python==4.12"
    )
    for here, same in (("2.2.6", "2.2"), ("2.0", "2"), ("1.0+cpu", "1.0.5"), ("1.0", ""), ("", "3")):
        assert gaps(replace(NUMPY, version=here), has=Contents("i", {"numpy": same})) == []


def test_what_is_installed_at_start_is_not_missed() -> None:
    assert gaps(SKLEARN, install=(Wanted("scikit-learn==1.7.2", ("scikit-learn",)),)) == []
    assert gaps(SKLEARN, install=(Wanted("Scikit_Learn >=1"),)) == []
    assert gaps(ABSENT, install=(Wanted("scikit-learn==1.7.2"),)) == [], "it may come with that"
    assert len(gaps(ABSENT, install=(Wanted("pyyaml==6", ("pyyaml",), "yaml"),))) == 1
    (gap,) = contents.gaps([ABSENT, SKLEARN], IMAGE, ())
    assert gap.requirements == ("einops", "scikit-learn==1.7.2")
    old = Contents("i", {"numpy": "1.26"})
    assert gaps(NUMPY, install=(Wanted("numpy==2.2.6"),), has=old) == []
    assert len(gaps(NUMPY, install=(Wanted("numpy==2.2.6", ("numpy",)),), has=old)) == 1, "the image's own is kept"


def test_nothing_is_judged_where_nothing_is_known() -> None:
    assert gaps(SKLEARN, MINE, has=Contents("i")) == []


FILE = """
profiles:
  - {slug: small, images: ["lab/torch:2"]}
packages:
  lab/torch:2: [numpy==2.2.6, "torch==2.8.0+cpu", Scikit_Learn == 1.7]
  lab/frozen:1: |
    # pip freeze
    numpy==1.26.4
    local @ file:///opt/local
    -e git+https://example.com/x.git#egg=x
    tomli==2; python_version < "3.11"
"""


def test_the_file_of_profiles_may_say_what_images_have() -> None:
    found, problems = check(FILE)
    assert problems == []
    assert found.packages == {
        "lab/torch:2": (("numpy", "2.2.6"), ("torch", "2.8.0+cpu"), ("Scikit_Learn", "1.7")),
        "lab/frozen:1": (("numpy", "1.26.4"), ("local", ""), ("tomli", "2")),
    }
    _, problems = check("profiles: []\npackages:\n  a: [numpy>=1]\n  b: {c: d}\n")
    assert [(one.line, one.message) for one in problems] == [
        (3, "'numpy>=1' is not a package; write NAME==VERSION, as pip freeze does"),
        (4, "'b' is a list of texts"),
    ]


def test_a_plan_tells_what_is_known_and_that_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(FILE)
    monkeypatch.setenv("KF_PROFILES", str(file))
    code = "import numpy\nimport yaml, json\n"

    def plan(image: str, **more: object) -> plans.Plan:
        request = plans.Request(code=code, image=image, root=tmp_path, **more)  # type: ignore[arg-type]
        return plans.make(request, namespace="n", submission="0" * 12)

    known = plan("lab/torch:2")
    assert known.contents.source == str(file)
    assert "Note: the image lab/torch:2 has no pyyaml (" in known.summary
    assert "cell.py, line 2)" in known.summary
    assert "pyyaml" not in "".join(map(str, plan("lab/torch:2", install=True).gaps))
    assert "Note: what packages the image other has is not known here" in plan("other").summary
    file.write_text("profiles: 3")
    assert "not known" in plan("lab/torch:2").summary, "a faulty file is told to who chooses a profile"


def test_a_plan_of_the_standard_library_speaks_of_no_packages(tmp_path: Path) -> None:
    made = kf.plan("import os, json", root=tmp_path)
    assert "not known" not in made.summary


async def test_a_node_that_cannot_tell_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        async def list(self, *_: Any, **__: Any) -> list[Obj]:
            return [{"metadata": {"name": "here", "annotations": {names.ANNOTATION_TELLS_PACKAGES: "true"}}}]

        async def request(self, *_: Any, **__: Any) -> Obj:
            raise ApiError("the environment of lab/torch:2 is broken", code=500)

    found = await contents.look(cast("Client", Server()), "lab/torch:2")
    assert (found.versions, found.source) == (None, "the environment of lab/torch:2 is broken")
    monkeypatch.setattr(contents, "listed", lambda _: IMAGE)
    assert await contents.look(cast("Client", Server()), "lab/torch:2") == IMAGE, "the file of profiles knows"


# What the embedded node answers


def images(monkeypatch: pytest.MonkeyPatch, found: Environment | Recipe) -> Images:
    made = Images(load({"KF_DATA_DIR": "/nowhere"}))
    monkeypatch.setattr(made, "resolve", lambda _image: found)
    return made


async def test_an_environment_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    (site,) = (tmp_path / "env").glob("lib/python3*/site-packages")
    (site / "kf_one-1.5.dist-info").mkdir()
    (site / "kf_one-1.5.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: kf-one\nVersion: 1.5\n")
    packages = asked.Packages(images(monkeypatch, Environment("i", tmp_path / "env", "x")))
    found = await packages.of("i")
    assert found == {"kf-one": "1.5"}
    assert await packages.of("i") is found
    monkeypatch.setattr(asked, "_stamp", lambda _prefix: (("new", 1),))
    again = await packages.of("i")
    assert again == found
    assert again is not found


async def test_what_would_be_made_is_known_from_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# made\nnumpy==2.2.6 --hash=sha256:abc\ntorch==2.8.0+cpu ; python_version > '3'\n")
    recipe = Recipe("i", "x", lock, ("joblib>=1",))
    assert await asked.Packages(images(monkeypatch, recipe)).of("i") == {
        "numpy": "2.2.6",
        "torch": "2.8.0+cpu",
        "joblib": "",
    }


async def test_an_environment_that_is_broken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\necho no >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(ImageError, match="cannot say what packages it has: no"):
        await asked.Packages(images(monkeypatch, Environment("i", tmp_path, "x"))).of("i")
