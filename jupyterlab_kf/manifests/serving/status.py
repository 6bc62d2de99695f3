"""How an endpoint is, read from its objects: one value for every family. Pure.

A SeldonDeployment and an InferenceService say themselves how they are; of TensorFlow Serving and Triton the Deployments
tell. Pods, where they are at hand, count for more than what an operator last wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.seldon import names as seldon
from jupyterlab_kf.manifests.serving.inference import Mode, mode_of, unheard
from jupyterlab_kf.manifests.serving.servers import LABEL_APP, LABEL_VERSION
from jupyterlab_kf.model import Condition, Obj, Phase, Ref, labels, meta, parse_time

LABEL_SELDON: Final = "seldon-deployment-id"
_ALL: Final = 100
_SELDON_PHASES: Final = {"Available": Phase.RUNNING, "Creating": Phase.PENDING, "Failed": Phase.FAILED}
_PATHS: Final = {
    "seldon": "api/v1.0/predictions",
    "v2": "v2/models/{model}/infer",
    "tensorflow": "v1/models/{model}:predict",
}


@dataclass(frozen=True, slots=True)
class PredictorStatus:
    """One version.

    Attributes:
        traffic: the percentage of requests that it answers, or gets copies of when it is a shadow.
        ready: how many replicas answer.
        wanted: how many there should be.
        message: what its operator says about it.
    """

    name: str
    traffic: int
    ready: int = 0
    wanted: int = 0
    shadow: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """An endpoint at one moment.

    Attributes:
        phase: Running when it answers, Pending, Failed, or Unknown when nobody has looked at it yet.
        path: the path of predictions at the gateway; empty where only the URL is known.
        url: its address inside the cluster, as its operator says it.
        message: why it does not answer, or what of it is not as it was asked for.
    """

    ref: Ref
    phase: Phase
    protocol: str
    path: str
    url: str = ""
    predictors: tuple[PredictorStatus, ...] = ()
    conditions: tuple[Condition, ...] = ()
    message: str = ""

    @property
    def ready(self) -> bool:
        """Whether it answers, and all that is to answer does."""
        return self.phase == Phase.RUNNING and all(one.ready >= one.wanted for one in self.predictors if one.traffic)


def decode(obj: Mapping[str, Any], pods: Iterable[Mapping[str, Any]] | None = None) -> EndpointStatus:
    """What a SeldonDeployment or an InferenceService says.

    Args:
        obj: the object.
        pods: its pods, where they are known; they need not be its own only.
    """
    own = None if pods is None else list(pods)
    return _inference(obj) if obj.get("kind") == kinds.INFERENCE_SERVICE.kind else _seldon(obj, own)


def prediction_path(protocol: str, base: str, model: str) -> str:
    """The path of predictions below an endpoint's."""
    return f"{base.rstrip('/')}/{_PATHS[protocol].format(model=model)}"


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod answers, and is not on its way out."""
    found = (pod.get("status") or {}).get("conditions") or ()
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in found)
    return ready and not meta(pod).get("deletionTimestamp")


def _conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            type=str(one.get("type") or ""),
            status=one.get("status") == "True",
            reason=str(one.get("reason") or ""),
            message=str(one.get("message") or ""),
            since=parse_time(one.get("lastTransitionTime")),
        )
        for one in status.get("conditions") or ()
    )


def _stale(obj: Mapping[str, Any]) -> bool:
    """Whether the status is about an earlier state of the object."""
    seen = (obj.get("status") or {}).get("observedGeneration")
    now = meta(obj).get("generation")
    return isinstance(seen, int) and isinstance(now, int) and seen < now


# Seldon


def _seldon(obj: Mapping[str, Any], pods: list[Mapping[str, Any]] | None) -> EndpointStatus:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    name, space = str(meta(obj).get("name") or ""), str(meta(obj).get("namespace") or "")
    found: Sequence[Obj] = spec.get("predictors") or ()
    protocol = str(spec.get("protocol") or "seldon").replace("kfserving", "v2")
    first = found[0] if found else {}
    model = str((first.get("graph") or {}).get("name") or "")
    phase = _SELDON_PHASES.get(str(status.get("state") or ""), Phase.UNKNOWN)
    return EndpointStatus(
        ref=Ref.of(obj),
        phase=Phase.PENDING if phase == Phase.RUNNING and _stale(obj) else phase,
        protocol=protocol,
        path=prediction_path(protocol, f"/seldon/{space}/{name}", model),
        url=str((status.get("address") or {}).get("url") or ""),
        predictors=tuple(_predictor(obj, one, found, pods) for one in found),
        conditions=_conditions(status),
        message=_seldon_message(status),
    )


def _seldon_message(status: Mapping[str, Any]) -> str:
    if status.get("description"):
        return str(status["description"])
    if status.get("state") == "Available":
        return ""
    false = [one for one in status.get("conditions") or () if one.get("status") == "False"]
    return next((str(one.get("message") or one.get("reason") or "") for one in false), "")


def _predictor(
    obj: Mapping[str, Any], one: Obj, every: Sequence[Obj], pods: list[Mapping[str, Any]] | None
) -> PredictorStatus:
    name = str(one.get("name") or "")
    live = [other for other in every if not other.get("shadow")]
    alone = len(live) == 1 and not one.get("shadow")
    ready, wanted, message = _made(obj, one, every)
    if pods is not None:
        version = str((one.get("labels") or {}).get(LABEL_VERSION) or name)
        wanted = _wanted(obj, one)
        ready = sum(map(is_ready, _own_pods(obj, version, pods))) // max(len(one.get("componentSpecs") or ()), 1)
    return PredictorStatus(
        name=name,
        traffic=_ALL if alone or (one.get("shadow") and not one.get("traffic")) else int(one.get("traffic") or 0),
        ready=min(ready, wanted),
        wanted=wanted,
        shadow=bool(one.get("shadow")),
        message=message,
    )


def _own_pods(obj: Mapping[str, Any], version: str, pods: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    name = meta(obj).get("name")
    return [p for p in pods if labels(p).get(LABEL_SELDON) == name and labels(p).get(LABEL_VERSION) == version]


def _wanted(obj: Mapping[str, Any], predictor: Obj) -> int:
    """Replicas of the first component: its own number, else the predictor's, else the deployment's, else one."""
    component = (predictor.get("componentSpecs") or [{}])[0]
    for holder in (component, predictor, obj.get("spec") or {}):
        if holder.get("replicas") is not None:
            return int(holder["replicas"])
    return 1


def _made(obj: Mapping[str, Any], predictor: Obj, every: Sequence[Obj]) -> tuple[int, int, str]:
    """Ready and wanted replicas of a predictor's least ready Deployment, and what is said of it."""
    made = (obj.get("status") or {}).get("deploymentStatus") or {}
    head = f"{meta(obj).get('name')}-"
    names = sorted((str(one.get("name")) for one in every), key=len, reverse=True)
    own = seldon.deployments(obj, predictor)

    def is_mine(deployment: str) -> bool:
        first = next((one for one in names if deployment.startswith(f"{head}{one}-")), None)
        return first == predictor.get("name") or deployment in own

    mine = [one for deployment, one in made.items() if is_mine(str(deployment)) and not one.get("explainerFor")]
    if not mine:
        return 0, _wanted(obj, predictor), ""
    least = min(mine, key=lambda one: int(one.get("availableReplicas") or 0) - int(one.get("replicas") or 0))
    said = next((str(one["description"]) for one in mine if one.get("description")), "")
    return int(least.get("availableReplicas") or 0), int(least.get("replicas") or 0), said


# TensorFlow Serving and Triton


def decode_server(
    deployments: Sequence[Mapping[str, Any]], route: Mapping[str, Any] | None = None, *, protocol: str, model: str = ""
) -> EndpointStatus:
    """What the Deployments of an endpoint's versions say.

    Args:
        deployments: those of one endpoint.
        route: its VirtualService, which has the weights; without one each version is reached by itself.
        protocol: ``tensorflow`` or ``v2``.
        model: the model's name in requests; the endpoint's where it is empty.
    """
    name = next((labels(one).get(LABEL_APP, "") for one in deployments), "")
    space = next((str(meta(one).get("namespace") or "") for one in deployments), "")
    shares = weights_of(route) if route is not None else {}
    found = tuple(_version(one, shares, alone=len(deployments) == 1) for one in deployments)
    answering = [one for one in found if one.traffic]
    said = [_trouble(one) for one in deployments]
    if answering and all(one.ready for one in answering):
        phase = Phase.RUNNING
    elif any(failed for failed, _ in said):
        phase = Phase.FAILED
    else:
        phase = Phase.PENDING
    ref = Ref(kinds.DEPLOYMENT.kind, name, space)
    path = prediction_path(protocol, f"/serving/{space}/{name}", model or name)
    message = "" if phase == Phase.RUNNING else next((text for _, text in said if text), "")
    return EndpointStatus(ref, phase, protocol, path, predictors=found, message=message)


def weights_of(route: Mapping[str, Any]) -> dict[str, int]:
    """Subset to weight, of the last HTTP route of a VirtualService that has no other condition than its path."""
    for one in reversed((route.get("spec") or {}).get("http") or ()):
        if any(match.get("headers") for match in one.get("match") or ()):
            continue
        targets: Sequence[Obj] = one.get("route") or ()
        if len(targets) == 1:
            return {str(targets[0]["destination"].get("subset") or ""): _ALL}
        return {str(to["destination"].get("subset") or ""): int(to.get("weight") or 0) for to in targets}
    return {}


def _version(deployment: Mapping[str, Any], shares: Mapping[str, int], *, alone: bool) -> PredictorStatus:
    name = labels(deployment).get(LABEL_VERSION, "")
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    wanted = int(spec["replicas"]) if spec.get("replicas") is not None else 1
    ready = 0 if _stale(deployment) else int(status.get("availableReplicas") or 0)
    return PredictorStatus(
        name=name,
        traffic=shares.get(name, 0) if shares else _ALL if alone else 0,
        ready=min(ready, wanted),
        wanted=wanted,
        message=_trouble(deployment)[1],
    )


def _trouble(deployment: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a Deployment gave up, and what it says."""
    for one in (deployment.get("status") or {}).get("conditions") or ():
        if one.get("reason") == "ProgressDeadlineExceeded" or one.get("type") == "ReplicaFailure":
            return one.get("status") != "Unknown", str(one.get("message") or one.get("reason") or "")
    return False, ""


# KServe


def _inference(obj: Mapping[str, Any]) -> EndpointStatus:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    conditions = _conditions(status)
    ready = next((one for one in conditions if one.type == "Ready"), None)
    predictor = next((one for one in conditions if one.type == "PredictorReady"), ready)
    failure = ((status.get("modelStatus") or {}).get("lastFailureInfo") or {}).get("message")
    blocked = (status.get("modelStatus") or {}).get("transitionStatus") in ("BlockedByFailedLoad", "InvalidSpec")
    # Nothing will become of it by itself: its pods do not come up, or it is stopped.
    blocked = blocked or (ready is not None and ready.reason in ("ProgressDeadlineExceeded", "Stopped"))
    if ready is None:
        phase = Phase.UNKNOWN
    elif ready.status and not _stale(obj):
        phase = Phase.RUNNING
    else:
        phase = Phase.FAILED if blocked else Phase.PENDING
    url = str(status.get("url") or "")
    model = (spec.get("predictor") or {}).get("model") or {}
    protocol = "v2" if model.get("protocolVersion") in ("v2", "grpc-v2") else "tensorflow"
    message = next((one.message or one.reason for one in conditions if not one.status and one.message), "")
    return EndpointStatus(
        ref=Ref.of(obj),
        phase=phase,
        protocol=protocol,
        path=prediction_path(protocol, urlsplit(url).path, str(meta(obj).get("name") or "")),
        url=url,
        predictors=_revisions(obj, ready=predictor is not None and predictor.status),
        conditions=conditions,
        message=unheard(obj) or str(failure or "") or ("" if phase == Phase.RUNNING else message),
    )


def _revisions(obj: Mapping[str, Any], *, ready: bool) -> tuple[PredictorStatus, ...]:
    """The models between which requests are divided; replicas are KServe's to know, so ready is 0 or 1."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    predictor = spec.get("predictor") or {}
    if mode_of(obj) != Mode.KNATIVE or not (status.get("components") or {}).get("predictor"):
        seen = {str(one.get("name")): one for one in status.get("canaryStatuses") or ()}
        canaries = [
            PredictorStatus(
                name=name,
                traffic=int(one.get("trafficPercent") or 0),
                ready=int(bool(seen.get(name, {}).get("ready"))),
                wanted=1,
                message=_failure(seen.get(name, {})),
            )
            for one in spec.get("canary") or ()
            for name in [str((one.get("predictor") or {}).get("name") or "")]
        ]
        rest = _ALL - sum(one.traffic for one in canaries)
        return (PredictorStatus(str(predictor.get("name") or "predictor"), rest, int(ready), 1), *canaries)
    targets = status["components"]["predictor"].get("traffic") or ()
    return tuple(
        PredictorStatus(str(one.get("revisionName") or ""), int(one.get("percent") or 0), 1, 1) for one in targets
    )


def _failure(seen: Mapping[str, Any]) -> str:
    return str(((seen.get("modelStatus") or {}).get("lastFailureInfo") or {}).get("message") or "")
