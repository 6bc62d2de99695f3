"""What is to be installed at start: as it is asked for, as it travels, and what is said when it cannot be had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from launching import place, start
from test_explain import FAILED, job, lines, replica, told

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.model import Cause
from jupyterlab_kf.runtime import install
from jupyterlab_kf.services import packages, plans
from jupyterlab_kf.services.packages import Installed, Package, Wanted

HERE = Installed(
    versions={"scikit-learn": "1.7.2", "torch": "2.8.0+cpu", "mylib": "0.1"},
    modules={"sklearn": ("scikit-learn",), "torch": ("torch",), "mylib": ("mylib",)},
    folders={"mylib": "/home/me/mylib"},
)
NEEDED = (
    Package("sklearn", "scikit-learn", "1.7.2"),
    Package("cv2", "opencv-python", "4.12", ("opencv-python-headless",)),
    Package("mylib", "mylib", "0.1", folder="/home/me/mylib"),
    Package("nothing", "nothing"),
    Package("tqdm", "tqdm", "4.67", optional=True),
)


def wanted(*words: str) -> list[Wanted]:
    return list(packages.wanted(list(words), NEEDED, lambda: HERE))


def test_what_the_code_imports_and_the_notebook_has_is_installed_in_its_version() -> None:
    assert packages.wanted(True, NEEDED, lambda: HERE) == (
        Wanted("scikit-learn==1.7.2", ("scikit-learn",), "sklearn"),
        Wanted("opencv-python==4.12", ("opencv-python", "opencv-python-headless"), "cv2"),
    )
    assert packages.wanted(False, NEEDED, lambda: HERE) == ()


@pytest.mark.parametrize(
    ("word", "requirement", "unless"),
    [
        ("scikit-learn", "scikit-learn==1.7.2", ("scikit-learn",)),
        ("Scikit_Learn", "scikit-learn==1.7.2", ("scikit-learn",)),
        ("sklearn", "scikit-learn==1.7.2", ("scikit-learn",)),
        ("torch", "torch==2.8.0", ("torch",)),
        ("cv2", "opencv-python-headless", ("opencv-python-headless",)),
        ("einops", "einops", ("einops",)),
        ("einops==0.8", "einops==0.8", ()),
        ("einops>=0.7,<1", "einops>=0.7,<1", ()),
        ("einops ~= 0.8", "einops ~= 0.8", ()),
        ("accelerate[test]>=1", "accelerate[test]>=1", ()),
        ('a>1; python_version < "3.12"', 'a>1; python_version < "3.12"', ()),
        ("mine @ git+https://example.com/mine.git@main", "mine @ git+https://example.com/mine.git@main", ()),
        ("mylib==0.1", "mylib==0.1", ()),
    ],
)
def test_a_name_means_the_version_that_is_here_unless_one_is_said(
    word: str, requirement: str, unless: tuple[str, ...]
) -> None:
    assert wanted(word) == [Wanted(requirement, unless)]


@pytest.mark.parametrize("word", ["--index-url=https://x", "-r", "./a.whl", "/a.whl", "", "a b", "https://x/a.whl"])
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="cannot be installed"):
        wanted(word)


def test_what_no_index_has_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="mylib is installed here from the folder /home/me/mylib") as refused:
        wanted("mylib")
    assert "--files" in refused.value.hint
    with pytest.raises(UsageError, match="it must be a list"):
        packages.wanted("einops", NEEDED, lambda: HERE)


@pytest.mark.parametrize(("line", "value"), [("", False), ("--install", True), ("--install a b==1", ["a", "b==1"])])
def test_words_and_calls_say_the_same(line: str, value: Any, tmp_path: Path) -> None:
    options = arguments.train_parser("x", code="optional").parse_args(["pytorch", *line.split(), "--cpu", "1"])
    settings = arguments.train_arguments(options)
    assert settings["install"] == value
    made = plans.make(plans.Request("import yaml", **settings, root=tmp_path), namespace="n", submission="0" * 12)
    assert f"--cpu 1 {line}".strip() in made.magic()
    assert (f"install={value!r}" in made.python()) == bool(value)
    assert made.spec.provenance.get("install", False) == value
    data = made.manifests[0]["data"]
    assert ("install.py" in data) == bool(value)
    asked = [one["requirement"] for one in json.loads(data["job.json"]).get("install", [])]
    assert [one.partition("==")[0] for one in asked] == (["pyyaml"] if value is True else ["a", "b"] if value else [])
    assert ("Installed at start" in made.summary) == bool(value)


def test_nothing_is_installed_that_the_image_has(tmp_path: Path) -> None:
    home = place(tmp_path, "import os, yaml; print('ran', os.environ['PATH'].split(':')[0])", install=["yaml"])
    done = start(home)
    assert done.returncode == 0, done.stderr
    (folder,) = [path for path in (home / "work").iterdir() if path.is_dir()]
    assert done.stdout == f"ran {folder}/bin\n", "no word of pip, which was not needed"
    assert start(home, PYTHONPATH=f"/x:{folder}").stdout == done.stdout


def test_an_image_without_pip_is_told(tmp_path: Path) -> None:
    home = place(tmp_path, "print('never')", install=["no-such-package-anywhere"])
    python = home / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in pip) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    text = (home / "install.py").read_text()
    text = text.replace("sys.executable", repr(str(python))).replace(
        'find_spec("ensurepip")', 'find_spec("nothing_here")'
    )
    (home / "install.py").write_text(text)
    done = start(home)
    assert done.returncode == install.FAILED
    assert done.stdout == "kf: installing no-such-package-anywhere\n"
    assert done.stderr == (
        "launch.py: cannot install anything: the image has no pip of version 22.2 or later (it has: none)\n"
    )


SAID = {
    "there is no such version for Python": """
ERROR: Could not find a version that satisfies the requirement einops==9 (from versions: 0.6.1, 0.7.0, 0.8.1)
ERROR: No matching distribution found for einops==9""",
    "no package of that name was found": """
ERROR: Could not find a version that satisfies the requirement einops==9 (from versions: none)
ERROR: No matching distribution found for einops==9""",
    "the package index cannot be reached": """
WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
'NewConnectionError('<...>: Failed to establish a new connection: [Errno -2] Name or service not known')': /einops/
ERROR: Could not find a version that satisfies the requirement einops==9 (from versions: none)
ERROR: No matching distribution found for einops==9""",
    "it has no wheel for this image, and building it failed": """
  error: subprocess-exited-with-error
  ERROR: Failed building wheel for einops==9
ERROR: Failed to build 'einops' when installing build dependencies""",
    "Cannot install a and b because these package versions have conflicting dependencies.": """
ERROR: Cannot install a and b because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/""",
    "Could not install packages due to an OSError: [Errno 28] No space left on device": """
ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device""",
}


@pytest.mark.parametrize("why", SAID)
def test_why_and_which_is_read_from_what_pip_said(why: str) -> None:
    said = install.reason(SAID[why].splitlines(), ["einops==9"])
    assert said.startswith("cannot install einops")
    assert why in said


def test_a_package_from_a_parent_is_named_without_who_wanted_it() -> None:
    text = "ERROR: No matching distribution found for needed>=2 (from tiny)"
    assert install.reason([text], ["tiny"]) == "cannot install needed>=2: no package of that name was found"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("cannot install einops: the package index cannot be reached", "PIP_INDEX_URL"),
        ("cannot install einops==9: there is no such version for Python 3.11", "check its name and version"),
        ("cannot install einops: it has no wheel for this image, and building it failed", "choose an image"),
    ],
)
def test_a_job_that_lacks_its_packages_says_which_and_what_to_do(said: str, hint: str) -> None:
    tails = {"worker-0": lines("worker-0", f"kf: installing einops\nlaunch.py: {said}")}
    why = told(job(FAILED), [replica("worker", 0, exit_code=69)], tails=tails)
    assert (why.cause, why.sentence) == (Cause.NOT_INSTALLED, f"worker-0 could not start: {said}")
    assert hint in why.hint
    # The log is gone, and the end of it is in the pod's status.
    gone = told(job(FAILED), [replica("worker", 0, exit_code=69, message=f"launch.py: {said}\n")])
    assert gone == why
    again = told(job(("Restarting", "", "")), [replica("worker", 0, "Running", exit_code=69, restarts=2)], tails=tails)
    assert again.sentence == f"worker-0 failed and was started again 2 times: {said}"
    assert again.hint == why.hint


def test_a_rank_that_lacks_its_packages_explains_the_launcher() -> None:
    tails = {
        "launcher-0": lines("launcher-0", "prterun noticed that a process exited"),
        "rank-1": lines("rank-1", "launch.py: cannot install a: no package of that name was found", at=9.0),
    }
    why = told(job(FAILED), [replica("launcher", 0, exit_code=69)], tails=tails)
    assert (why.cause, why.replica) == (Cause.NOT_INSTALLED, "rank-1")
