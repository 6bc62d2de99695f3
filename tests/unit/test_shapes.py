"""What is read of lists and watches, and that nothing which a server may send is lost on the way."""

from __future__ import annotations

import json

import pytest

from jupyterlab_kf.cluster import shapes

POD = {
    "metadata": {
        "name": "a",
        "uid": "u",
        "labels": None,
        "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
    },
    "spec": {"nodeName": "n", "volumes": [{"name": "v"}], "containers": [{"name": "c", "image": "i", "env": []}]},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}


def page(shape: shapes.Shape, *items: object) -> object:
    return shape.page(json.dumps({"metadata": {"continue": "x"}, "items": list(items)}).encode())


def test_pods_come_without_what_nobody_looks_at() -> None:
    assert page(shapes.POD, POD) == {
        "metadata": {"continue": "x"},
        "items": [
            {
                "metadata": {"name": "a", "uid": "u", "labels": None},
                "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": "Running", "podIP": "10.0.0.1"},
            }
        ],
    }


def test_a_jobs_manifest_is_folded_until_somebody_looks() -> None:
    (item,) = shapes.JOB.page(json.dumps({"items": [POD]}).encode())["items"]
    assert (item["metadata"]["name"], item["status"]) == ("a", POD["status"])
    assert not isinstance(item["spec"], dict), "not decoded yet"
    assert shapes.unfold(item) == POD
    assert shapes.unfold(POD) == POD, "what is not folded stays as it is"


@pytest.mark.parametrize("shape", [shapes.WHOLE, shapes.OBJECT, shapes.JOB, shapes.POD, shapes.USAGE, shapes.NODE])
def test_errors_and_odd_objects_pass_through_every_shape(shape: shapes.Shape) -> None:
    error = {"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "message": "too old"}}
    told = shape.event(json.dumps(error).encode())
    assert (told["type"], told["object"].get("code")) == ("ERROR", 410)
    odd = {"items": [{"metadata": {"name": "a"}, "spec": "text", "status": 3}]}
    (passed,) = shape.page(json.dumps(odd).encode())["items"]
    assert shapes.unfold(passed).get("spec", "text") == "text"
    assert shape.page(b'{"items": null}') == {"items": None}
    with pytest.raises(ValueError, match="truncated"):
        shape.event(b'{"type": "ADD')
