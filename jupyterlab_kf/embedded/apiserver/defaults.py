"""What an API server fills in: the defaults of each kind's fields, in the same words as the real server.

One function a kind, all reached through :func:`default`, which copies the object first. Defaulting is idempotent and
runs at every create and update, as in the real server. What admission adds once, at creation (tolerations, service
account, addresses), is the registry's. For custom kinds the defaults stand in the schema.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.embedded.apiserver import typed
from jupyterlab_kf.embedded.apiserver.autoscaling import default_autoscaler
from jupyterlab_kf.embedded.apiserver.schemas import OBJECT_META
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_DEFAULT_MODE: Final = 0o644
_LABEL_NAMESPACE: Final = "kubernetes.io/metadata.name"
_UNLIMITED_RETRIES: Final = 2147483647
_COMPUTE: Final = ("cpu", "memory")
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


def clone(value: Any) -> Any:
    """A copy of a JSON value; several times faster than a general deep copy."""
    if isinstance(value, dict):
        return {key: clone(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) if isinstance(item, dict | list) else item for item in value]
    return value


def default(kind: Kind, obj: Obj, crd: Obj | None = None) -> Obj:
    """The object with its defaults filled in; the input is not changed.

    Args:
        kind: the object's kind.
        obj: what the client sent.
        crd: the definition of a custom kind, for the defaults in its schema.
    """
    out: Obj = clone(obj)
    if kind.custom or crd is not None:
        _structural(out, typed.of(kind, crd))
        return out
    _drop_nulls(out)
    fill = _KINDS.get(kind)
    if fill is not None:
        fill(out)
    return out


def _structural(value: Any, of: typed.Type) -> None:
    """Defaults of a structural schema: a missing field takes its default, on every level that exists.

    The definitions of the training kinds were made from an older Kubernetes, which knew no empty defaults.
    """
    if of is typed.UNKNOWN:
        return
    if isinstance(value, list):
        for item in value:
            _structural(item, of.items)
    if not isinstance(value, dict):
        return
    for name, child in of.fields.items():
        given = child.schema.get("default")
        if given is not None and value.get(name) is None and not (of.component and not given):
            value[name] = clone(given)
    for name, item in list(value.items()):
        child = of.fields.get(name, of.items)
        if item is None and child.schema and not child.schema.get("nullable") and name not in _HEAD:
            del value[name]  # a null where there can be none says that there is no value
        elif child.component != OBJECT_META and isinstance(item, dict | list):
            _structural(item, child)


def _drop_nulls(value: Any) -> None:
    """A typed server forgets nulls when it reads an object."""
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item is None]:
            del value[key]
        for item in value.values():
            _drop_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _drop_nulls(item)


def _part(obj: dict[str, Any], *names: str) -> dict[str, Any]:
    """A nested mapping, made where it is missing."""
    for name in names:
        found = obj.get(name)
        if not isinstance(found, dict):
            found = obj[name] = {}
        obj = found
    return obj


def _fill(obj: dict[str, Any], **values: Any) -> None:
    for name, value in values.items():
        obj.setdefault(name, value)


def _maps(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value or () if isinstance(item, dict)) if isinstance(value, list) else iter(())


# --- pods ---------------------------------------------------------------------------------------------------------


def canonical_quantities(resources: Any, *names: str) -> None:
    """Writes a mapping's quantities, or those named, in canonical form; what is none is left for validation."""
    if isinstance(resources, dict):
        for name, text in resources.items():
            if names and name not in names:
                continue
            try:
                resources[name] = quantities.canonical(text)
            except UsageError:
                continue


def pull_policy(image: str) -> str:
    """``Always`` for a moving tag, ``IfNotPresent`` for a fixed one."""
    bare, _, digest = image.partition("@")
    _, colon, tag = bare.rpartition("/")[2].partition(":")
    if not colon and digest:
        return "IfNotPresent"
    return "Always" if (tag or "latest") == "latest" else "IfNotPresent"


def _http(action: Any) -> None:
    if isinstance(action, dict) and isinstance(action.get("httpGet"), dict):
        _fill(action["httpGet"], path="/", scheme="HTTP")


def _container(container: dict[str, Any], *, host_network: bool) -> None:
    for port in _maps(container.get("ports")):
        port.setdefault("protocol", "TCP")
        if host_network and "containerPort" in port:
            port.setdefault("hostPort", port["containerPort"])
    for env in _maps(container.get("env")):
        if isinstance(env.get("valueFrom"), dict):
            _field_ref(env["valueFrom"])
    resources = _part(container, "resources")
    for part in ("limits", "requests"):
        canonical_quantities(resources.get(part))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            _probe(container[name])
    lifecycle = container.get("lifecycle")
    for action in lifecycle.values() if isinstance(lifecycle, dict) else ():
        _http(action)
    image = container.get("image")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", pull_policy(image if isinstance(image, str) else ""))


def _probe(probe: dict[str, Any]) -> None:
    _fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _http(probe)
    if isinstance(probe.get("grpc"), dict):
        probe["grpc"].setdefault("service", "")


_MODES: Final = ("secret", "configMap", "downwardAPI", "projected")


def _volume(volume: dict[str, Any]) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
    for name in _MODES:
        if isinstance(volume.get(name), dict):
            volume[name].setdefault("defaultMode", _DEFAULT_MODE)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    empty = volume.get("emptyDir")
    if isinstance(empty, dict) and "sizeLimit" in empty:
        canonical_quantities(empty, "sizeLimit")
    for source in (volume, *_maps((volume.get("projected") or {}).get("sources"))):
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in _maps((source.get("downwardAPI") or {}).get("items")):
            _field_ref(item)
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if isinstance(claim, dict):
        _claim_spec(_part(claim, "spec"))


def _field_ref(source: dict[str, Any]) -> None:
    if isinstance(source.get("fieldRef"), dict):
        source["fieldRef"].setdefault("apiVersion", "v1")
    if isinstance(source.get("resourceFieldRef"), dict):
        source["resourceFieldRef"].setdefault("divisor", "0")


def pod_spec(spec: dict[str, Any]) -> None:
    """Fills in a pod spec in place, with what a template gets too."""
    host_network = bool(spec.get("hostNetwork"))
    for volume in _maps(spec.get("volumes")):
        _volume(volume)
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for container in _maps(spec.get(name)):
            _container(container, host_network=host_network)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        _fill(spec, serviceAccountName=account, serviceAccount=account)
    canonical_quantities(spec.get("overhead"))
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )


def template(obj: dict[str, Any]) -> None:
    """Fills in ``spec.template`` of a workload in place."""
    place = _part(obj, "spec", "template")
    if isinstance(place.get("spec"), dict):
        pod_spec(place["spec"])
    _part(place, "metadata")


def qos_class(spec: Mapping[str, Any]) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort``."""
    containers = [*_maps(spec.get("initContainers")), *_maps(spec.get("containers"))]
    some, guaranteed = False, bool(containers)
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = (
            {n: v for n, v in (resources.get(part) or {}).items() if n in _COMPUTE and str(v) != "0"}
            for part in ("limits", "requests")
        )
        some = some or bool(limits) or bool(requests)
        full = all(name in limits for name in _COMPUTE)
        guaranteed = guaranteed and full and {**limits, **requests} == limits
    if not some:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _pod(obj: Obj) -> None:
    spec = _part(obj, "spec")
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for name in ("initContainers", "containers"):
        for container in _maps(spec.get(name)):
            limits = container["resources"].get("limits")
            if isinstance(limits, dict) and limits:
                requests = _part(container["resources"], "requests")
                for resource, amount in limits.items():
                    requests.setdefault(resource, amount)
    status = _part(obj, "status")
    status.setdefault("phase", "Pending")
    try:
        status.setdefault("qosClass", qos_class(spec))
    except (AttributeError, TypeError):
        return  # resources of a wrong type: refused by validation, with the field's name


# --- workloads ----------------------------------------------------------------------------------------------------


def _deployment(obj: Obj) -> None:
    template(obj)
    spec = _part(obj, "spec")
    _fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = _part(spec, "strategy")
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        _fill(_part(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    _part(obj, "status")


def _replica_set(obj: Obj) -> None:
    template(obj)
    _part(obj, "spec").setdefault("replicas", 1)
    _part(obj, "status").setdefault("replicas", 0)


def _job(obj: Obj) -> None:
    template(obj)
    spec = _part(obj, "spec")
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=_UNLIMITED_RETRIES if "backoffLimitPerIndex" in spec else 6,
        completionMode="NonIndexed",
        manualSelector=False,
        suspend=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels and not _part(obj, "metadata").get("labels"):
        obj["metadata"]["labels"] = dict(labels)
    _part(obj, "status")


def job_selector(obj: Obj) -> Obj:
    """A Job that has its uid, with the selector and the template labels that its controller finds pods by."""
    out: Obj = clone(obj)
    spec = _part(out, "spec")
    if spec.get("manualSelector"):
        return out
    uid, name = out["metadata"].get("uid", ""), out["metadata"].get("name", "")
    labels = _part(spec, "template", "metadata", "labels")
    for label, value in (
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ):
        labels[label] = value
    _part(spec, "selector", "matchLabels")["batch.kubernetes.io/controller-uid"] = uid
    return out


# --- the rest -----------------------------------------------------------------------------------------------------


def _service(obj: Obj) -> None:
    spec = _part(obj, "spec")
    kind = spec.setdefault("type", "ClusterIP")
    if spec.setdefault("sessionAffinity", "None") == "ClientIP":
        _part(spec, "sessionAffinityConfig", "clientIP").setdefault("timeoutSeconds", 10800)
    for port in _maps(spec.get("ports")):
        port.setdefault("protocol", "TCP")
        if "port" in port and port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port["port"]
    if kind != "ExternalName":
        _fill(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack", internalTrafficPolicy="Cluster")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    _part(obj, "status", "loadBalancer")


def _secret(obj: Obj) -> None:
    obj.setdefault("type", "Opaque")
    plain = obj.pop("stringData", None)
    if isinstance(plain, dict):
        data = _part(obj, "data")
        for name, text in plain.items():
            data[name] = base64.b64encode(str(text).encode()).decode()


def _namespace(obj: Obj) -> None:
    name = (obj.get("metadata") or {}).get("name")
    if name:
        _part(obj, "metadata", "labels")[_LABEL_NAMESPACE] = name
    _part(obj, "status").setdefault("phase", "Active")


def _claim_spec(spec: dict[str, Any]) -> None:
    spec.setdefault("volumeMode", "Filesystem")
    resources = _part(spec, "resources")
    for part in ("limits", "requests"):
        canonical_quantities(resources.get(part))


def _claim(obj: Obj) -> None:
    _claim_spec(_part(obj, "spec"))
    _part(obj, "status").setdefault("phase", "Pending")
    meta = _part(obj, "metadata")
    if "deletionTimestamp" not in meta and "uid" not in meta:
        finalizers = meta.setdefault("finalizers", [])
        if "kubernetes.io/pvc-protection" not in finalizers:
            finalizers.append("kubernetes.io/pvc-protection")


def _event(obj: Obj) -> None:
    _fill(
        obj,
        involvedObject={},
        source={},
        firstTimestamp=None,
        lastTimestamp=None,
        eventTime=None,
        reportingComponent="",
        reportingInstance="",
    )


def _endpoint_slice(obj: Obj) -> None:
    obj.setdefault("endpoints", [])
    obj.setdefault("ports", [])
    for port in _maps(obj["ports"]):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _node(obj: Obj) -> None:
    _part(obj, "spec")
    status = _part(obj, "status")
    for part in ("capacity", "allocatable"):
        canonical_quantities(status.get(part))
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _definition(obj: Obj) -> None:
    names = _part(obj, "spec", "names")
    kind = names.get("kind")
    if isinstance(kind, str):
        _fill(names, singular=kind.lower(), listKind=f"{kind}List")
    _part(obj, "spec", "conversion").setdefault("strategy", "None")


_KINDS: Final[Mapping[Kind, Callable[[Obj], None]]] = {
    kinds.POD: _pod,
    kinds.DEPLOYMENT: _deployment,
    kinds.REPLICA_SET: _replica_set,
    kinds.JOB: _job,
    kinds.SERVICE: _service,
    kinds.SECRET: _secret,
    kinds.NAMESPACE: _namespace,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.EVENT: _event,
    kinds.ENDPOINT_SLICE: _endpoint_slice,
    kinds.NODE: _node,
    kinds.HORIZONTAL_POD_AUTOSCALER: default_autoscaler,
    kinds.CUSTOM_RESOURCE_DEFINITION: _definition,
}
