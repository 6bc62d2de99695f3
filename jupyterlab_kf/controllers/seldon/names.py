"""The words that Seldon's operator writes: names of what it makes, labels, annotations. Pure.

A name is put together from the deployment's, the predictor's and the containers' names; what would be longer than a
label may be is ``seldon-`` and the md5 of what it would have been, as there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.support import name, notes

LABEL_ID: Final = "seldon-deployment-id"
LABEL_APP: Final = "seldon-app"
LABEL_SERVICE: Final = "seldon-app-svc"
LABEL_ORCHESTRATOR: Final = "seldon-deployment-contains-svcorch"
LABEL_SHADOW: Final = "seldon.io/shadow"
LABEL_EXPLAINER: Final = "seldon.io/explainer"
MANAGED_BY: Final = {"app.kubernetes.io/managed-by": "seldon-core"}

SEPARATE_ENGINE: Final = "seldon.io/engine-separate-pod"
HEADLESS: Final = "seldon.io/headless-svc"
NO_ENGINE: Final = "seldon.io/no-engine"
NO_INITIALIZER: Final = "seldon.io/no-storage-initializer"
SERVICE_NAME: Final = "seldon.io/svc-name"
ENGINE_VARIABLES: Final = "seldon.io/engine-"
LOGGER_QUEUE: Final = "seldon.io/executor-logger-queue-size"
LOGGER_TIMEOUT: Final = "seldon.io/executor-logger-write-timeout-ms"
ISTIO_GATEWAY: Final = "seldon.io/istio-gateway"
ISTIO_HOST: Final = "seldon.io/istio-host"
ISTIO_RETRIES: Final = "seldon.io/istio-retries"
ISTIO_RETRIES_TIMEOUT: Final = "seldon.io/istio-retries-timeout"

ENGINE: Final = "seldon-container-engine"
TF_SERVING: Final = "tfserving"
POD_INFO: Final = "seldon-podinfo"
POD_INFO_PATH: Final = "/etc/podinfo"
MODEL_PATH: Final = "/mnt/models"

LONGEST: Final = 63


def fitting(text: str) -> str:
    """The name, or what stands for it when it is too long."""
    # Seldon names by md5, and so must we; nothing is kept secret with it.
    return text if len(text) <= LONGEST else f"seldon-{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}"


def cut(text: str) -> str:
    """The name cut to what a label may have, as the operator cuts volumes', init containers' and some routes'."""
    return text[:LONGEST].removesuffix("-") if len(text) > LONGEST else text


def deployment_id(obj: Mapping[str, Any]) -> str:
    """The value of the label that everything of a SeldonDeployment has; also its VirtualService's name."""
    return fitting(name(obj))


def predictor_service(obj: Mapping[str, Any], predictor: Mapping[str, Any]) -> str:
    """The Service of a predictor, which is also its host in routes."""
    own = (predictor.get("annotations") or {}).get(SERVICE_NAME)
    return own if own is not None else fitting(f"{name(obj)}-{predictor['name']}")


def container_service(obj: Mapping[str, Any], predictor: Mapping[str, Any], container: str) -> str:
    """The Service of one unit, which other pods of the graph call."""
    return fitting(f"{name(obj)}-{predictor['name']}-{container}")


def deployment(obj: Mapping[str, Any], predictor: Mapping[str, Any], component: Mapping[str, Any], place: int) -> str:
    """The Deployment of a component: its containers' names are in it, so other containers make another one."""
    own = (component.get("metadata") or {}).get("name")
    containers = (component.get("spec") or {}).get("containers") or ()
    return fitting(f"{name(obj)}-{predictor['name']}-{place}-{own or '-'.join(str(c['name']) for c in containers)}")


def deployments(obj: Mapping[str, Any], predictor: Mapping[str, Any]) -> frozenset[str]:
    """The Deployments of a predictor's components as they are written: of a long name nothing is left to know it by."""
    components = predictor.get("componentSpecs") or ()
    made = {deployment(obj, predictor, one, place) for place, one in enumerate(components)}
    return frozenset({*made, orchestrator(obj, predictor)})


def orchestrator(obj: Mapping[str, Any], predictor: Mapping[str, Any]) -> str:
    """The Deployment of an engine in a pod of its own."""
    return fitting(f"{name(obj)}-{predictor['name']}-svc-orch")


def explainer(obj: Mapping[str, Any], predictor: Mapping[str, Any]) -> str:
    """Deployment and Service of an explainer."""
    return fitting(f"{name(obj)}-{predictor['name']}-explainer")


def annotation(obj: Mapping[str, Any], key: str, otherwise: str) -> str:
    """An annotation of the spec, or else of the object."""
    own = (obj.get("spec") or {}).get("annotations") or {}
    return str(own.get(key, notes(obj).get(key, otherwise)))


def is_set(annotations: Mapping[str, Any] | None, key: str) -> bool:
    """Whether an annotation says ``true``."""
    return str((annotations or {}).get(key, "")).lower() == "true"
