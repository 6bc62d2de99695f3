"""Every manifest that a feature writes is taken by both clusters, with strict checking of fields.

The manifests are those of tests/golden/manifests: a feature that writes others adds them there, and nothing more has to
be done for them to be tried here. KServe's are tried on the real cluster where KF_CRDS has its definition, and else on
the embedded one alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bed.api import Api, Obj
from sites import Site, make_namespace

FOLDER = Path(__file__).parents[1] / "golden" / "manifests"
FILES = {str(path.relative_to(FOLDER).with_suffix("")): path for path in sorted(FOLDER.rglob("*.yaml"))}
MPI_V2 = "kubeflow.org/v2beta1"
KSERVE = "serving.kserve.io/v1beta1"


def documents(path: Path) -> list[Obj]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def defined(name: str) -> bool:
    """Whether the definitions at hand are enough for a real cluster to know what is in a manifest."""
    if all(document["apiVersion"] != KSERVE for document in documents(FILES[name])):
        return True
    folder = os.environ.get("KF_CRDS")
    return bool(folder) and any("inferenceservices.serving" in path.read_text() for path in Path(folder).glob("*.yaml"))


CASES = [(where, name) for where in ("embedded", "real") for name in FILES if where == "embedded" or defined(name)]


@pytest.fixture
def taker(request: pytest.FixtureRequest, site: Site, name: str) -> Iterator[Api]:
    """Calls on the cluster that is to take the manifest: mpi-operator's has definitions of its own."""
    if site.real and any(document["apiVersion"] == MPI_V2 for document in documents(FILES[name])):
        yield request.getfixturevalue("mpi_cluster").api
    else:
        yield site.api


def served(api: Api, document: Obj) -> bool:
    try:
        api.place(document["apiVersion"], document["kind"], "x", "")
    except LookupError:
        return False
    return True


@pytest.mark.parametrize(("site", "name"), CASES, indirect=["site"])
def test_a_manifest_is_taken(site: Site, taker: Api, name: str) -> None:
    found = documents(FILES[name])
    unknown = sorted({document["kind"] for document in found if not served(taker, document)})
    if unknown and site.real:
        pytest.skip(f"the real cluster has no definition of {', '.join(unknown)} (KF_CRDS names a folder of more)")
    namespace = make_namespace(taker)
    try:
        for document in found:
            if document["kind"] not in unknown:  # the embedded cluster has no RBAC, Istio and the like
                take(taker, document, namespace)
    finally:
        taker.delete("v1", "Namespace", namespace, "")


def take(api: Api, document: Obj, namespace: str) -> None:
    """Dry, in both ways in which a client sends it; then for good where it is gone with its namespace."""
    own = {**document, "metadata": {**document["metadata"]}}
    metadata: dict[str, Any] = own["metadata"]
    if inside := "/namespaces/" in api.place(own["apiVersion"], own["kind"], "x", namespace):
        metadata["namespace"] = namespace
    place = api.path(own)
    collection = place.rpartition("/")[0]
    api.request("POST", f"{collection}?dryRun=All&fieldValidation=Strict", own)
    if "name" in metadata:
        query = "dryRun=All&fieldValidation=Strict&fieldManager=jupyterlab-kf"
        api.request("PATCH", f"{place}?{query}", own, content_type="application/apply-patch+yaml")
    if inside:
        api.create(own)


def test_there_are_manifests() -> None:
    assert len(FILES) >= 8
