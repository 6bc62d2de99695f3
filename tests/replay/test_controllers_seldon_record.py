"""Our controller makes what the real operator was recorded with, field by field, and says the same of it.

The record (tests/real/record_serving.py) has what a real API server stored; its defaults are laid over ours before they
are compared, and what is empty counts as not there. What differs on purpose is in docs/differences.md.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from controllers_world import World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import seldon, workloads
from jupyterlab_kf.controllers.bringing.differences import APPLIED
from jupyterlab_kf.embedded.apiserver.defaults import default
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj
from jupyterlab_kf.quantities import canonical

RECORD = json.loads((Path(__file__).parents[1] / "golden" / "serving" / "real-1.17.1.json").read_text())
CASES: dict[str, Obj] = RECORD["deployments"]
KINDS = {
    kind.kind: kind
    for kind in (
        kinds.DEPLOYMENT,
        kinds.SERVICE,
        kinds.HORIZONTAL_POD_AUTOSCALER,
        kinds.POD_DISRUPTION_BUDGET,
        kinds.VIRTUAL_SERVICE,
        kinds.DESTINATION_RULE,
    )
}


@functools.cache
def played(name: str) -> tuple[World, Obj]:
    world = World(*seldon.controllers(seldon.Options()), *workloads.CONTROLLERS)
    kind = kinds.SELDON_DEPLOYMENT
    metadata = {"name": name, "namespace": "serving"}
    world.add(
        kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": CASES[name]["spec"]}
    )
    world.settle()
    for pod in world.list(kinds.POD, "serving"):
        place = world._place(kinds.POD, "serving", pod["metadata"]["name"])
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}]
        world.objects[place]["status"] = {"phase": "Running", "conditions": ready}
    world.settle()
    found = world.get(kind, "serving", name)
    assert found is not None
    return world, found


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {key: without_empty(one) for key, one in value.items()}
        return {key: one for key, one in plain.items() if one not in (None, {}, [], "", 0, False)}
    if isinstance(value, list):
        return [without_empty(one) for one in value]
    return value


def comparable(kind: Kind, found: Obj) -> Any:
    found = copy.deepcopy(found)
    notes = {k: v for k, v in (found["metadata"].get("annotations") or {}).items() if not k.startswith("deployment.")}
    notes.pop(APPLIED, None)
    spec = default(kind, found)["spec"]
    if kind == kinds.SERVICE:
        spec = {key: value for key, value in spec.items() if not key.startswith(("clusterIP", "ipFam"))}
    told = {"labels": found["metadata"].get("labels") or {}, "annotations": notes, "spec": spec}
    return without_empty(readable(told))


def readable(value: Any) -> Any:
    """What is encoded is opened, quantities are written one way."""
    if isinstance(value, list):
        return [readable(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("name") == "ENGINE_PREDICTOR":
        return {"name": "ENGINE_PREDICTOR", "value": readable(json.loads(base64.b64decode(value["value"])))}
    return {key: sizes(one) if key in ("requests", "limits") else readable(one) for key, one in value.items()}


def sizes(value: Any) -> Any:
    return {key: canonical(one) for key, one in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_makes_the_objects_that_the_real_operator_makes(name: str, kind: Kind) -> None:
    world, _ = played(name)
    ours = {one["metadata"]["name"]: comparable(kind, one) for one in world.list(kind, "serving")}
    theirs = {title: without_empty(readable(one)) for title, one in CASES[name]["objects"][kind.kind].items()}
    assert ours == theirs


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_the_real_operator_says(name: str) -> None:
    _, found = played(name)
    told = copy.deepcopy(CASES[name]["status"])
    for status in (found["status"], told):
        for one in status["conditions"]:
            one.pop("lastTransitionTime")
    assert without_empty(found["status"]) == without_empty(told)
