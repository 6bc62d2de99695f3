"""Packages that an image lacks are installed when the job starts, on the embedded cluster; no index is asked.

On the embedded cluster alone: the image is a Python environment of this machine; tests/real/test_pod_installs.py
installs in real pods.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bed.api import Api, ApiStatusError
from wheels import make_wheel

import jupyterlab_kf as kf
from jupyterlab_kf.errors import JobFailedError
from jupyterlab_kf.model import Cause, Phase
from jupyterlab_kf.settings import Settings

pytestmark = pytest.mark.usefixtures("cluster")
IMAGE = "plain-python"
CODE = """
import os, subprocess, sys
import kf_tiny, kf_needed, yaml
assert kf_tiny.VERSION == "1.0", kf_tiny.VERSION
child = subprocess.run([sys.executable, "-c", "import kf_tiny"])
where = os.path.dirname(kf_tiny.__file__)
print("rank", os.environ["RANK"], child.returncode, where.startswith(os.environ["KF_WORK"]), sorted(os.listdir(where)))
"""


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    """pip's variables for a folder of wheels."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "kf-tiny", "1.0", needs=("kf-needed>=2", "pyyaml"))
    make_wheel(folder, "kf-tiny", "2.0")
    make_wheel(folder, "kf-needed", "2.1")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def test_each_pod_installs_what_its_image_lacks_and_nothing_else(index: dict[str, str], tmp_path: Path) -> None:
    job = kf.train(
        CODE, "pytorch", workers=2, nproc=2, name="installs", image=IMAGE, cpu="100m", root=tmp_path, env=index,
        install=["kf-tiny==1.0", "pyyaml"],
    )  # fmt: skip
    job.wait(timeout=120)
    lines = [line.text for line in job.logs()]
    found = sorted(line for line in lines if line.startswith("rank"))
    assert [line.split()[:4] for line in found] == [["rank", str(rank), "0", "True"] for rank in range(4)], lines
    assert all("yaml" not in line for line in found), "the image's own stays where it is"
    assert sum(line.startswith("kf: installed kf-needed 2.1, kf-tiny 1.0 in") for line in lines) == 2, lines
    job.delete()


def test_what_the_image_lacks_is_told_before_and_on_submitting(cluster: Settings, tmp_path: Path) -> None:
    """The node says what an image has: here its own environment, and one that need not be made for that."""
    code = "import kf_absent\nimport yaml\n"
    planned = kf.plan(code, "pytorch", image=IMAGE, root=tmp_path)
    assert planned.contents.source.startswith("node ")
    (gap,) = planned.gaps
    assert str(gap).startswith(
        f"the image {IMAGE} has no kf-absent (not here either; cell.py, line 1): have it installed"
    )
    assert str(gap) in planned.summary
    assert (kf.plan(code, "mxnet", root=tmp_path).contents.versions or {}).keys() >= {"mxnet", "numpy"}
    with pytest.warns(UserWarning, match="has no kf-absent"):
        job = kf.train(code, "pytorch", image=IMAGE, name="told", cpu="100m", root=tmp_path)
    job.delete()
    api = Api(cluster.embedded_kubeconfig)
    (node,) = api.list("v1", "Node")
    path = f"/api/v1/nodes/{node['metadata']['name']}/proxy"
    assert "pyyaml" in {name.lower() for name in api.request("GET", f"{path}/packages?image=x")["packages"]}
    for wrong, status in (("/packages", 400), ("/stats/summary", 404), ("", 404)):
        with pytest.raises(ApiStatusError) as refused:
            api.request("GET", path + wrong)
        assert refused.value.code == status
    api.close()


def test_a_package_that_cannot_be_had_ends_the_job_and_says_why(index: dict[str, str], tmp_path: Path) -> None:
    job = kf.train(
        "print('never')", "pytorch", name="lacks", image=IMAGE, env=index, install=["kf-tiny==9"], cpu="100m",
        restart="ExitCode", retries=3, root=tmp_path,
    )  # fmt: skip
    with pytest.raises(JobFailedError):
        job.wait(timeout=120)
    assert job.status().phase is Phase.FAILED
    why = job.explain()
    assert why is not None
    assert why.cause is Cause.NOT_INSTALLED
    assert why.sentence.startswith("master-0 could not start: cannot install kf-tiny==9: there is no such version for")
    assert "(there are 1.0, 2.0)" in why.sentence
    assert all(replica.restarts == 0 and replica.exit_code == 69 for replica in job.replicas()), "permanent: no restart"
    assert "never" not in [line.text for line in job.logs()]
    job.delete()
