"""Models that were served, kept by their content and served again."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from serving_world import World, installed
from sklearn.linear_model import LinearRegression  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving import registry

ROWS = np.arange(12.0).reshape(3, 4)
CELL = "class Doubler:\n    def predict(self, X, names=None):\n        return 2 * X\n"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = installed(monkeypatch)
    here: Any = session.current()
    here.settings = replace(here.settings, models=str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    return made


def fitted() -> LinearRegression:
    return LinearRegression().fit(ROWS, [0.0, 1.0, 2.0])


def shipped(planned: kf.ServePlan) -> dict[str, bytes]:
    packed = base64.b64decode(planned.code_maps[-1]["binaryData"]["code.tar.gz"])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {one.name: file.read() for one in tar if (file := tar.extractfile(one))}


def test_what_a_history_names_can_be_found_looked_at_and_served_again(world: World, tmp_path: Path) -> None:
    endpoint = kf.serve(fitted(), name="iris")
    told = endpoint.history()[0]
    kept = kf.kept_model(told.models["v1"][:8])
    assert (kept.called, kept.kind, kept.author, kept.notebook) == ("LinearRegression", "sklearn", "ada", "iris.ipynb")
    assert kept.endpoint == "here/iris v1"
    assert kept.made["scikit-learn"]
    assert set(kept.files) == {"model/model.joblib"}
    assert re.fullmatch("<KeptModel [0-9a-f]{12}: LinearRegression .*>", repr(kf.models()[0]))
    import joblib  # type: ignore[import-untyped]

    loaded = joblib.load(kept.save(tmp_path / "looked-at") / "model" / "model.joblib")
    assert loaded.predict(ROWS).round() == pytest.approx([0, 1, 2])
    assert kf.serve(kept, name="iris", canary=10).history()[-1].models["v2"] == told.models["v1"]
    assert world.endpoints()


def test_a_class_comes_back_with_its_modules_files_and_parameters(world: World, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a b")
    (tmp_path / "helper.py").write_text("BY = 3\n")
    (tmp_path / "mine.py").write_text(
        "import helper\nclass Times:\n    def __init__(self, by):\n        self.by = by\n"
        "    def predict(self, X, names=None):\n        return X * self.by * helper.BY\n"
    )
    kf.serve(Path("mine.py"), name="times", params={"by": 2}, files=["words.txt"], wait=False)
    (kept,) = kf.models()
    for name in ("words.txt", "helper.py", "mine.py"):
        (tmp_path / name).unlink()
    planned = kf.plan_serve(kept, name="again")
    assert {"words.txt", "helper.py", "mine.py", "serving.zip"} <= shipped(planned).keys()
    (predictor,) = planned.endpoint["spec"]["predictors"]
    assert predictor["graph"]["parameters"] == [{"name": "by", "value": "2", "type": "INT"}]
    assert not planned.gaps
    assert world.endpoints()


def test_a_graph_comes_back_as_it_was_and_a_model_can_be_part_of_another(world: World) -> None:
    graph = kf.chain(StandardScaler().fit(ROWS), kf.combine(fitted(), fitted()))
    kf.serve(graph=graph, name="iris", wait=False)
    (kept,) = kf.models()
    before = world.endpoints()[0]["spec"]["predictors"][0]["graph"]
    again = kf.plan_serve(kept, name="iris", version="v9").endpoint["spec"]["predictors"][-1]["graph"]
    assert json.dumps(again).replace("-v9", "-v1") == json.dumps(before)
    with pytest.raises(kf.UsageError, match="is a graph, not one part"):
        kf.plan_serve(graph=kf.chain(fitted(), kept))
    kf.serve(CELL, name="doubler", wait=False)
    part = kf.kept_model(kf.endpoint("doubler").history()[0].models["v1"])
    planned = kf.plan_serve(graph=kf.chain(part, fitted()), name="both")
    assert {"model.py", "model/linearregression/model.joblib"} <= shipped(planned).keys()


def test_models_share_what_they_have_in_common_and_damage_is_told(world: World, tmp_path: Path) -> None:
    kf.serve(fitted(), name="iris")
    kf.serve(graph=kf.combine(fitted(), fitted()), name="two", wait=False)
    blobs = [path for path in (tmp_path / "kept" / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 1
    blobs[0].write_bytes(b"other")
    with pytest.raises(kf.BundleError, match="damaged where it is kept"):
        kf.serve(kf.models()[0], name="again")
    blobs[0].unlink()
    with pytest.raises(kf.BundleError, match="is not kept any more"):
        kf.models()[0].content()
    assert len(world.endpoints()) == 2


def test_a_hash_that_names_nothing_or_too_much_is_told(world: World) -> None:
    with pytest.raises(kf.UsageError, match="not the beginning of a hash"):
        kf.kept_model("iris")
    with pytest.raises(kf.NotFoundError, match="no model 0123"):
        kf.kept_model("0123")
    assert kf.models() == []
    assert not world.endpoints()


def test_a_place_that_cannot_be_written_does_not_keep_a_model_from_being_served(world: World, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.warns(UserWarning, match="served and not kept"):
        kf.serve(fitted(), name="iris")
    assert world.endpoints()


class Store:
    """What fsspec's file systems do, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def exists(self, path: str) -> bool:
        return path in self.files

    def makedirs(self, _path: str, *, exist_ok: bool) -> None:
        assert exist_ok

    def pipe_file(self, path: str, content: bytes) -> None:
        self.files[path] = content

    def cat_file(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def ls(self, path: str, *, detail: bool) -> list[str]:
        assert not detail
        found = [name for name in self.files if name.startswith(f"{path}/")]
        if not found:
            raise FileNotFoundError(path)
        return found


def test_an_address_is_left_to_fsspec_and_without_it_that_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: Any = session.current()
    here.settings = replace(here.settings, models="s3://bucket/models")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(kf.UsageError, match="fsspec is not installed"):
        kf.serve(fitted(), name="iris")
    assert not world.endpoints()
    store = Store()
    core = SimpleNamespace(url_to_fs=lambda url, **_: (store, url.removeprefix("s3://")))
    monkeypatch.setitem(sys.modules, "fsspec", SimpleNamespace(core=core))
    assert kf.models() == []
    kf.serve(fitted(), name="iris")
    (kept,) = kf.models()
    assert kept.content().keys() == {"model/model.joblib"}
    assert all(name.startswith("bucket/models/") for name in store.files)


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    place = registry.Folder(tmp_path)
    place.write("a/b", b"one")
    place.write("a/b", b"two")
    assert (place.read("a/b"), place.names("a"), place.names("c"), place.has("a/c")) == (b"two", ["b"], [], False)
