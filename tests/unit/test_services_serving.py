"""Serving a model, changing what answers, and going back, against a cluster in memory."""

from __future__ import annotations

import asyncio
import base64
import collections
import copy
import functools
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from serving_world import Here, Table, World, echo, installed
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf.controllers.seldon import Options
from jupyterlab_kf.controllers.seldon.components import components
from jupyterlab_kf.controllers.seldon.defaults import defaulted
from jupyterlab_kf.services.serving import batches, plans, rollout, states

IRIS = np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.7, 3.8, 6.7, 2.2]])
CELL = '''
class Doubler:
    """Twice what comes."""

    def predict(self, X, names=None):
        return 2 * X
'''


@functools.cache
def fitted() -> LogisticRegression:
    return LogisticRegression().fit(IRIS, [0, 1, 2])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(monkeypatch)


def serve(model: Any = None, **more: Any) -> kf.Endpoint:
    return kf.serve(fitted() if model is None else model, **{"name": "iris", "timeout": 5, **more})


def shipped(world: World, version: str) -> dict[str, bytes]:
    """The files that a version's ConfigMap carries."""
    found = next(
        obj for (kind, name), obj in world.objects.items() if kind == "ConfigMap" and f"-{version}-code" in name
    )
    packed = base64.b64decode(found["binaryData"]["code.tar.gz"])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {one.name: file.read() for one in tar if (file := tar.extractfile(one))}


def instructions(world: World, version: str) -> dict[str, Any]:
    """What a version's launcher is told."""
    code = (obj for (_, name), obj in world.objects.items() if f"-{version}-code" in name)
    return dict(json.loads(next(code)["data"]["job.json"]))


# The first version


def test_a_fitted_estimator_becomes_an_endpoint_that_predicts(world: World) -> None:
    endpoint = serve()
    assert endpoint.versions == {"v1": 100}
    assert endpoint.predict(IRIS).tolist() == pytest.approx(IRIS.sum(axis=1).tolist())
    predictor = world.objects["SeldonDeployment", "iris"]["spec"]["predictors"][0]
    container = predictor["componentSpecs"][0]["spec"]["containers"][0]
    assert container["command"] == ["python3", "/kf/code/launch.py", "run"]
    assert container["name"] == predictor["graph"]["name"] == "iris-v1"
    assert {"model/model.joblib", "serving.zip", "kf_serve.py"} <= shipped(world, "v1").keys()


def test_what_a_version_is_made_of_is_recorded(world: World) -> None:
    told = serve().provenance()
    assert told["called"] == "LogisticRegression"
    assert told["classes"] == ["0", "1", "2"]
    assert told["width"] == 4
    assert set(told["made"]) >= {"scikit-learn", "numpy"}
    assert re.fullmatch(r"[0-9a-f]{64}", told["model"])
    assert world.journal


def test_the_code_belongs_to_the_endpoint_and_goes_with_it(world: World) -> None:
    endpoint = serve()
    assert [kind for kind, _ in world.objects].count("ConfigMap") == 2
    endpoint.delete()
    assert not world.objects


def test_the_text_of_a_cell_travels_byte_for_byte_and_keeps_its_line_numbers(world: World) -> None:
    serve(CELL, filename="cell.py", first_line=2)
    assert shipped(world, "v1")["cell.py"].decode() == "\n" + CELL
    assert instructions(world, "v1")["args"] == ["--class", "cell:Doubler"]


def test_one_row_gives_one_result(world: World) -> None:
    assert serve().predict([1, 2, 3, 4]) == 10
    assert world.sent[-1][2]["data"]["tensor"]["shape"] == [1, 4]


def test_a_plan_creates_nothing_and_says_what_would_be(world: World) -> None:
    planned = kf.plan_serve(fitted(), name="iris")
    assert not world.objects
    assert "SeldonDeployment iris, with version v1" in planned.summary
    assert "/seldon/here/iris/api/v1.0/predictions" in planned.summary
    assert "kind: SeldonDeployment" in planned.yaml()
    assert planned.diff() == ""


def test_the_plan_of_a_second_version_shows_what_is_different(world: World) -> None:
    serve()
    diff = kf.plan_serve(fitted(), name="iris", canary=10).diff()
    assert "+  - name: v2" in diff
    assert not [name for _, name in world.objects if "v2" in name]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "Iris"}, "not one that Kubernetes accepts"),
        ({"name": "i" * 41}, "at most 40"),
        ({"replicas": 0}, "replicas is 0"),
        ({"canary": 101}, "canary is 101"),
        ({"protocol": "soap"}, "'soap' is not a protocol"),
        ({"framework": "caffe"}, "'caffe' is not a kind of model"),
        ({"params": {"method": [1]}}, "parameter method is a list"),
        ({"version": "V 1"}, "not one that Kubernetes accepts"),
        ({"name": 7}, "a name is a text, not 7"),
        ({"version": 2}, "a name is a text, not 2"),
        ({"method": "transform"}, "this LogisticRegression has no method transform"),
        ({"params": {"threshold": 1}}, "a model of kind sklearn takes no parameter 'threshold'"),
    ],
)
def test_what_is_refused_before_anything_exists(world: World, more: dict[str, Any], said: str) -> None:
    with pytest.raises(kf.UsageError, match=re.escape(said)):
        serve(**more)
    assert not world.objects


def test_a_cluster_without_the_operator_says_so(world: World) -> None:
    world.served = False
    with pytest.raises(kf.ClusterError, match="no SeldonDeployment"):
        serve()
    assert not world.objects


# More versions


def test_a_canary_gets_requests_only_once_it_is_ready(world: World) -> None:
    endpoint = serve()
    serve(canary=10)
    assert [line for line in world.journal if line.startswith("iris has")] == [
        'iris has {"v1": 100, "v2": 0}',
        'iris has {"v1": 90, "v2": 10}',
    ]
    counted = [endpoint.ask(IRIS).version for _ in range(100)]
    assert (counted.count("v1"), counted.count("v2")) == (90, 10)


def test_a_broken_version_leaves_the_old_one_serving_and_says_why(world: World) -> None:
    endpoint = serve()
    world.broken.add("v2")
    with pytest.raises(kf.EndpointNotReadyError) as caught:
        serve(canary=10)
    assert "No module named 'nothing_of_that_name'" in str(caught.value)
    assert "answered as before by v1 (100 %)" in str(caught.value)
    assert caught.value.version == "v2"
    assert endpoint.versions == {"v1": 100, "v2": 0}
    assert {endpoint.ask(IRIS).version for _ in range(20)} == {"v1"}
    assert endpoint.status == "Degraded"
    why = endpoint.explain()
    assert why is not None
    assert "ModuleNotFoundError" in why.traceback


def test_a_broken_version_can_be_replaced_under_its_name(world: World) -> None:
    serve()
    world.broken.add("v2")
    with pytest.raises(kf.EndpointNotReadyError):
        serve(version="v2")
    world.broken.clear()
    endpoint = serve(version="v2", canary=50)
    assert endpoint.versions == {"v1": 50, "v2": 50}


def test_a_version_that_answers_requests_is_not_replaced(world: World) -> None:
    serve()
    with pytest.raises(kf.UsageError, match="it answers requests") as caught:
        serve(version="v1")
    assert "v2" in caught.value.hint
    assert len(world.endpoints()) == 1


def test_whoever_does_not_wait_leaves_the_wish_on_the_cluster(world: World) -> None:
    serve()
    world.slow.add("v2")
    endpoint = serve(canary=20, wait=False)
    assert endpoint.versions == {"v1": 100, "v2": 0}
    assert endpoint.view().pending == {"v1": 80, "v2": 20}
    world.slow.clear()
    assert kf.endpoint("iris").wait().versions == {"v1": 80, "v2": 20}
    assert endpoint.view().pending is None


def test_a_version_that_is_late_is_told_with_what_it_waits_for(world: World) -> None:
    serve()
    world.slow.add("v2")
    with pytest.raises(kf.EndpointNotReadyError, match="0 of 1 are ready"):
        serve(canary=20, timeout=1)


# Traffic


def test_requests_are_divided_as_told_and_not_to_who_cannot_answer(world: World) -> None:
    endpoint = serve()
    world.slow.add("v2")
    serve(wait=False)
    with pytest.raises(kf.UsageError, match="v2 is not ready"):
        endpoint.traffic(v1=50, v2=50)
    world.slow.clear()
    assert endpoint.traffic(v1=30, v2=70).versions == {"v1": 30, "v2": 70}
    with pytest.raises(kf.UsageError, match="which is 90"):
        endpoint.traffic(v1=20, v2=70)
    with pytest.raises(kf.UsageError, match="no version 'v3'"):
        endpoint.traffic(v1=20, v3=80)


def test_promoting_shifts_the_requests_before_it_takes_the_others_away(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    world.journal.clear()
    endpoint.promote("v2")
    assert [line for line in world.journal if line.startswith("iris has")] == [
        'iris has {"v2": 100, "v1": 0}',
        'iris has {"v2": 100}',
    ]
    assert endpoint.versions == {"v2": 100}


def test_rolling_back_brings_the_version_up_before_it_answers(world: World) -> None:
    serve()
    endpoint = serve(canary=10).promote("v2")
    world.journal.clear()
    endpoint.rollback()
    shares = [json.loads(line[len("iris has ") :]) for line in world.journal if line.startswith("iris has")]
    assert shares[0] == {"v2": 100, "v1": 0}
    assert endpoint.versions == {"v1": 90, "v2": 10}


def test_rolling_back_to_a_version_that_does_not_come_up_changes_nothing_for_requests(world: World) -> None:
    serve()
    endpoint = serve(canary=10).promote("v2")
    world.broken.add("v1")
    with pytest.raises(kf.EndpointNotReadyError, match="v1"):
        endpoint.rollback(to=1)
    assert {endpoint.ask(IRIS).version for _ in range(20)} == {"v2"}


def test_rolling_back_leaves_out_what_was_broken_then(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    world.broken.add("v3")
    with pytest.raises(kf.EndpointNotReadyError):
        serve(canary=10)
    endpoint.promote("v2")
    assert endpoint.rollback().versions == {"v1": 90, "v2": 10}


def test_every_change_is_a_revision_with_its_author_and_what_ran(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    endpoint.traffic(v1=50, v2=50)
    told = endpoint.history()
    assert [one.cause for one in told] == ["serve v1", "add v2", "traffic: v1 90, v2 10", "traffic: v1 50, v2 50"]
    assert {one.author for one in told} == {"ada"}
    assert {one.notebook for one in told} == {"iris.ipynb"}
    assert told[-1].traffic == {"v1": 50, "v2": 50}
    assert set(told[-1].models) == {"v1", "v2"}
    assert world.objects["SeldonDeployment", "iris"]["metadata"]["annotations"]["jupyterlab-kf.io/revision"] == "4"
    assert "-    traffic: 100" in endpoint.diff(1)


def test_of_two_versions_that_are_alike_the_one_that_goes_is_shown_to_go() -> None:
    def version(name: str) -> dict[str, object]:
        return {"name": name, "replicas": 1, "graph": {"name": f"iris-{name}", "type": "MODEL"}}

    both = {"spec": {"name": "iris", "predictors": [version("v1"), version("v2")], "protocol": "seldon"}}
    one = {"spec": {"name": "iris", "predictors": [version("v2")], "protocol": "seldon"}}
    lines = plans.difference(both, one).splitlines()[3:]
    gone = [line[1:].strip() for line in lines if line.startswith("-")]
    assert gone == ["- name: v1", "replicas: 1", "graph:", "name: iris-v1", "type: MODEL"]
    assert not [line for line in lines if line.startswith("+")]
    assert "   - name: v2" in lines


def test_of_two_who_change_an_endpoint_at_once_the_second_is_told(world: World) -> None:
    endpoint = serve()
    stale = world.objects["SeldonDeployment", "iris"].copy()
    serve(canary=10)
    here = Here(world)
    with pytest.raises(kf.ConflictError, match="changed by somebody else"):
        here.run(lambda client: rollout.change(client, stale, stale["spec"]["predictors"], "x", rollout.Author()))
    assert len(endpoint.history()) == 3


def test_a_status_that_was_written_meanwhile_is_no_change_by_somebody_else(world: World) -> None:
    endpoint = serve()
    stale = copy.deepcopy(world.objects["SeldonDeployment", "iris"])
    world.objects["SeldonDeployment", "iris"]["metadata"]["resourceVersion"] = "99"
    here = Here(world)
    here.run(lambda client: rollout.change(client, stale, stale["spec"]["predictors"], "x", rollout.Author()))
    assert [one.cause for one in endpoint.history()] == ["serve v1", "x"]


def test_a_traceback_shows_its_authors_files_as_they_are_known_and_nobody_elses() -> None:
    told = """Traceback (most recent call last):
  File "/srv/pods/12/volumes/work/kf-ab_cd12x/serving.zip/kf_serving/loading.py", line 80, in from_class
  File "<frozen runpy>", line 88, in _run_code
  File "/srv/pods/12/volumes/work/kf-ab_cd12x/cell.py", line 3, in load
    self.model = joblib.load("words.txt")
                 ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/env/lib/python3.11/site-packages/joblib/numpy_pickle.py", line 650, in load
    with open(filename, 'rb') as f:
  File "/usr/lib/python3.11/tokenize.py", line 396, in open
KeyError: 'no'"""
    assert (
        states.readable(told)
        == """Traceback (most recent call last):
  File "cell.py", line 3, in load
    self.model = joblib.load("words.txt")
                 ^^^^^^^^^^^^^^^^^^^^^^^^
  (2 frames of libraries)
KeyError: 'no'"""
    )


def test_an_error_that_only_libraries_led_to_keeps_its_last_frame() -> None:
    told = """Traceback (most recent call last):
  File "/kf/work/kf-0123456789abcdef/serving.zip/kf_serving/loading.py", line 80, in from_class
  File "/opt/site-packages/joblib/a.py", line 1, in load
  File "/opt/site-packages/sklearn/b.py", line 2, in __setstate__
ValueError: old"""
    assert (
        states.readable(told)
        == """Traceback (most recent call last):
  (1 frame of libraries)
  File "/opt/site-packages/sklearn/b.py", line 2, in __setstate__
ValueError: old"""
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'a.txt'", "a server has no files of the notebook's"),
        ("NameError: name 'words' is not defined", "a server does not see the notebook's variables: define 'words'"),
        ("ModuleNotFoundError: No module named 'mine'", "serve from the folder that has your own module"),
    ],
)
def test_hints_about_a_server_speak_of_no_job(
    world: World, monkeypatch: pytest.MonkeyPatch, error: str, said: str
) -> None:
    trace = f'Traceback (most recent call last):\n  File "cell.py", line 3, in load\n{error}'
    monkeypatch.setattr("serving_world.CRASH", trace)
    world.broken.add("v1")
    with pytest.raises(kf.EndpointNotReadyError) as caught:
        serve()
    assert said in caught.value.hint
    assert not re.search(r"\bjob\b", f"{caught.value} {caught.value.hint}")


def test_a_record_whose_change_was_never_made_is_no_hindrance(world: World) -> None:
    endpoint = serve()
    lost = {"metadata": {"name": "iris-revision-2", "namespace": "here", "uid": "x", "labels": {}}}
    world.objects["ConfigMap", "iris-revision-2"] = lost
    serve(canary=10)
    assert [one.number for one in endpoint.history()] == [1, 2, 3]


def test_a_mirror_sees_copies_and_answers_nothing(world: World) -> None:
    serve()
    endpoint = serve(canary=0)
    endpoint.mirror("v2", 30)
    assert endpoint.versions == {"v1": 100}
    seen = endpoint.view().version("v2")
    assert seen is not None
    assert seen.mirror == 30
    with pytest.raises(kf.UsageError, match="v1 answers requests"):
        endpoint.mirror("v1")
    endpoint.mirror("v2", 0)
    assert endpoint.versions == {"v1": 100, "v2": 0}
    assert world.endpoints()


# Asking


def test_feedback_carries_the_answer_and_its_way_through_the_graph(world: World) -> None:
    endpoint = serve()
    with pytest.raises(kf.UsageError, match="no answer yet"):
        endpoint.feedback(reward=1)
    endpoint.ask(IRIS)
    endpoint.feedback(reward=1, truth=[0, 1, 2])
    _, path, message = world.sent[-1]
    assert path == "api/v1.0/feedback"
    assert message["reward"] == 1.0
    assert message["response"]["meta"]["routing"] == {}
    assert message["request"]["data"]["tensor"]["shape"] == [3, 4]
    assert message["truth"]["data"]["tensor"]["values"] == [0, 1, 2]


def test_feedback_reaches_the_version_that_gave_the_answer_however_requests_are_divided(world: World) -> None:
    serve()
    endpoint = serve(canary=30)
    for _ in range(20):
        answer = endpoint.ask(IRIS)
        endpoint.feedback(reward=1)
        assert world.sent[-1][:2] == (answer.version, "api/v1.0/feedback")
    late = endpoint.ask(IRIS)
    endpoint.promote("v1" if late.version == "v2" else "v2")
    with pytest.raises(kf.UsageError, match=f"{late.version}, which gave this answer, is not there"):
        endpoint.feedback(reward=1, answer=late)


def test_what_the_server_itself_imports_is_missed_in_an_image_and_can_be_installed(world: World) -> None:
    planned = kf.plan_serve(fitted(), name="iris", image="registry/plain:1", install=True)
    server = {"grpcio", "httptools", "numpy", "orjson", "prometheus-client", "protobuf", "uvicorn"}
    assert server <= {one.name for one in planned.needed}
    assert server <= {name for one in planned.inner.install for name in one.unless}
    assert not world.objects


def test_pods_of_a_version_are_the_same_whoever_comes_and_goes_beside_it(world: World) -> None:
    serve()
    serve(canary=10)
    (both,) = world.endpoints()
    alone = {**both, "spec": {"name": "iris", "predictors": both["spec"]["predictors"][1:]}}
    made = [components(defaulted(one, Options()), Options()).deployments[-1] for one in (both, alone)]
    assert made[0] == made[1]


def test_a_refusal_names_the_unit_and_what_it_said(world: World) -> None:
    endpoint = serve()
    info = "iris-v1: predict() raised ValueError: X has 3 features [cell.py:3 in predict: return self.m(X)]"
    world.answer = lambda *_: (500, {"status": {"code": 500, "info": info, "status": "FAILURE"}})
    with pytest.raises(kf.PredictionError, match="X has 3 features") as caught:
        endpoint.predict(IRIS)
    assert caught.value.unit == "iris-v1"
    assert caught.value.status == 500
    assert len([one for one in world.sent if one[1].endswith("predictions")]) == 1


def test_without_a_gateway_requests_are_divided_by_who_sends_them_and_that_is_said(world: World) -> None:
    world.gateway = False
    serve()
    endpoint = serve(canary=30)
    assert endpoint.predict(IRIS).shape == (3,)
    asked = collections.Counter(endpoint.ask(IRIS[:1]).version for _ in range(60))
    assert 3 <= asked["v2"] <= 36, asked
    assert endpoint.view().divided is None
    stale = kf.endpoint("iris")
    endpoint.promote("v1")
    assert {stale.ask(IRIS[:1]).version for _ in range(10)} == {"v1"}, "one that is gone is not asked"
    world.gateway = True
    endpoint.predict(IRIS)
    assert endpoint.view().divided is True


def test_logs_are_those_of_each_version(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    assert [(line.replica, line.text) for line in endpoint.logs()] == [
        ("v1-0", "serving v1"),
        ("v2-0", "serving v2"),
    ]
    assert [line.replica for line in endpoint.logs("v2")] == ["v2-0"]
    assert world.endpoints()


@pytest.mark.usefixtures("world")
def test_who_holds_an_endpoint_that_was_deleted_is_told_so() -> None:
    endpoint = serve()
    kf.endpoint("iris").delete()
    for deed in (
        lambda: endpoint.predict(IRIS),
        endpoint.logs,
        lambda: endpoint.traffic(v1=100),
        lambda: endpoint.status,
        endpoint.wait,
    ):
        with pytest.raises(kf.NotFoundError, match="iris is not there any more: it was deleted"):
            deed()


@pytest.mark.usefixtures("world")
def test_a_version_is_not_compared_with_itself() -> None:
    with pytest.raises(kf.UsageError, match="v1 cannot be compared with itself"):
        serve().ab_test("v1", "v1")


@pytest.mark.parametrize("protocol", ["seldon", "v2"])
def test_a_table_is_asked_about_in_the_models_own_order(world: World, protocol: str) -> None:
    model, names = copy.copy(fitted()), ["sl", "sw", "pl", "pw"]
    model.feature_names_in_ = np.array(names)
    endpoint = serve(model, protocol=protocol)
    if protocol == "v2":
        answer = {"outputs": [{"name": "predict", "datatype": "INT64", "shape": [3], "data": [0, 1, 2]}]}
        world.answer = lambda *_: (200, answer)
    for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
        endpoint.ask(Table(IRIS[:, order], columns=[names[at] for at in order]))
    asked = [message for _, path, message in world.sent if message]
    assert len(asked) == 2
    assert asked[0] == asked[1]
    with pytest.raises(kf.UsageError, match="has no column 'pw'"):
        endpoint.predict(Table(IRIS, columns=[*names[:3], "petal"]))


def test_an_endpoint_is_found_by_name_and_a_wrong_one_names_the_nearest(world: World) -> None:
    serve()
    assert kf.endpoint("iris").versions == {"v1": 100}
    assert [one.name for one in kf.endpoints()] == ["iris"]
    with pytest.raises(kf.NotFoundError, match="no endpoint 'irsi'") as caught:
        kf.endpoint("irsi")
    assert "iris" in caught.value.hint
    assert world.endpoints()


def test_an_unfitted_estimator_is_refused(world: World) -> None:
    with pytest.raises(kf.UsageError, match="is not fitted yet"):
        serve(LogisticRegression())
    assert not world.objects


def test_a_model_file_is_recognised_by_its_content(world: World, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"not a program")
    with pytest.raises(kf.BundleError, match="not a TorchScript program"):
        serve("weights.pt", root=tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    assert serve("model.onnx", root=tmp_path).provenance()["kind"] == "onnx"
    assert shipped(world, "v1")["model/model.onnx"] == b"onnx"


def test_a_folder_with_one_model_is_that_model_and_one_with_several_is_asked_about(
    tmp_path: Path, world: World
) -> None:
    (tmp_path / "results" / "deep").mkdir(parents=True)
    (tmp_path / "results" / "deep" / "a.onnx").write_bytes(b"a")
    (tmp_path / "results" / "log.txt").write_text("epoch 1")
    assert serve("results", root=tmp_path).provenance()["called"] == "a.onnx"
    (tmp_path / "results" / "b.onnx").write_bytes(b"b")
    with pytest.raises(kf.UsageError, match=r"has several models: b\.onnx, deep/a\.onnx"):
        serve("results", root=tmp_path)
    assert world.endpoints()


# After a bad start


def test_a_first_version_that_never_came_up_gives_way_to_the_next(world: World) -> None:
    world.broken.add("v1")
    with pytest.raises(kf.EndpointNotReadyError, match="v1"):
        serve()
    endpoint = serve()
    assert endpoint.versions == {"v2": 100}
    assert endpoint.history()[-1].cause == "traffic: v2 100; take away v1"
    assert len(endpoint.predict(IRIS)) == 3


def test_requests_are_not_divided_while_a_broken_version_holds_up_the_routes(world: World) -> None:
    endpoint = serve()
    serve(canary=50)
    world.broken.add("v3")
    with pytest.raises(kf.EndpointNotReadyError):
        serve(canary=10)
    with pytest.raises(kf.UsageError, match="v3 is not ready, and Seldon changes no routes") as caught:
        endpoint.traffic(v1=10, v2=90)
    assert "remove('v3')" in caught.value.hint
    assert endpoint.promote("v2").versions == {"v2": 100}


def test_a_version_that_is_to_get_nothing_yet_is_waited_for_and_kept(world: World) -> None:
    serve()
    world.slow.add("v2")
    endpoint = serve(canary=0, wait=False)
    with pytest.raises(kf.EndpointNotReadyError, match="v2"):
        endpoint.wait(1)
    world.slow.clear()
    assert endpoint.wait().versions == {"v1": 100, "v2": 0}


# Bandits


def test_a_bandit_has_the_versions_as_its_branches_in_one_pod(world: World) -> None:
    serve()
    endpoint = serve(canary=50)
    endpoint.bandit("v1", "v2", epsilon=0.2)
    assert endpoint.versions == {"v1": 0, "v2": 0, "bandit": 100}
    predictor = world.objects["SeldonDeployment", "iris"]["spec"]["predictors"][-1]
    graph = predictor["graph"]
    assert (graph["name"], graph["type"]) == ("iris-bandit", "ROUTER")
    assert [one["name"] for one in graph["children"]] == ["iris-v1", "iris-v2"]
    assert {one["name"]: one["value"] for one in graph["parameters"]} == {
        "n_branches": "2",
        "branch_names": "v1:v2",
        "epsilon": "0.2",
    }
    pod = predictor["componentSpecs"][0]["spec"]
    assert [one["name"] for one in pod["containers"]] == ["iris-bandit", "iris-v1", "iris-v2"]
    volumes = [one["name"] for one in pod["volumes"]]
    assert len(set(volumes)) == len(volumes) == 6
    mounted = [mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]]
    assert sorted(mounted) == sorted(volumes)
    assert "--class" in instructions(world, "bandit")["args"]
    assert "kf_serving.routers:EpsilonGreedy" in instructions(world, "bandit")["args"]
    assert {"name": "KF_STATE_DIR", "value": "/kf/work"} in pod["containers"][0]["env"]
    movable = {"annotations": {"jupyterlab-kf.io/ports-may-move": "true"}}
    assert predictor["componentSpecs"][0]["metadata"] == movable


def test_a_bandit_beside_a_server_of_ones_own_leaves_its_port_alone(world: World) -> None:
    serve()
    endpoint = serve(canary=50)
    del world.objects["SeldonDeployment", "iris"]["spec"]["predictors"][0]["componentSpecs"][0]["metadata"]
    endpoint.bandit("v1", "v2")
    assert "metadata" not in world.objects["SeldonDeployment", "iris"]["spec"]["predictors"][-1]["componentSpecs"][0]


@pytest.mark.parametrize(
    ("versions", "more", "said"),
    [
        (("v1",), {}, "at least two versions"),
        (("v1", "v3"), {}, "no version 'v3'"),
        (("v1", "v2"), {"algorithm": "luck"}, "'luck' is not a bandit's algorithm"),
        (("v1", "v2"), {"name": "v1"}, "it answers requests"),
    ],
)
def test_a_bandit_that_makes_no_sense(world: World, versions: Any, more: Any, said: str) -> None:
    serve()
    endpoint = serve(canary=50)
    with pytest.raises(kf.UsageError, match=re.escape(said)):
        endpoint.bandit(*versions, **more)
    assert len(world.endpoints()[0]["spec"]["predictors"]) == 2


def test_versions_for_different_machines_cannot_share_a_pod(world: World) -> None:
    serve()
    endpoint = serve(canary=50)
    first, second = world.objects["SeldonDeployment", "iris"]["spec"]["predictors"]
    first["componentSpecs"][0]["spec"]["nodeSelector"] = {"gpu": "yes"}
    second["componentSpecs"][0]["spec"]["nodeSelector"] = {"gpu": "no"}
    with pytest.raises(kf.UsageError, match="they differ in nodeSelector"):
        endpoint.bandit("v1", "v2")


def test_what_seldon_would_not_take_or_could_not_serve_is_refused_before_anything_is_made() -> None:
    def version(name: str, **graph: Any) -> dict[str, Any]:
        return {"name": name, "graph": {"name": "m", **graph}, "componentSpecs": []}

    def add(fresh: dict[str, Any], *there: dict[str, Any]) -> dict[str, Any]:
        before = {"spec": {"predictors": [*there]}} if there else None
        return plans.added(before, fresh, name="iris", namespace="ml", protocol="seldon", submission="s")

    with pytest.raises(kf.UsageError, match=r"SeldonDeployment iris would not serve: .*Can't find container for"):
        add(version("v1"))
    with pytest.raises(kf.UsageError, match="a RANDOM_ABTEST needs two children"):
        add(version("v1", implementation="RANDOM_ABTEST"))
    with pytest.raises(kf.UsageError, match="MINE"):
        add(version("v1", implementation="MINE_SERVER", modelUri="s3://m"))
    # What the cluster took already is its own affair: it may have servers that nobody here knows.
    own = version("v1", implementation="MINE_SERVER", modelUri="s3://m")
    added = add(version("v2", implementation="SKLEARN_SERVER", modelUri="s3://m"), own)
    assert [one["name"] for one in added["spec"]["predictors"]] == ["v1", "v2"]


# What goes away for a moment


@pytest.mark.parametrize("times", [3, 5])
def test_a_gateway_that_is_started_again_costs_a_prediction_time_only(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    endpoint, away, proxy = serve(), [times], world.proxy

    async def gone(*words: Any, **more: Any) -> Any:
        if away[0]:
            away[0] -= 1
            raise kf.ApiError("no endpoints available for service", code=503)
        return await proxy(*words, **more)

    monkeypatch.setattr(world, "proxy", gone)
    assert endpoint.predict(IRIS).shape == (3,)
    away[0] = 1
    with pytest.raises(kf.PredictionError, match="no endpoints"):
        endpoint.feedback(1.0)
    away[0] = 99
    with pytest.raises(kf.PredictionError, match="no endpoints"):
        endpoint.predict(IRIS)


def test_a_prediction_that_was_lost_with_its_server_is_asked_again_and_feedback_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, lost, proxy = serve(), [1], world.proxy
    cause: list[Exception] = [ConnectionResetError()]

    async def gone(*words: Any, **more: Any) -> Any:
        if lost[0]:
            lost[0] -= 1
            raise kf.UnreachableError("it went away") from cause[0]
        return await proxy(*words, **more)

    monkeypatch.setattr(world, "proxy", gone)
    assert endpoint.predict(IRIS).shape == (3,)
    for deed, why in ((lambda: endpoint.feedback(1.0), cause[0]), (lambda: endpoint.predict(IRIS), TimeoutError())):
        lost[0], cause[0] = 1, why
        with pytest.raises(kf.UnreachableError, match="it went away"):
            deed()


def test_without_a_gateway_an_older_handle_divides_requests_as_they_are_divided_now(world: World) -> None:
    world.gateway = False
    older = serve()
    serve(canary=50)
    assert {older.ask(IRIS).version for _ in range(60)} == {"v1", "v2"}
    kf.endpoint("iris").delete()
    with pytest.raises(kf.NotFoundError, match="is not there any more: it was deleted"):
        older.predict(IRIS)


# Many rows


def test_many_rows_are_asked_in_parts_and_come_back_in_their_order(world: World) -> None:
    endpoint = serve()
    rows = np.arange(40.0).reshape(10, 4)
    told: list[tuple[int, int]] = []
    found = endpoint.batch(rows, size=3, progress=lambda done, all_: told.append((done, all_)))
    assert found.tolist() == rows.sum(axis=1).tolist()
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len([one for one in world.sent if one[1].endswith("predictions")]) == 4


def test_a_batch_that_was_interrupted_asks_only_for_what_is_missing(world: World, tmp_path: Path) -> None:
    endpoint = serve()
    rows = np.arange(40.0).reshape(10, 4)
    calls = 0

    def second_fails(version: str, path: str, message: Any) -> tuple[int, Any]:
        nonlocal calls
        calls += 1
        return (400, {"error": "no"}) if calls == 3 else echo(version, path, message)

    world.answer = second_fails
    with pytest.raises(kf.PredictionError, match="no"):
        endpoint.batch(rows, size=2, at_once=1, output=tmp_path / "out")
    kept = len(list((tmp_path / "out").glob("part-*.json")))
    assert 0 < kept < 5
    world.answer = echo
    world.sent.clear()
    assert endpoint.batch(rows, size=2, output=tmp_path / "out").tolist() == rows.sum(axis=1).tolist()
    assert len(world.sent) == 5 - kept


def test_what_reached_no_model_is_sent_again_and_a_refusal_is_not(world: World) -> None:
    endpoint = serve()
    answers = iter([(503, {"error": "busy"}), (429, {"error": "busy"})])
    world.answer = lambda *asked: next(answers, None) or echo(*asked)
    assert endpoint.batch(IRIS, retries=2).shape == (3,)
    world.answer = lambda *_: (400, {"error": "no such column"})
    world.sent.clear()
    with pytest.raises(kf.PredictionError, match="no such column"):
        endpoint.batch(IRIS, retries=2)
    assert len(world.sent) == 1


def test_rows_that_are_refused_are_named_and_may_be_left_out(world: World, tmp_path: Path) -> None:
    endpoint = serve()

    def picky(version: str, path: str, message: Any) -> tuple[int, Any]:
        bad = any(one < 0 for one in message["data"]["tensor"]["values"])
        return (400, {"error": "less than nothing"}) if bad else echo(version, path, message)

    world.answer = picky
    rows = np.arange(40.0).reshape(10, 4)
    rows[7, 2] = -1
    with pytest.raises(kf.PredictionError, match=r"rows 4 to 7: .* less than nothing") as refused:
        endpoint.batch(rows, size=4)
    assert "skip=True" in refused.value.hint
    with pytest.warns(UserWarning, match="1 rows were refused .*\n?row 7: .* less than nothing"):
        found = endpoint.batch(rows, size=4, skip=True, output=tmp_path)
    assert np.isnan(found[7])
    assert np.delete(found, 7).tolist() == np.delete(rows.sum(axis=1), 7).tolist()
    table = pd.DataFrame(rows, columns=list("abcd"), index=[f"r{at}" for at in range(10)])
    with pytest.warns(UserWarning, match="row 7"):
        told = endpoint.batch(table, size=4, skip=True)
    assert told.index.tolist() == table.index.tolist()
    assert told.isna().sum() == told.isna()["r7"] == 1
    world.answer = lambda *_: (400, {"error": "broken"})
    with pytest.raises(kf.PredictionError, match=r"rows 0 to 3: .* broken"):
        endpoint.batch(rows, size=4, skip=True)


def test_answers_of_one_model_are_never_taken_for_those_of_another(world: World, tmp_path: Path) -> None:
    endpoint = serve()
    endpoint.batch(IRIS, output=tmp_path)
    endpoint.batch(IRIS, output=tmp_path)
    assert len(world.sent) == 1
    with pytest.raises(kf.UsageError, match="answers of endpoint here/iris"):
        serve(name="other").batch(IRIS, output=tmp_path)
    serve(CELL)
    with pytest.raises(kf.UsageError, match="answers of other models"):
        endpoint.batch(IRIS, output=tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(kf.UsageError, match="is a file"):
        endpoint.batch(IRIS, output=tmp_path / "file")


def test_a_cell_may_await_several_predictions_at_once(world: World) -> None:
    endpoint = serve()

    async def several() -> list[Any]:
        return await asyncio.gather(*(endpoint.predict_async(row) for row in IRIS))

    assert asyncio.run(several()) == pytest.approx(IRIS.sum(axis=1))
    assert len(world.sent) == 3


def test_a_file_of_mixed_columns_keeps_their_names_and_what_is_a_number(world: World, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("size,colour\n1.5,red\n2,blue\n")
    world.answer = lambda *asked: (200, {"data": asked[2]["data"]})
    found = serve().batch(tmp_path / "x.csv")
    assert found.columns.tolist() == ["size", "colour"]
    assert found.to_numpy().tolist() == [[1.5, "red"], [2.0, "blue"]]
    (tmp_path / "bare.csv").write_text("1.5,2\n3,4\n")
    assert batches.rows_of(tmp_path / "bare.csv") == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "a,b,c,d\n1,2,3,4\n5,6,7,8\n"),
        ("x.csv", "1,2,3,4\n5,6,7,8\n"),
        ("x.jsonl", "[1,2,3,4]\n\n[5,6,7,8]\n"),
    ],
)
def test_rows_may_come_from_a_file(world: World, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert serve().batch(tmp_path / name).tolist() == [10, 26]
    np.save(tmp_path / "x.npy", np.ones((2, 4)))
    assert kf.endpoint("iris").batch(str(tmp_path / "x.npy")).tolist() == [4, 4]
    (tmp_path / "x.txt").write_text(text)
    for wrong in ("x.txt", "nothing.csv"):
        with pytest.raises(kf.UsageError):
            kf.endpoint("iris").batch(tmp_path / wrong)
    assert world.endpoints()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"reference": [[1.0, 2.0]] * 60}, "the reference has 2 columns, and the model takes 4"),
        ({"reference": [[1.0, 2.0, 3.0, 4.0]] * 60, "wait": False}, "is to be waited for"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused_before_anything_is_made(
    world: World, more: dict[str, Any], says: str
) -> None:
    model = LogisticRegression().fit([[0.0, 0, 0, 0], [1, 1, 1, 1]], [0, 1])
    with pytest.raises(kf.UsageError, match=says):
        kf.serve(model, name="iris", **more)
    assert world.objects == {}


@pytest.mark.parametrize(
    ("reference", "more", "says"),
    [
        ([[1.0, 2.0]] * 60, {}, "2 columns, and the model takes 4"),
        ([["a", "b", "c", "d"]] * 60, {"sample": 2}, "sample is 2"),
        ([[1.0, 2.0, 3.0, 4.0]] * 60, {"groups": "sex"}, "no column 'sex'"),
    ],
)
def test_what_cannot_be_monitored_is_refused_before_anything_is_asked_or_made(
    world: World, reference: Any, more: dict[str, Any], says: str
) -> None:
    model = LogisticRegression().fit([[0.0, 0, 0, 0], [1, 1, 1, 1]], [0, 1])
    endpoint = kf.serve(model, name="iris")
    before = dict(world.objects)
    with pytest.raises(kf.UsageError, match=says):
        endpoint.monitor(reference, **more)
    assert world.objects == before
    assert not world.sent
