from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import apply, defaults, rules, validation
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, parse_time

GOLDEN = Path(__file__).parents[1] / "golden" / "apimachinery"
CREATIONS: list[dict[str, Any]] = json.loads((GOLDEN / "creations.json").read_text())
SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "namespace", "name", "managedFields")
FROM_THE_REGISTRY = {"clusterIP", "clusterIPs"}


def served(request: str) -> Kind:
    plural = urlsplit(request.split(" ")[1]).path.rsplit("/", 1)[1]
    return next(kind for kind in kinds.ALL if kind.plural == plural and kind != kinds.MPI_JOB_V2)


def without_account(obj: Obj) -> Obj:
    """The recorded server ran without the admission of service accounts."""
    return {**obj, "spec": {k: v for k, v in obj["spec"].items() if k not in ("serviceAccount", "serviceAccountName")}}


@pytest.mark.parametrize("record", CREATIONS, ids=lambda r: r["request"].split("?")[0][-40:])
def test_recorded_creation(record: dict[str, Any]) -> None:
    kind, answer = served(record["request"]), record["response_body"]
    body = {"kind": kind.kind, "apiVersion": kind.api_version, **record["request_body"]}
    body.setdefault("metadata", {})
    body.pop("status", None)  # dropped by the registry
    made = defaults.default(kind, validation.prune(kind, body))
    made = rules.admitted(kind, made, taken_addresses=list) if kind in (kinds.POD, kinds.NAMESPACE) else made
    made["metadata"] |= {key: answer["metadata"][key] for key in SERVER if key in answer["metadata"]}
    if kind == kinds.POD:
        made = without_account(made)
    if kind == kinds.SERVICE:
        made["spec"] |= {key: answer["spec"][key] for key in FROM_THE_REGISTRY}
    assert made == answer
    assert defaults.default(kind, made) == defaults.default(kind, defaults.default(kind, made))


@pytest.mark.parametrize(
    "record",
    [r for r in CREATIONS if "managedFields" in r["response_body"]["metadata"]],
    ids=lambda r: r["request"].split("?")[0][-40:],
)
def test_recorded_managed_fields(record: dict[str, Any]) -> None:
    kind, answer = served(record["request"]), record["response_body"]
    query = parse_qs(urlsplit(record["request"].split(" ")[1]).query)
    entries = answer["metadata"]["managedFields"]
    manager = query.get("fieldManager", [entries[0]["manager"]])[0]
    new = {**answer, "metadata": {k: v for k, v in answer["metadata"].items() if k != "managedFields"}}
    now = parse_time(answer["metadata"]["creationTimestamp"]) or 0.0
    assert apply.track_update(None, new, kind=kind, manager=manager, now=now) == entries
