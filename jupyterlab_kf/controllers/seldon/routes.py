"""Istio's objects for a SeldonDeployment: one VirtualService that divides traffic, a DestinationRule a predictor. Pure.

Explainers have a VirtualService of their own. Fields are written as Istio's JSON has them: what is zero is left out.
"""

from __future__ import annotations

from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.seldon import explainer, names
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.controllers.support import name, namespace
from jupyterlab_kf.model import Obj

_GRPC: Final = ".*tensorflow.*|.*seldon.protos.*|.*inference.*"
_RETRY_ON: Final = "gateway-error,connect-failure,refused-stream"

Ports = tuple[int, int]
"""HTTP and gRPC."""


def virtual_service(obj: Obj, ports: list[Ports], options: Options) -> Obj:
    """The routes of all predictors, in the order of the predictors.

    Args:
        obj: the SeldonDeployment.
        ports: of each predictor's Service.
        options: the installation.
    """
    place = namespace(obj)
    http: Obj = {
        "match": [{"uri": {"prefix": f"/seldon/{place}/{name(obj)}/"}}],
        "rewrite": {"uri": "/"},
    }
    asked = {"seldon": {"exact": name(obj)}, "namespace": {"exact": place}}
    grpc: Obj = {"match": [{"uri": {"regex": _GRPC}, "headers": asked}]}
    retries = _retries(obj)
    for protocol, route in enumerate((http, grpc)):
        if retries:
            route["retries"] = retries
        route["route"] = []
        for predictor, numbers in zip(obj["spec"]["predictors"], ports, strict=True):
            where = {
                "host": host(obj, predictor),
                "subset": predictor["name"],
                "port": {"number": numbers[protocol]},
            }
            traffic = int(predictor.get("traffic") or 0)
            if not predictor.get("shadow"):
                route["route"].append({"destination": where, **({"weight": traffic} if traffic else {})})
                continue
            route["mirror"] = where
            if traffic > 0:
                route["mirrorPercentage"] = {"value": traffic}
    return _virtual_service(obj, names.deployment_id(obj), [http, grpc], options)


def unrouted(obj: Obj) -> list[tuple[str, str]]:
    """What of a SeldonDeployment is about routes, and what becomes of it where there is no Istio."""
    found: list[tuple[str, str]] = []
    live = [one for one in obj["spec"]["predictors"] if not one.get("shadow")]
    if len(live) > 1:
        why = "there is no Istio: notebooks draw a predictor by it for each request; others reach one by its Service"
        found.append(("spec.predictors[*].traffic", why))
    for at, predictor in enumerate(obj["spec"]["predictors"]):
        if predictor.get("shadow"):
            found.append((f"spec.predictors[{at}].shadow", "nothing copies requests to it, as there is no Istio"))
    keys = (names.ISTIO_GATEWAY, names.ISTIO_HOST, names.ISTIO_RETRIES, names.ISTIO_RETRIES_TIMEOUT)
    said = [key for key in keys if names.annotation(obj, key, "")]
    return found + [(f"the annotation {key}", "there is no Istio") for key in said]


def host(obj: Obj, predictor: Obj) -> str:
    """The full name of a predictor's Service."""
    return f"{names.predictor_service(obj, predictor)}.{namespace(obj)}.svc.cluster.local"


def destination_rule(obj: Obj, predictor: Obj) -> Obj:
    """The subset of a predictor's pods."""
    pool = {"connectionPool": {"http": {"idleTimeout": "60s"}}}
    made = _rule(obj, predictor, names.predictor_service(obj, predictor), host(obj, predictor))
    made["spec"]["trafficPolicy"] = pool
    return made


def explainer_routes(obj: Obj, predictor: Obj, options: Options) -> tuple[Obj, Obj]:
    """VirtualService and DestinationRule of an explainer."""
    service = names.explainer(obj, predictor)
    number = explainer.port(predictor["explainer"])
    where = {"host": service, "subset": predictor["name"], "port": {"number": number}}
    route: Obj = {
        "match": [{"uri": {"prefix": explainer.path(obj, predictor, namespace(obj))}}],
        "rewrite": {"uri": "/"},
        "route": [{"destination": where, "weight": 100}],
    }
    title = names.cut(f"{service}-http")
    return _virtual_service(obj, title, [route], options), _rule(obj, predictor, service, service)


def _retries(obj: Obj) -> Obj:
    attempts = names.annotation(obj, names.ISTIO_RETRIES, "")
    seconds = names.annotation(obj, names.ISTIO_RETRIES_TIMEOUT, "1")
    if not attempts:
        return {}
    for key, text in ((names.ISTIO_RETRIES, attempts), (names.ISTIO_RETRIES_TIMEOUT, seconds)):
        if not text.isdecimal():
            raise ComponentError(f"the annotation {key} must be a whole number, not {text!r}")
    if not int(attempts):
        return {}
    return {"attempts": int(attempts), "perTryTimeout": f"{int(seconds)}s", "retryOn": _RETRY_ON}


def _virtual_service(obj: Obj, title: str, http: list[Obj], options: Options) -> Obj:
    kind = kinds.VIRTUAL_SERVICE
    spec = {
        "hosts": [names.annotation(obj, names.ISTIO_HOST, "*")],
        "gateways": [names.annotation(obj, names.ISTIO_GATEWAY, options.gateway)],
        "http": http,
    }
    metadata = {"name": title, "namespace": namespace(obj)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _rule(obj: Obj, predictor: Obj, title: str, host_: str) -> Obj:
    kind = kinds.DESTINATION_RULE
    version = str((predictor.get("labels") or {}).get("version") or "")
    spec = {"host": host_, "subsets": [{"name": predictor["name"], "labels": {"version": version}}]}
    metadata = {"name": title, "namespace": namespace(obj)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}
