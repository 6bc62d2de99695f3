"""A job taken up again: its code read back, its request, its copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.services import again, plans
from jupyterlab_kf.services.plans import Plan, Request


class FakeClient:
    def __init__(self, *objects: Obj) -> None:
        self.objects = {(one["kind"], meta(one)["name"]): one for one in objects}
        self.made: list[Obj] = []
        self.patched: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        try:
            return self.objects[kind.kind, name]
        except KeyError:
            raise NotFoundError(f"no {name} in {namespace}") from None

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "") -> Obj:
        assert (kind.kind, namespace) == (obj["kind"], "default")
        made = {**obj, "metadata": {**obj["metadata"], "uid": f"uid-{len(self.made)}"}}
        self.made.append(made)
        return made

    async def patch(self, kind: Kind, namespace: str, name: str, body: Any) -> Obj:
        assert kind in (kinds.CONFIG_MAP, kinds.PERSISTENT_VOLUME_CLAIM)
        assert namespace == "default"
        self.patched.append(name)
        return dict(body)


def planned(tmp_path: Path, **more: Any) -> Plan:
    request = Request(code="print('hello')\nx = 1\n", name="digits", root=tmp_path, **{"workers": 3, **more})
    return plans.make(request, namespace="default", submission="0123456789ab")


async def test_the_code_of_a_job_is_read_back(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    assert found == again.Source("cell.py", "print('hello')\nx = 1\n", ("cell.py",))


async def test_a_job_without_our_code_has_none(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert await again.source(FakeClient(), plan.job) == again.Source()  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", ["no base64!", "aGVsbG8="])
def test_an_archive_that_is_none_is_no_error(packed: str) -> None:
    assert again._unpacked(packed, "{}") == again.Source()


async def test_a_job_becomes_a_cell_again(tmp_path: Path) -> None:
    plan = planned(tmp_path, cpu=2, memory="1Gi", env={"A": "$x"}, params={"lr": 0.1}, args=("--fast",))
    code = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    same = again.as_plan(plan.job, code)
    assert same.job["spec"] == {**plan.job["spec"], **_renamed(same, plan)}
    line = same.magic().splitlines()[0]
    assert line.startswith("%%kf_train pytorch -n 3 --name digits")
    assert "--cpu 2" in line
    assert "--param lr=0.1" in line
    assert line.endswith("--args --fast")


def _renamed(same: Plan, plan: Plan) -> Obj:
    """The spec of the first with the second's names of what is beside it."""
    spec: Obj = {"x": plan.job["spec"]}
    again._rename(spec, {plan.spec.code_name: same.spec.code_name})
    return dict(spec["x"])


async def test_a_rerun_copies_what_the_job_owns(tmp_path: Path) -> None:
    plan = planned(tmp_path, output="out")
    old = {**plan.job, "metadata": {**plan.job["metadata"], "uid": "old", "resourceVersion": "7"}, "status": {"x": 1}}
    client = FakeClient(*plan.manifests)
    made = await again.rerun(client, old)  # type: ignore[arg-type]
    code, claim, job = client.made
    assert made is job
    assert meta(job)["name"].startswith("digits-")
    assert "status" not in job
    assert labels(job)[names.LABEL_SUBMISSION] != "0123456789ab"
    text = str(job["spec"])
    assert meta(code)["name"] in text
    assert meta(claim)["name"] in text
    assert plan.spec.code_name not in text
    assert client.patched == [meta(code)["name"], meta(claim)["name"]], "the new job owns its copies"


def test_a_name_that_was_made_is_made_anew() -> None:
    assert again._stem("digits-0a1b2") == "digits"
    assert again._stem("digits-large") == "digits-large"
    assert len(again._stem("x" * 52)) + 6 <= names.MAX_JOB_NAME
