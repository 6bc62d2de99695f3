"""Models kept at, and fetched from, a real S3 server: the registry, and servers whose manifests name a bucket.

On the embedded cluster alone: where models are kept is the notebook's own, and real pods fetch by Seldon's initializer.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from bed.api import Api, until
from s3_store import BUCKET, KEYS, Store, served
from sites import make_namespace
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import jupyterlab_kf as kf
from jupyterlab_kf import kinds
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving import registry
from jupyterlab_kf.settings import Settings

X, Y = load_iris(return_X_y=True)
SECRET = KEYS["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with served() as made:
        yield made


@pytest.fixture
def here(cluster: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """This session, with a bucket for the models that it serves."""
    assert cluster.data_dir
    for key, value in store.environment.items():
        monkeypatch.setenv(key, value)
    found: Any = session.current()
    monkeypatch.setattr(found, "settings", replace(found.settings, models=f"s3://{BUCKET}/team"))
    return found


def test_what_is_served_is_kept_by_its_content_in_a_bucket_and_served_again(here: Any, store: Store) -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)
    endpoint = kf.serve(model, name="kept-far")
    (kept,) = kf.models()
    assert (kept.kind, kept.endpoint) == ("sklearn", f"{endpoint.namespace}/kept-far v1")
    blobs = [one for one in store.files.find(f"{BUCKET}/team") if "/blobs/" in one]
    assert blobs
    for one in blobs:
        assert hashlib.sha256(store.files.cat_file(one)).hexdigest() == one.rpartition("/")[2]
    endpoint.delete()
    again = kf.serve(kf.kept_model(kept.digest[:12]), name="kept-again")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert [one for one in store.files.find(f"{BUCKET}/team") if "/blobs/" in one] == blobs, "kept once"
    again.delete()
    api = Api(here.settings.embedded_kubeconfig)
    told = [api.list("v1", kind) for kind in ("Pod", "ConfigMap", "Event")]
    assert SECRET not in json.dumps(told)
    api.close()


def test_what_the_bucket_refuses_is_told_with_its_address_and_a_model_is_served_all_the_same(
    here: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "settings", replace(here.settings, models="s3://no-such-bucket/team"))
    with pytest.warns(UserWarning, match=r"served and not kept: s3://no-such-bucket/team/blobs/.*no such bucket"):
        kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name="not-kept").delete()
    assert not registry.place(here.settings).names("models")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    type(store.files).clear_instance_cache()  # a client remembers where it went first
    monkeypatch.setattr(here, "settings", replace(here.settings, models=f"s3://{BUCKET}/other"))
    with pytest.raises(kf.UsageError, match=rf"s3://{BUCKET}/other/models cannot be listed") as refused:
        kf.models()
    assert SECRET not in str(refused.value)
    type(store.files).clear_instance_cache()


@pytest.fixture
def space(cluster: Settings, store: Store, tmp_path: Path) -> Iterator[tuple[Api, str]]:
    """A namespace with the bucket's keys as a Secret; the bucket has a model."""
    joblib.dump(LogisticRegression(max_iter=500).fit(X, Y), tmp_path / "model.joblib")
    store.files.put_file(str(tmp_path / "model.joblib"), f"{BUCKET}/iris/model.joblib")
    api = Api(cluster.embedded_kubeconfig)
    name = make_namespace(api)
    data = {key: base64.b64encode(value.encode()).decode() for key, value in store.environment.items()}
    metadata = {"name": "bucket", "namespace": name}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    yield api, name
    api.delete("v1", "Namespace", name, "")
    api.close()


def seldon(api: Api, space: str, name: str, **unit: str) -> None:
    graph = {"name": "flowers", "implementation": "SKLEARN_SERVER", "envSecretRefName": "bucket", **unit}
    obj = {"metadata": {"name": name, "namespace": space}, "spec": {"predictors": [{"name": "main", "graph": graph}]}}
    api.create({"apiVersion": kinds.SELDON_DEPLOYMENT.api_version, "kind": kinds.SELDON_DEPLOYMENT.kind, **obj})


def description(api: Api, space: str, name: str) -> str:
    kind = kinds.SELDON_DEPLOYMENT
    return str(api.get(kind.api_version, kind.kind, name, space).get("status", {}).get("description"))


def test_a_ready_made_server_fetches_its_model_from_a_bucket_with_a_secrets_keys(space: tuple[Api, str]) -> None:
    api, name = space
    seldon(api, name, "iris", modelUri=f"s3://{BUCKET}/iris")
    endpoint = kf.endpoint("iris", name).wait(120)
    assert endpoint.predict(X[:1]).argmax() == 0
    pods = json.dumps(api.list("v1", "Pod", name))
    assert f"s3://{BUCKET}/iris" in pods
    assert "bucket" in pods
    assert SECRET not in pods


def test_an_inference_service_fetches_its_model_from_a_bucket_with_a_secrets_keys(space: tuple[Api, str]) -> None:
    api, name = space
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": f"s3://{BUCKET}/iris"}
    made = {"metadata": {"name": "petals", "namespace": name}, "spec": {"predictor": {"model": model}}}
    model |= {"envFrom": [{"secretRef": {"name": "bucket"}}]}
    kind = kinds.INFERENCE_SERVICE
    api.create({"apiVersion": kind.api_version, "kind": kind.kind, **made})
    server = kf.server("petals", name).wait(120)
    assert np.array_equal(np.ravel(server.predict(X)), LogisticRegression(max_iter=500).fit(X, Y).predict(X))
    assert SECRET not in json.dumps([api.list("v1", "Pod", name), api.list("apps/v1", "Deployment", name)])
    api.merge(
        kind.api_version, kind.kind, "petals", {"spec": {"predictor": {"model": {"storageUri": "s3://gone/x"}}}}, name
    )
    until(lambda: "the bucket gone is not there" in server.why, seconds=90, what="why the next model does not come up")
    assert np.array_equal(np.ravel(server.predict(X[:3])), Y[:3]), "the one before serves on"


def test_a_model_that_the_bucket_has_not_is_told_of_with_bucket_and_key(space: tuple[Api, str]) -> None:
    api, name = space
    seldon(api, name, "nothing", modelUri=f"s3://{BUCKET}/gone/1")
    said = f"the bucket {BUCKET} is not there, or has no key gone/1"
    until(lambda: said in description(api, name, "nothing"), seconds=90, what=said)
    assert SECRET not in description(api, name, "nothing")
