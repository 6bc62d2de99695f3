"""Tables as ``kubectl get`` shows them: column definitions and cells for every kind, in the real server's words.

The rows of built-in kinds are written out here, one function a kind; those of custom kinds follow their
``additionalPrinterColumns``. Cells are what the server sends: numbers stay numbers, ages are human durations measured
to the time that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import autoscaling, jsonpath
from jupyterlab_kf.embedded.apiserver.columns import columns, printer_columns
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, parse_time

__all__ = ["columns", "human_duration", "pod_reason", "row"]

Cells = list[Any]

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
UNSET: Final = "<unset>"


# --- durations ----------------------------------------------------------------------------------------------------


_STEPS: Final = (
    # below so many seconds: units of the first number, and of the second if there is one
    (120, (1, "s"), None),
    (600, (60, "m"), (1, "s")),
    (3 * 3600, (60, "m"), None),
    (8 * 3600, (3600, "h"), (60, "m")),
    (48 * 3600, (3600, "h"), None),
    (8 * 86400, (86400, "d"), (3600, "h")),
    (2 * 365 * 86400, (86400, "d"), None),
    (8 * 365 * 86400, (365 * 86400, "y"), (86400, "d")),
)


def human_duration(seconds: float) -> str:
    """A duration in at most two units, as kubectl writes ages: ``5s``, ``3m12s``, ``27h``, ``3d2h``, ``2y40d``."""
    whole = int(seconds)
    if whole < 0:
        return "<invalid>" if whole < -1 else "0s"
    for limit, (size, unit), second in _STEPS:
        if whole < limit:
            small = whole % size // second[0] if second else 0
            return f"{whole // size}{unit}{small}{second[1]}" if second and small else f"{whole // size}{unit}"
    return f"{whole // (365 * 86400)}y"


def _since(text: Any, now: float, missing: str = UNKNOWN) -> str:
    try:
        moment = parse_time(text) if isinstance(text, str) else None
    except ValueError:
        return "<invalid>"
    return missing if moment is None else human_duration(now - moment)


def _age(obj: Mapping[str, Any], now: float) -> str:
    return _since(_get(obj, "metadata", "creationTimestamp"), now)


def _get(obj: Any, *names: str) -> Any:
    for name in names:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return obj


def _list(obj: Any, *names: str) -> list[Any]:
    found = _get(obj, *names)
    return found if isinstance(found, list) else []


def _name(obj: Mapping[str, Any]) -> str:
    return str(_get(obj, "metadata", "name") or "")


def _labels(labels: Any) -> str:
    if not isinstance(labels, Mapping) or not labels:
        return NONE
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _selector(selector: Any) -> str:
    """A label selector as text."""
    if not isinstance(selector, Mapping):
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        key, operator, wanted = rule.get("key"), rule.get("operator"), ",".join(sorted(rule.get("values") or ()))
        parts.append(
            {
                "In": f"{key} in ({wanted})",
                "NotIn": f"{key} notin ({wanted})",
                "Exists": f"{key}",
                "DoesNotExist": f"!{key}",
            }.get(str(operator), NONE)
        )
    return ",".join(parts) or NONE


def _containers(spec: Any) -> tuple[str, str]:
    """Names and images of a pod spec's containers."""
    found = [c for c in _list(spec, "containers") if isinstance(c, Mapping)]
    return ",".join(str(c.get("name", "")) for c in found), ",".join(str(c.get("image", "")) for c in found)


# --- pods ---------------------------------------------------------------------------------------------------------


def _pod(pod: Obj, now: float) -> Cells:
    spec, status = _get(pod, "spec") or {}, _get(pod, "status") or {}
    containers = _list(spec, "containers")
    reason, restarts, last, ready = pod_reason(pod)
    restarted = f"{restarts}"
    if last is not None and restarts:
        restarted = f"{restarts} ({human_duration(now - last)} ago)"
    gates = _list(spec, "readinessGates")
    conditions = {c.get("type"): c.get("status") for c in _list(status, "conditions")}
    passed = sum(1 for gate in gates if conditions.get(gate.get("conditionType")) == "True")
    addresses = [item.get("ip") for item in _list(status, "podIPs")]
    return [
        _name(pod),
        f"{ready}/{len(containers)}",
        reason,
        restarted,
        _age(pod, now),
        (addresses[0] if addresses else None) or _get(status, "podIP") or NONE,
        _get(spec, "nodeName") or NONE,
        _get(status, "nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]


def pod_reason(pod: Mapping[str, Any]) -> tuple[str, int, float | None, int]:
    """STATUS, number of restarts, time of the last one, and number of ready containers, as kubectl shows them."""
    spec, status = _get(pod, "spec") or {}, _get(pod, "status") or {}
    reason = str(status.get("reason") or status.get("phase") or "Unknown")
    for condition in _list(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    initializing, init_reason, restarts, last = _init_reason(spec, status)
    ready = 0
    if initializing:
        reason = init_reason
    if not initializing or _condition(status, "Initialized"):
        main_reason, restarts_main, last_main, ready, running = _main_reason(status)
        restarts += restarts_main
        last = last_main if last is None or (last_main is not None and last_main > last) else last
        reason = main_reason or reason
        if reason == "Completed" and running:
            reason = "Running" if _condition(status, "Ready") else "NotReady"
    if _get(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Failed", "Succeeded"):
            reason = "Terminating"
    return reason, restarts, last, ready


def _condition(status: Mapping[str, Any], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in _list(status, "conditions"))


def _finished(container: Mapping[str, Any]) -> float | None:
    return parse_time(_get(container, "lastState", "terminated", "finishedAt"))


def _terminated(ended: Mapping[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"


def _init_reason(spec: Any, status: Any) -> tuple[bool, str, int, float | None]:
    """Whether init containers hold the pod back, with the reason; their restarts."""
    sidecars = {c.get("name") for c in _list(spec, "initContainers") if c.get("restartPolicy") == "Always"}
    total = len(_list(spec, "initContainers"))
    restarts, last = 0, None
    for number, container in enumerate(_list(status, "initContainerStatuses")):
        restarts += int(container.get("restartCount") or 0)
        finished = _finished(container)
        last = finished if last is None or (finished is not None and finished > last) else last
        ended, waiting = _get(container, "state", "terminated"), _get(container, "state", "waiting")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            continue
        if ended is not None:
            return True, f"Init:{_terminated(ended)}", restarts, last
        if waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            return True, f"Init:{waiting['reason']}", restarts, last
        return True, f"Init:{number}/{total}", restarts, last
    return False, "", restarts, last


def _main_reason(status: Any) -> tuple[str, int, float | None, int, bool]:
    reason, restarts, last, ready, running = "", 0, None, 0, False
    for container in reversed(_list(status, "containerStatuses")):
        restarts += int(container.get("restartCount") or 0)
        finished = _finished(container)
        last = finished if last is None or (finished is not None and finished > last) else last
        state = container.get("state") or {}
        ended = state.get("terminated")
        if (state.get("waiting") or {}).get("reason"):
            reason = str(state["waiting"]["reason"])
        elif ended is not None:
            reason = _terminated(ended)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            ready += 1
    return reason, restarts, last, ready, running


# --- the other built-in kinds -------------------------------------------------------------------------------------


def _node(node: Obj, now: float) -> Cells:
    status = _get(node, "status") or {}
    state = "Unknown"
    for condition in _list(status, "conditions"):
        if condition.get("type") == "Ready":
            state = {"True": "Ready", "False": "NotReady"}.get(str(condition.get("status")), "NotReady")
    if _get(node, "spec", "unschedulable"):
        state += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    labels = _get(node, "metadata", "labels") or {}
    roles = sorted({key.removeprefix(prefix) for key in labels if key.startswith(prefix) and key != prefix})
    info = _get(status, "nodeInfo") or {}
    addresses = {item.get("type"): item.get("address") for item in reversed(_list(status, "addresses"))}
    return [
        _name(node),
        state,
        ",".join(roles) or NONE,
        _age(node, now),
        info.get("kubeletVersion") or "",
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _namespace(obj: Obj, now: float) -> Cells:
    return [_name(obj), _get(obj, "status", "phase") or "", _age(obj, now)]


def _ports(ports: list[Any]) -> str:
    out = []
    for port in ports:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        out.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(out) or NONE


def _service(obj: Obj, now: float) -> Cells:
    spec = _get(obj, "spec") or {}
    kind = spec.get("type") or "ClusterIP"
    external = ",".join(_list(spec, "externalIPs"))
    if kind == "LoadBalancer":
        given = [i.get("ip") or i.get("hostname") for i in _list(obj, "status", "loadBalancer", "ingress")]
        external = ",".join(str(item) for item in given if item) or external or "<pending>"
    elif kind == "ExternalName":
        external = spec.get("externalName") or ""
    address = spec.get("clusterIP") or NONE
    ports = _ports(_list(spec, "ports"))
    return [_name(obj), kind, address, external or NONE, ports, _age(obj, now), _labels(spec.get("selector"))]


def _config_map(obj: Obj, now: float) -> Cells:
    return [_name(obj), len(_get(obj, "data") or {}) + len(_get(obj, "binaryData") or {}), _age(obj, now)]


def _secret(obj: Obj, now: float) -> Cells:
    return [_name(obj), _get(obj, "type") or "", len(_get(obj, "data") or {}), _age(obj, now)]


def _service_account(obj: Obj, now: float) -> Cells:
    return [_name(obj), _age(obj, now)]


_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _claim(obj: Obj, now: float) -> Cells:
    spec, status = _get(obj, "spec") or {}, _get(obj, "status") or {}
    phase = status.get("phase") or ""
    if _get(obj, "metadata", "deletionTimestamp"):
        phase = "Terminating"
    capacity = modes = ""
    volume = spec.get("volumeName") or ""
    if volume:
        given = _list(status, "accessModes")
        modes = ",".join(short for mode, short in _MODES.items() if mode in given)
        capacity = str(_get(status, "capacity", "storage") or "")
    storage_class = spec.get("storageClassName") or ""
    attributes = spec.get("volumeAttributesClassName") or UNSET
    mode = spec.get("volumeMode") or UNSET
    return [_name(obj), phase, volume, capacity, modes, storage_class, attributes, _age(obj, now), mode]


def _event(obj: Obj, now: float) -> Cells:
    series = _get(obj, "series") or {}
    first = _get(obj, "firstTimestamp") or _get(obj, "eventTime")
    last = series.get("lastObservedTime") or _get(obj, "lastTimestamp") or first
    count = series.get("count") or _get(obj, "count") or 1
    about = _get(obj, "involvedObject") or {}
    target = str(about.get("kind") or "").lower()
    if about.get("name"):
        target = f"{target}/{about['name']}"
    component = _get(obj, "source", "component") or _get(obj, "reportingComponent") or ""
    host = _get(obj, "source", "host") or _get(obj, "reportingInstance") or ""
    return [
        _since(last, now),
        _get(obj, "type") or "",
        _get(obj, "reason") or "",
        target,
        about.get("fieldPath") or "",
        f"{component}, {host}" if host else component,
        str(_get(obj, "message") or "").strip(),
        _since(first, now),
        count,
        _name(obj),
    ]


def _endpoint_slice(obj: Obj, now: float) -> Cells:
    ports = [str(p.get("port")) if p.get("port") is not None else "*" for p in _list(obj, "ports")]
    addresses = [a for e in _list(obj, "endpoints") for a in e.get("addresses") or ()]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")  # noqa: PLR2004
    kind = _get(obj, "addressType") or ""
    return [_name(obj), kind, ",".join(ports) or UNSET, shown or UNSET, _age(obj, now)]


def _lease(obj: Obj, now: float) -> Cells:
    return [_name(obj), _get(obj, "spec", "holderIdentity") or "", _age(obj, now)]


def _job(obj: Obj, now: float) -> Cells:
    spec, status = _get(obj, "spec") or {}, _get(obj, "status") or {}
    succeeded = status.get("succeeded") or 0
    wanted = spec.get("completions")
    if wanted is not None:
        completions = f"{succeeded}/{wanted}"
    else:
        parallel = spec.get("parallelism") or 0
        completions = f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"
    started, done = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    duration = "" if started is None else human_duration((now if done is None else done) - started)
    state = "Running"
    for kind, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if _condition(status, kind):
            state = word
            break
    if state not in ("Complete", "Failed") and _get(obj, "metadata", "deletionTimestamp"):
        state = "Terminating"
    names, images = _containers(_get(spec, "template", "spec"))
    selector = _selector(spec.get("selector"))
    return [_name(obj), state, completions, duration, _age(obj, now), names, images, selector]


def _deployment(obj: Obj, now: float) -> Cells:
    spec, status = _get(obj, "spec") or {}, _get(obj, "status") or {}
    names, images = _containers(_get(spec, "template", "spec"))
    return [
        _name(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        _age(obj, now),
        names,
        images,
        _selector(spec.get("selector")),
    ]


def _replica_set(obj: Obj, now: float) -> Cells:
    spec, status = _get(obj, "spec") or {}, _get(obj, "status") or {}
    names, images = _containers(_get(spec, "template", "spec"))
    counts = [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [_name(obj), *counts, _age(obj, now), names, images, _selector(spec.get("selector"))]


def _definition(obj: Obj, _now: float) -> Cells:
    return [_name(obj), _get(obj, "metadata", "creationTimestamp")]


def _autoscaler(obj: Obj, now: float) -> Cells:
    return [_name(obj), *autoscaling.autoscaler_cells(obj), _age(obj, now)]


def _budget(obj: Obj, now: float) -> Cells:
    return [_name(obj), *autoscaling.budget_cells(obj), _age(obj, now)]


# --- rows ----------------------------------------------------------------------------------------------------

_ROWS: Final[Mapping[Kind, Callable[[Obj, float], Cells]]] = {
    kinds.POD: _pod,
    kinds.NODE: _node,
    kinds.NAMESPACE: _namespace,
    kinds.SERVICE: _service,
    kinds.CONFIG_MAP: _config_map,
    kinds.SECRET: _secret,
    kinds.SERVICE_ACCOUNT: _service_account,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.EVENT: _event,
    kinds.ENDPOINT_SLICE: _endpoint_slice,
    kinds.LEASE: _lease,
    kinds.JOB: _job,
    kinds.DEPLOYMENT: _deployment,
    kinds.REPLICA_SET: _replica_set,
    kinds.HORIZONTAL_POD_AUTOSCALER: _autoscaler,
    kinds.POD_DISRUPTION_BUDGET: _budget,
    kinds.CUSTOM_RESOURCE_DEFINITION: _definition,
}


def row(kind: Kind, obj: Obj, now: float, crd: Obj | None = None) -> list[Any]:
    """The cells of one object, in the order of :func:`columns`."""
    known = _ROWS.get(kind)
    if known is not None:
        return known(obj, now)
    return [_name(obj), *(_custom_cell(obj, column, now) for column in printer_columns(kind, crd))]


def _custom_cell(obj: Obj, column: Mapping[str, Any], now: float) -> Any:
    found = jsonpath.values(obj, str(column.get("jsonPath") or ""))
    if not found or found[0] is None:
        return None if column.get("type") != "string" else ""
    value = found[0]
    kind = column.get("type")
    if kind == "date":
        return _since(value, now)
    if kind in ("integer", "number") and isinstance(value, int | float):
        return int(value) if kind == "integer" else float(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(str(item) for item in found) if kind == "string" else None
