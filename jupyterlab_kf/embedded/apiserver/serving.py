"""What the CustomResourceDefinitions of Seldon, KServe and Istio say: their printer columns and schemas. Pure.

What an object of them may mean beyond its schema is the business of their webhooks, which the controllers know.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import seldonschema
from jupyterlab_kf.kinds import Kind

_SAYS: Final = {
    "InferenceService": "An endpoint of KServe: a predictor, and perhaps a transformer and an explainer.",
    "Gateway": "Where traffic comes in: ports, hosts, TLS.",
    "VirtualService": "Where requests go: matches, weights, retries, faults, mirrors.",
    "DestinationRule": "How a service is called: subsets, balancing, limits, ejection.",
    "EnvoyFilter": "Patches of Envoy's own configuration, such as local rate limits.",
    "RequestAuthentication": "Which tokens of requests are read and checked.",
    "AuthorizationPolicy": "Which requests are let through.",
    "Telemetry": "Which requests are traced, and where their spans go.",
}
_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@lru_cache(maxsize=1)
def _istio() -> Mapping[str, dict[str, Any]]:
    """Kind to the schema of its spec, as Istio's definitions have it; ``make schemas`` writes the file."""
    data = files("jupyterlab_kf.embedded.apiserver").joinpath("data", "istio.json.gz").read_bytes()
    found: Mapping[str, dict[str, Any]] = json.loads(gzip.decompress(data))
    return found


@lru_cache(maxsize=64)
def schema(kind: Kind) -> dict[str, Any]:
    """The schema of one of these kinds. KServe's is left open: it is as large as Kubernetes' own."""
    if kind.kind == kinds.SELDON_DEPLOYMENT.kind:
        return seldonschema.schema()
    text = {"type": "string"}
    head = {"apiVersion": text, "kind": text, "metadata": {"type": "object"}}
    spec = _istio().get(kind.kind)
    if spec is None:
        return {**_OPEN, "description": _SAYS[kind.kind], "properties": head}
    return {
        "type": "object",
        "description": _SAYS[kind.kind],
        "properties": {**head, "spec": spec, "status": _OPEN},
    }


def _column(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "type": "string", "jsonPath": path}


_LATEST: Final = ".status.components.predictor.traffic[?(@.latestRevision==true)]"
_PREVIOUS: Final = ".status.components.predictor.traffic[?(@.tag=='prev')]"
_PRINTED: Final[Mapping[str, Sequence[dict[str, Any]]]] = {
    "InferenceService": (
        _column("URL", ".status.url"),
        _column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        _column("Prev", f"{_PREVIOUS}.percent"),
        _column("Latest", f"{_LATEST}.percent"),
        _column("PrevRolledoutRevision", f"{_PREVIOUS}.revisionName"),
        _column("LatestReadyRevision", f"{_LATEST}.revisionName"),
    ),
    "VirtualService": (_column("Gateways", ".spec.gateways"), _column("Hosts", ".spec.hosts")),
    "DestinationRule": (_column("Host", ".spec.host"),),
    "AuthorizationPolicy": (_column("Action", ".spec.action"),),
}

COLUMNS: Final[Mapping[Kind, Sequence[dict[str, Any]]]] = {
    kind: _PRINTED.get(kind.kind, ()) for kind in kinds.SERVING + kinds.TRAFFIC
}
"""``additionalPrinterColumns`` before the age, which every kind has last."""
