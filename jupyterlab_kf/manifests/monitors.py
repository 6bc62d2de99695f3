"""A monitor as objects: its pod, its Service, its right to write events; and the graph that sends it copies.

The copies are Seldon's own payload log: ``logger`` of the graph's first unit, which Seldon's executor and our engine
both post, as CloudEvents, off the request's path. The monitor is a Deployment beside the endpoint and owned by it: it
goes with it. Pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names as operator
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import endpoints, training
from jupyterlab_kf.model import Obj, meta

LABEL: Final = f"{names.DOMAIN}/monitor"
"""On all that a monitor is made of: the name of the endpoint that it watches."""
SUFFIX: Final = endpoints.RESERVED
PLAN: Final = "monitor.json"
CONTAINER: Final = "monitor"
PORT: Final = 9000
SAMPLE: Final = "KF_LOG_SAMPLE"
"""Tells our engine which share of the requests to copy; Seldon's executor copies all, and the monitor skips some."""
NO_ENGINE: Final = "seldon.io/no-engine"
ACCOUNT: Final = "kf-monitor"
"""An account of the namespace that an administrator made for monitors."""
_NO_WAIT: Final = "1"
"""Milliseconds. At 0 the executor might drop a copy for which there is room."""
_ACCOUNT_VOLUME: Final = "kf-account"
_ACCOUNT_PATH: Final = "/var/run/secrets/jupyterlab-kf"
_TOKEN_SECONDS: Final = 3600


def name_of(endpoint: str) -> str:
    """The name of an endpoint's monitor, and of all its objects."""
    return names.with_suffix(endpoint, SUFFIX)


def url(endpoint: Mapping[str, Any]) -> str:
    """Where copies are sent."""
    head = meta(endpoint)
    return f"http://{name_of(str(head['name']))}.{head['namespace']}.svc.cluster.local:80/"


def logged(predictors: Sequence[Obj], where: str, sample: float) -> list[Obj]:
    """Versions that send copies of what their graphs take and answer."""
    return [_logged(one, where, sample) for one in predictors]


def _logged(predictor: Obj, where: str, sample: float) -> Obj:
    made = _unlogged(predictor, where)
    made["graph"] = {**made["graph"], "logger": {"url": where, "mode": "all"}}
    if sample < 1:
        orchestrator = made.setdefault("svcOrchSpec", {})
        orchestrator["env"] = [*(orchestrator.get("env") or ()), {"name": SAMPLE, "value": str(sample)}]
    return made


def unlogged(predictors: Sequence[Obj], where: str) -> list[Obj]:
    """Versions that send none there any more."""
    return [_unlogged(one, where) for one in predictors]


def _unlogged(predictor: Obj, where: str) -> Obj:
    made = copied(dict(predictor))
    nodes = [made.get("graph") or {}]
    while nodes:
        node = nodes.pop()
        nodes += node.get("children") or ()
        if (node.get("logger") or {}).get("url") == where:
            del node["logger"]
    if env := (made.get("svcOrchSpec") or {}).get("env"):
        made["svcOrchSpec"]["env"] = [one for one in env if one.get("name") != SAMPLE]
    return made


def patience(endpoint: Mapping[str, Any], *, copying: bool) -> dict[str, str | None]:
    """What changes of an endpoint's annotations (those of its spec): requests are not to wait for room for a copy.

    Seldon's executor has each request wait up to two seconds where its queue is full, which it is soon when nobody
    takes the copies. Ours drops a copy at once. What somebody set stays.
    """
    said = ((endpoint.get("spec") or {}).get("annotations") or {}).get(operator.LOGGER_TIMEOUT)
    if copying:
        return {} if said is not None else {operator.LOGGER_TIMEOUT: _NO_WAIT}
    return {operator.LOGGER_TIMEOUT: None} if said == _NO_WAIT else {}


def elsewhere(endpoint: Mapping[str, Any]) -> str:
    """The address of somebody else who gets a version's copies already; else empty."""
    found = (_logger(one) for one in endpoints.predictors(endpoint))
    return next((one for one in found if one and one != url(endpoint)), "")


def sampled(endpoint: Mapping[str, Any]) -> float | None:
    """The share of the requests that is copied to the monitor; None where nothing is."""
    for one in endpoints.predictors(endpoint):
        if (where := _logger(one)) and where == url(endpoint):
            env = (one.get("svcOrchSpec") or {}).get("env") or ()
            return next((float(entry["value"]) for entry in env if entry.get("name") == SAMPLE), 1.0)
    return None


def _logger(predictor: Mapping[str, Any]) -> str:
    return str(((predictor.get("graph") or {}).get("logger") or {}).get("url") or "")


def without_engine(endpoint: Mapping[str, Any]) -> str:
    """A version that has no engine, which would copy; else empty."""
    return next(
        (
            str(one.get("name"))
            for one in (
                *endpoints.predictors(endpoint),
                {"annotations": (endpoint.get("spec") or {}).get("annotations")},
            )
            if (one.get("annotations") or {}).get(NO_ENGINE) == "true"
        ),
        "",
    )


# Objects


def objects(endpoint: Mapping[str, Any], template: Mapping[str, Any], account: str | None = None) -> tuple[Obj, Obj]:
    """The Service and the Deployment; the account that it runs under comes from :func:`rights`."""
    selector = {LABEL: str(meta(endpoint)["name"])}
    service = _object(
        endpoint,
        "v1",
        "Service",
        {"spec": {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}},
    )
    deployment = _object(
        endpoint,
        "apps/v1",
        "Deployment",
        {
            "spec": {
                "replicas": 1,
                # Two at a time would each see half of what is sent.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": selector},
                "template": _pod(endpoint, template, account),
            }
        },
    )
    return service, deployment


def rights(endpoint: Mapping[str, Any]) -> list[tuple[Kind, Obj]]:
    """An account that may write events in its namespace, and do nothing else."""
    name, space = name_of(str(meta(endpoint)["name"])), str(meta(endpoint)["namespace"])
    rules = [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": space}
    role = {"apiGroup": kinds.ROLE.group, "kind": "Role", "name": name}
    return [
        (kinds.SERVICE_ACCOUNT, _object(endpoint, "v1", "ServiceAccount", {"automountServiceAccountToken": False})),
        (kinds.ROLE, _object(endpoint, kinds.ROLE.api_version, "Role", {"rules": rules})),
        (
            kinds.ROLE_BINDING,
            _object(endpoint, kinds.ROLE_BINDING.api_version, "RoleBinding", {"subjects": [subject], "roleRef": role}),
        ),
    ]


def _object(endpoint: Mapping[str, Any], version: str, kind: str, rest: Mapping[str, Any]) -> Obj:
    head = meta(endpoint)
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": name_of(str(head["name"])),
            "namespace": head["namespace"],
            "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, LABEL: head["name"]},
            **training.owner_patch(endpoint)["metadata"],
        },
        **rest,
    }


def _pod(endpoint: Mapping[str, Any], template: Mapping[str, Any], account: str | None) -> Obj:
    """A training replica's pod template as that of the monitor."""
    made = endpoints.container(template, CONTAINER)
    spec = made["spec"]
    (main,) = spec["containers"]
    about = {"apiVersion": endpoint["apiVersion"], "kind": endpoint["kind"]}
    about |= {key: str(meta(endpoint)[key]) for key in ("name", "namespace", "uid")}
    main["env"] += [
        {"name": "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", "value": str(PORT)},
        {"name": "KF_ENDPOINT", "value": json.dumps(about, sort_keys=True)},
        {"name": "KF_ACCOUNT", "value": _ACCOUNT_PATH},
    ]
    main["ports"] = [{"name": "http", "containerPort": PORT, "protocol": "TCP"}]
    main["resources"] = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    main["volumeMounts"].append({"name": _ACCOUNT_VOLUME, "mountPath": _ACCOUNT_PATH, "readOnly": True})
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]
    spec["volumes"].append({"name": _ACCOUNT_VOLUME, "projected": {"sources": sources}})
    spec["serviceAccountName"] = account or name_of(str(meta(endpoint)["name"]))
    annotations = {**made["metadata"]["annotations"], "sidecar.istio.io/inject": "false"}
    return {"metadata": {"labels": {LABEL: str(meta(endpoint)["name"])}, "annotations": annotations}, "spec": spec}
