"""Serving from Python on the whole embedded cluster: real pods, the real Envoy, and models that are really asked.

On the embedded cluster alone: there is no Seldon operator on the real one.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import nbformat
import numpy as np
import pytest
from bed.api import Api
from nbclient import NotebookClient
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.ensemble import IsolationForest, RandomForestClassifier  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.tree import DecisionTreeClassifier  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf.settings import Settings

ROOT = Path(__file__).parents[2]
X, Y = load_iris(return_X_y=True)
DOUBLER = '''
class Doubler:
    """Twice what comes, and what was told back."""

    def __init__(self, by: int = 2):
        self.by = by

    def predict(self, X, names=None):
        if len(X[0]) == 1:
            raise ValueError("one column is too few")
        return self.by * X

    def tags(self):
        return {"by": self.by}
'''
BROKEN = """
class Broken:
    def load(self):
        raise KeyError("no such thing")

    def predict(self, X, names=None):
        return X
"""


@pytest.fixture
def iris(cluster: Settings) -> Iterator[kf.Endpoint]:
    """A fitted estimator, served."""
    assert cluster.data_dir
    endpoint = kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name="iris")
    yield endpoint
    endpoint.delete()


class Load:
    """Asks all the time, and counts who answered and what failed."""

    def __init__(self, endpoint: kf.Endpoint) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []
        self._endpoint = endpoint
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(timeout=90)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                self.answered[self._endpoint.ask(X[:1]).version] += 1
            except kf.KubeflowError as error:
                self.failed.append(str(error))


def asked(endpoint: kf.Endpoint, times: int) -> Counter[str]:
    return Counter(endpoint.ask(X[:2]).version for _ in range(times))


def test_a_model_goes_through_its_life_without_a_failed_request(iris: kf.Endpoint) -> None:
    assert (iris.predict(X) == Y).mean() > 0.9
    assert iris.predict(X[0]) == 0
    with Load(kf.endpoint("iris")) as load:
        kf.serve(RandomForestClassifier(10, random_state=0).fit(X, Y), name="iris", canary=10)
        assert iris.versions == {"v1": 90, "v2": 10}
        seen = asked(iris, 120)
        assert 0 < seen["v2"] < 40

        with pytest.raises(kf.EndpointNotReadyError) as caught:
            kf.serve(BROKEN, name="iris", canary=50)
        assert "KeyError: 'no such thing'" in caught.value.traceback
        assert 'File "model.py", line 4, in load' in caught.value.traceback
        assert caught.value.traceback.count("File ") == 1  # neither the server's frames nor libraries'
        assert caught.value.version == "v3"
        assert iris.status == "Degraded"

        iris.promote("v2")
        assert set(asked(iris, 20)) == {"v2"}
        iris.rollback()
        assert iris.versions == {"v1": 90, "v2": 10}
        assert asked(iris, 60)["v1"] > 30
    assert load.failed == []
    assert set(load.answered) == {"v1", "v2"}
    causes = [one.cause for one in iris.history()]
    assert causes[0] == "serve v1"
    assert "promote v2" in causes
    assert causes[-1].startswith("roll back to")


@contextmanager
def listening(*ports: int) -> Iterator[list[int]]:
    """Servers at all addresses of the machine, as a hub's proxy is one; those whose ports are to be had."""
    with ExitStack() as stack:
        had = []
        for port in ports:
            server = stack.enter_context(socket.socket())
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("0.0.0.0", port))
                server.listen()
            except OSError:
                continue
            had.append(port)
        yield had


def test_the_usual_ports_are_left_to_other_programs(cluster: Settings) -> None:
    usual = (8000, 9000, 9500, 5001, 6000, 8080, 15021)
    model = LogisticRegression(max_iter=500).fit(X, Y)
    with listening(*usual) as there:
        endpoint = kf.serve(model, name="beside")
        assert (endpoint.predict(X) == Y).mean() > 0.9  # through Envoy
        api = Api(cluster.embedded_kubeconfig)
        way = f"/api/v1/namespaces/{endpoint.namespace}/services/beside-v1:8000/proxy/api/v1.0/predictions"
        answer = api.request("POST", way, {"data": {"ndarray": X[:1].tolist()}})
        assert answer["data"]["ndarray"] == [0]
        assert endpoint.metrics()["v1"].requests >= 2
    # Nobody else has come to listen there: a server that begins now gets each of them.
    with listening(*usual) as again:
        assert again == there
    services = {one["metadata"]["name"]: one for one in api.list("v1", "Service", endpoint.namespace)}
    assert [port["targetPort"] for port in services["beside-v1"]["spec"]["ports"]] == [8000, 5001]
    api.close()
    endpoint.delete()


def test_a_bandit_learns_by_feedback_which_version_does_best(iris: kf.Endpoint) -> None:
    kf.serve(DOUBLER.replace("return self.by * X", "return X[:, 0] * 0"), name="iris", canary=0)
    iris.bandit("v1", "v2", epsilon=0.2, seed=3)
    for row, truth in zip(X[60:120], Y[60:120], strict=True):
        answer = iris.ask(row)
        iris.feedback(reward=float(np.ravel(answer.value)[0] == truth))
    late = Counter(iris.ask(X[:1]).routing["iris-bandit"] for _ in range(40))
    assert late[0] > 25
    measured = iris.metrics()["bandit"]
    assert measured.feedbacks == 60
    assert measured.errors == 0


SCALE = """
class Tenth:
    def __init__(self, by: float = 10.0):
        self.by = by

    def transform_input(self, X, names=None):
        return X / self.by

    def tags(self):
        return {"by": self.by}
"""


def test_a_graph_answers_as_its_parts_do_one_after_the_other_and_together(
    cluster: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.data_dir
    (tmp_path / "tenth.py").write_text(SCALE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from tenth import Tenth  # type: ignore[import-not-found]

    unusual = IsolationForest(random_state=0).fit(X)
    first = LogisticRegression(max_iter=500).fit(X / 10, Y)
    second = RandomForestClassifier(n_estimators=5, random_state=0).fit(X / 10, Y)
    third = DecisionTreeClassifier(max_depth=1).fit(X / 10, Y)  # knows two of the three classes
    graph = kf.chain(unusual, Tenth(10.0), kf.combine(first, second, third, by="majority"))
    endpoint = kf.serve(graph=graph, name="flowers")
    rows = np.vstack([X[::10], [[90.0, 90.0, 90.0, 90.0]]])
    answer = endpoint.ask(rows)
    votes = np.stack([model.predict(rows / 10) for model in (first, second, third)])
    expected = [max(column, key=list(column).count) for column in votes.T]
    assert answer.value.tolist() == expected
    assert answer.tags["outlier"] == (unusual.predict(rows) < 0).tolist()
    assert answer.tags["outlier"][-1]
    assert answer.tags["by"] == 10.0
    assert answer.version == "v1"
    assert {name.removeprefix("flowers-v1-") for name in answer.path} == {
        "isolationforest",
        "tenth",
        "majority",
        "logisticregression",
        "randomforestclassifier",
        "decisiontreeclassifier",
    }

    kf.serve(kf.route(first, second, by="thompson", seed=1), name="flowers")
    for row, truth in zip(X[60:75] / 10, Y[60:75], strict=True):
        asked_once = endpoint.ask(row)
        assert asked_once.routing["flowers-v2-thompson"] in (0, 1)
        endpoint.feedback(reward=float(np.ravel(asked_once.value)[0] == truth))
    assert endpoint.metrics()["v2"].feedbacks == 15
    endpoint.rollback()
    assert endpoint.ask(rows).value.tolist() == expected
    endpoint.delete()


def test_a_class_of_ones_own_says_where_it_failed(cluster: Settings, tmp_path: Path) -> None:
    assert cluster.data_dir
    endpoint = kf.serve(DOUBLER, name="doubler", params={"by": 3}, filename="cell.py", first_line=2, root=tmp_path)
    answer = endpoint.ask(np.array([[1, 2], [3, 4]]))
    assert answer.value.tolist() == [[3, 6], [9, 12]]
    assert answer.tags == {"by": 3}
    with pytest.raises(kf.PredictionError, match="one column is too few") as caught:
        endpoint.predict([[1]])
    assert caught.value.unit == "doubler-v1"
    # The line that it has in the notebook, below the magic.
    line = next(number for number, text in enumerate(DOUBLER.splitlines(), 2) if "raise ValueError" in text)
    assert f"cell.py:{line}" in str(caught.value)
    assert any("serves at" in line.text for line in endpoint.logs())
    endpoint.delete()
    deadline = time.monotonic() + 60
    while any(one.name == "doubler" for one in kf.endpoints()) and time.monotonic() < deadline:
        time.sleep(0.2)
    with pytest.raises(kf.NotFoundError):
        kf.endpoint("doubler")


@pytest.mark.parametrize("protocol", ["v2", "tensorflow"])
def test_the_other_protocols_answer_the_same(cluster: Settings, protocol: str) -> None:
    assert cluster.data_dir
    name = f"iris-{protocol}"
    endpoint = kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name=name, protocol=protocol)
    assert endpoint.predict(X[:5]).ravel().tolist() == Y[:5].tolist()
    endpoint.delete()


TUNED = """
import os

import joblib
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier

neighbours = integer(1, 9)

X, y = load_iris(return_X_y=True)
model = KNeighborsClassifier(neighbours).fit(X[::2], y[::2])
print(f"accuracy={model.score(X[1::2], y[1::2])}")
if folder := os.environ.get("KF_OUTPUT"):
    joblib.dump(model, f"{folder}/model.joblib")
"""


def test_a_study_serves_the_model_of_its_best_trial(cluster: Settings, tmp_path: Path) -> None:
    assert cluster.data_dir
    study = kf.tune(
        TUNED, objective="accuracy", direction="maximize", trials=2, name="neighbours", root=tmp_path
    ).wait()
    with pytest.raises(kf.UsageError, match="nothing to plan with"):
        kf.plan_serve(study)
    endpoint = kf.serve(study)
    assert endpoint.name == "neighbours"
    assert (endpoint.predict(X) == Y).mean() > 0.9
    told = endpoint.provenance()
    assert (told["called"], told["from"]) == ("model.joblib", f"trial {study.best_trial.number} of study neighbours")
    assert kf.serve(study, canary=10).versions == {"v1": 90, "v2": 10}  # promoted once, served twice
    assert [one.digest for one in kf.models() if one.endpoint.startswith("default/neighbours")] == [told["model"]]
    endpoint.delete()
    study.delete()
    for job in kf.jobs():
        if job.name.startswith("neighbours"):
            job.delete()


def run(name: str, folder: Path) -> str:
    """What a notebook's cells said."""
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / name, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder)}}
    done = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return "\n".join(
        str(output.get("data", {}).get("text/plain", output.get("text", "")))
        for cell in done.cells
        for output in cell.get("outputs", ())
    )


def test_the_notebook_of_serving_does_what_it_says(cluster: Settings, tmp_path: Path) -> None:
    assert cluster.data_dir
    said = run("serve.ipynb", tmp_path)
    assert "Endpoint iris: Ready" in said
    assert "words.txt" in said
    assert "roll back to" in said


def test_the_second_part_of_the_quick_start_tunes_serves_and_rolls_back(cluster: Settings, tmp_path: Path) -> None:
    assert cluster.data_dir
    said = run("lifecycle.ipynb", tmp_path)
    assert "Study digits-tuned: Succeeded, 4 of 4 trials" in said
    assert "of the test images are read right" in said
    assert "roll back to" in said
    assert "take away v2" in said or "remove v2" in said
