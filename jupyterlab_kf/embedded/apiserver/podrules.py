"""Rules of pod specs that no schema says: containers, ports, environment, mounts, probes, resources, volumes.

Causes with the reasons and sentences of a real API server, in its order; templates of workloads ask the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.embedded.apiserver import syntax
from jupyterlab_kf.embedded.apiserver.causes import (
    Cause,
    duplicate,
    each,
    forbidden,
    invalid,
    items,
    labels,
    mapping,
    not_negative,
    required,
    show,
    unsupported,
)
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj

_MAX_INT32: Final = 2147483647

# --- pods ---------------------------------------------------------------------------------------------------------

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
_STANDARD_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")


def pod_spec(spec: Mapping[str, Any], at: str) -> list[Cause]:
    """Rules of a pod spec, in a pod or a template."""
    volumes = items(spec.get("volumes"))
    names = {volume.get("name") for volume in volumes}
    causes = _volumes(volumes, f"{at}.volumes")
    containers, inits = items(spec.get("containers")), items(spec.get("initContainers"))
    if not containers:
        causes.append(required(f"{at}.containers"))
    seen: set[str] = set()
    for group, found in (("containers", containers), ("initContainers", inits)):
        for number, container in enumerate(found):
            causes += _container(container, f"{at}.{group}[{number}]", names, seen)
    policy = spec.get("restartPolicy")
    if policy in (None, ""):
        causes.append(required(f"{at}.restartPolicy"))
    elif policy not in RESTART_POLICIES:
        causes.append(unsupported(f"{at}.restartPolicy", policy, RESTART_POLICIES))
    if spec.get("dnsPolicy") not in (None, *_DNS_POLICIES):
        causes.append(unsupported(f"{at}.dnsPolicy", spec["dnsPolicy"], _DNS_POLICIES))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        causes.append(
            invalid(f"{at}.activeDeadlineSeconds", deadline, f"must be between 1 and {_MAX_INT32}, inclusive")
        )
    causes += labels(mapping(spec.get("nodeSelector")), f"{at}.nodeSelector")
    for name, rule in (
        ("serviceAccountName", syntax.subdomain),
        ("hostname", syntax.label),
        ("subdomain", syntax.label),
    ):
        if spec.get(name):
            causes += each(f"{at}.{name}", spec[name], rule(spec[name]))
    return causes


def _volumes(volumes: list[dict[str, Any]], at: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for number, volume in enumerate(volumes):
        field, name = f"{at}[{number}]", volume.get("name") or ""
        if not name:
            causes.append(required(f"{field}.name"))
        else:
            causes += each(f"{field}.name", name, syntax.label(name))
            if name in seen:
                causes.append(duplicate(f"{field}.name", name))
        seen.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not sources:
            causes.append(required(field, "must specify a volume type"))
        causes += [forbidden(f"{field}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        claim = mapping(volume.get("persistentVolumeClaim"))
        if "persistentVolumeClaim" in sources and not claim.get("claimName"):
            causes.append(required(f"{field}.persistentVolumeClaim.claimName"))
        if "configMap" in sources and not mapping(volume["configMap"]).get("name"):
            causes.append(required(f"{field}.configMap.name"))
        if "secret" in sources and not mapping(volume["secret"]).get("secretName"):
            causes.append(required(f"{field}.secret.secretName"))
        if "hostPath" in sources and not mapping(volume["hostPath"]).get("path"):
            causes.append(required(f"{field}.hostPath.path"))
    return causes


def _container(container: dict[str, Any], at: str, volumes: set[Any], seen: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{at}.name"))
    else:
        causes += each(f"{at}.name", name, syntax.label(name))
        if name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
    image = container.get("image") or ""
    if not image:
        causes.append(required(f"{at}.image"))
    elif image != image.strip():
        causes.append(invalid(f"{at}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    if policy not in (None, "File", "FallbackToLogsOnError"):
        causes.append(unsupported(f"{at}.terminationMessagePolicy", policy, ("FallbackToLogsOnError", "File")))
    causes += _container_ports(items(container.get("ports")), f"{at}.ports")
    causes += _environment(items(container.get("env")), f"{at}.env")
    causes += _mounts(items(container.get("volumeMounts")), f"{at}.volumeMounts", volumes)
    if container.get("imagePullPolicy") not in (None, *_PULL_POLICIES):
        causes.append(unsupported(f"{at}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES))
    causes += _resources(mapping(container.get("resources")), f"{at}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            causes += _probe(mapping(container[probe]), f"{at}.{probe}")
    return causes


def port_range(field: str, port: Any) -> list[Cause]:
    """The number of a port."""
    if isinstance(port, int) and 1 <= port <= syntax.MAX_PORT:
        return []
    return [invalid(field, port, f"must be between 1 and {syntax.MAX_PORT}, inclusive")]


def _container_ports(ports: list[dict[str, Any]], at: str) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for number, port in enumerate(ports):
        field, name = f"{at}[{number}]", port.get("name")
        if name:
            problems = syntax.port_name(name)
            causes += each(f"{field}.name", name, problems)
            if not problems and name in names:
                causes.append(duplicate(f"{field}.name", name))
            names.add(name)
        if not port.get("containerPort"):
            causes.append(required(f"{field}.containerPort"))
        else:
            causes += port_range(f"{field}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            causes += port_range(f"{field}.hostPort", port["hostPort"])
        if not port.get("protocol"):
            causes.append(required(f"{field}.protocol"))
        elif port["protocol"] not in PROTOCOLS:
            causes.append(unsupported(f"{field}.protocol", port["protocol"], PROTOCOLS))
    return causes


_ENV_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _environment(env: list[dict[str, Any]], at: str) -> list[Cause]:
    causes: list[Cause] = []
    for number, item in enumerate(env):
        field, name = f"{at}[{number}]", item.get("name") or ""
        if not name:
            causes.append(required(f"{field}.name"))
        else:
            causes += each(f"{field}.name", name, syntax.env_name(name))
        source = item.get("valueFrom")
        if source is None:
            continue
        given = [key for key in _ENV_SOURCES if mapping(source).get(key) is not None]
        if item.get("value"):
            causes.append(invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty"))
        elif not given:
            *most, last = (f"`{key}`" for key in _ENV_SOURCES)
            why = f"must specify one of: {', '.join(most)}, or {last}"
            causes.append(invalid(f"{field}.valueFrom", "", why))
        elif len(given) > 1:
            causes.append(invalid(f"{field}.valueFrom", "", "may not have more than one field specified at a time"))
        for key in ("configMapKeyRef", "secretKeyRef"):
            ref = mapping(mapping(source).get(key))
            causes += [
                required(f"{field}.valueFrom.{key}.{part}") for part in ("name", "key") if ref and not ref.get(part)
            ]
    return causes


def _mounts(mounts: list[dict[str, Any]], at: str, volumes: set[Any]) -> list[Cause]:
    causes = []
    paths: set[str] = set()
    for number, mount in enumerate(mounts):
        field, name, path = f"{at}[{number}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            causes.append(required(f"{field}.name"))
        elif name not in volumes:
            causes.append(Cause(f"{field}.name", "FieldValueNotFound", f"Not found: {show(name)}"))
        if not path:
            causes.append(required(f"{field}.mountPath"))
        elif path in paths:
            causes.append(invalid(f"{field}.mountPath", path, "must be unique"))
        paths.add(path)
        if mount.get("subPath") and mount.get("subPathExpr"):
            causes.append(
                invalid(f"{field}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            )
        sub = mount.get("subPath") or ""
        if sub.startswith("/"):
            causes.append(invalid(f"{field}.subPath", sub, "must be a relative path"))
        if ".." in sub.split("/"):
            causes.append(invalid(f"{field}.subPath", sub, "must not contain '..'"))
    return causes


def _probe(probe: Mapping[str, Any], at: str) -> list[Cause]:
    handlers = [key for key in ("exec", "grpc", "httpGet", "tcpSocket") if probe.get(key) is not None]
    causes = []
    if not handlers:
        causes.append(required(at, "must specify a handler type"))
    causes += [forbidden(f"{at}.{key}", "may not specify more than 1 handler type") for key in handlers[1:]]
    numbers = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
    return causes + [cause for key in numbers for cause in not_negative(f"{at}.{key}", probe.get(key))]


def _resources(resources: Mapping[str, Any], at: str) -> list[Cause]:
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    causes = [c for part in ("limits", "requests") for c in _amounts(mapping(resources.get(part)), f"{at}.{part}")]
    if causes:
        return causes
    for name, text in requests.items():
        limit = limits.get(name)
        if limit is None:
            if not _overcommits(name):
                causes.append(required(f"{at}.limits", "Limit must be set for non overcommitable resources"))
            continue
        asked, allowed = quantities.parse(text), quantities.parse(limit)
        shown = quantities.canonical(limit)
        if asked != allowed and not _overcommits(name):
            causes.append(invalid(f"{at}.requests", str(text), f"must be equal to {name} limit of {shown}"))
        elif asked > allowed:
            causes.append(
                invalid(f"{at}.requests", str(text), f"must be less than or equal to {name} limit of {shown}")
            )
    return causes


def _overcommits(name: str) -> bool:
    """True for resources of which more may be promised than there is; devices and huge pages are not among them."""
    return not name.startswith("hugepages-") and (name in _STANDARD_RESOURCES or name.startswith("kubernetes.io/"))


def _amounts(amounts: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for name, text in amounts.items():
        field = f"{at}[{name}]"
        yield from each(field, name, syntax.qualified(name))
        if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
            yield invalid(field, name, "must be a standard resource type or fully qualified")
            yield invalid(field, name, "must be a standard resource for containers")
        try:
            amount = quantities.parse(text)
        except UsageError as error:
            yield invalid(field, text, error.message)
            continue
        if amount < 0:
            yield invalid(field, str(text), "must be greater than or equal to 0")
        elif "/" in name and amount % 1:
            yield invalid(field, str(text), "must be an integer")


def pod(obj: Obj) -> list[Cause]:
    """A pod."""
    return pod_spec(mapping(obj.get("spec")), "spec")
