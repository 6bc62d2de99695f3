"""Rules of core kinds that no schema says: names and labels, pods, services, workloads, configuration, claims.

One function a kind answers causes with the reasons and sentences of a real API server, in its order. The rules are
those that people and controllers run into; what the embedded cluster never looks at is left to a real cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.embedded.apiserver import syntax
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

MAX_ANNOTATIONS: Final = 256 * 1024
MAX_DATA: Final = 1024 * 1024
_MAX_INT32: Final = 2147483647
_STANDARD_FINALIZERS: Final = ("kubernetes", "foregroundDeletion", "orphan")


class Cause(NamedTuple):
    """One reason for a 422."""

    field: str
    reason: str
    message: str


def _show(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def invalid(field: str, value: Any, why: str) -> Cause:
    """A value that breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_show(value)}: {why}")


def required(field: str, why: str = "") -> Cause:
    """A value that is missing."""
    return Cause(field, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def unsupported(field: str, value: Any, allowed: Iterable[str]) -> Cause:
    """A value that is none of those that exist."""
    listed = ", ".join(json.dumps(item) for item in allowed)
    message = f"Unsupported value: {_show(value)}: supported values: {listed}"
    return Cause(field, "FieldValueNotSupported", message)


def duplicate(field: str, value: Any) -> Cause:
    """A value that may occur once."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_show(value)}")


def forbidden(field: str, why: str) -> Cause:
    """A value that may not be there."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def _each(field: str, value: Any, reasons: Iterable[str]) -> list[Cause]:
    return [invalid(field, value, reason) for reason in reasons]


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# --- metadata -----------------------------------------------------------------------------------------------------

_LABEL_NAMES: Final = (kinds.NAMESPACE, kinds.SERVICE)


def metadata(kind: Kind, obj: Obj) -> list[Cause]:
    """Rules of ``metadata``, the same for every kind but for the syntax of the name."""
    meta = _map(obj.get("metadata"))
    name = meta.get("name") or ""
    if not name:
        causes = [required("metadata.name", "name or generateName is required")]
    else:
        rule = syntax.label if kind in _LABEL_NAMES else syntax.subdomain
        causes = _each("metadata.name", name, rule(name))
    causes += labels(_map(meta.get("labels")), "metadata.labels")
    annotations = _map(meta.get("annotations"))
    for key in annotations:
        causes += _each("metadata.annotations", key, syntax.qualified(key.lower()))
    if sum(len(key) + len(str(value)) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", message))
    return causes + _owners(_items(meta.get("ownerReferences"))) + _finalizers(meta.get("finalizers") or ())


def labels(found: Mapping[str, Any], field: str) -> list[Cause]:
    """Keys and values of labels."""
    causes: list[Cause] = []
    for key, value in found.items():
        causes += _each(field, key, syntax.qualified(key))
        causes += _each(field, value, syntax.label_value(str(value)))
    return causes


def _owners(owners: list[dict[str, Any]]) -> list[Cause]:
    field = "metadata.ownerReferences"
    causes = []
    for owner in owners:
        if not owner.get("apiVersion"):
            causes.append(invalid(f"{field}.apiVersion", "", "version must not be empty"))
        empty = [name for name in ("kind", "name", "uid") if not owner.get(name)]
        causes += [invalid(f"{field}.{name}", "", "must not be empty") for name in empty]
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        first, second = (f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        why = f'Only one reference can have Controller set to true. Found "true" in references for {first} and {second}'
        causes.append(invalid(field, owners, why))
    return causes


def _finalizers(finalizers: Iterable[Any]) -> list[Cause]:
    causes: list[Cause] = []
    for number, name in enumerate(finalizers):
        field = f"metadata.finalizers[{number}]"
        found = _each(field, name, syntax.qualified(str(name)))
        if not found and "/" not in str(name) and name not in _STANDARD_FINALIZERS:
            found = [invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")]
        causes += found
    return causes


# --- pods ---------------------------------------------------------------------------------------------------------

_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_DNS_POLICIES: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_RESTART_POLICIES: Final = ("Always", "OnFailure", "Never")
_STANDARD_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")


def pod_spec(spec: Mapping[str, Any], at: str) -> list[Cause]:
    """Rules of a pod spec, in a pod or a template."""
    volumes = _items(spec.get("volumes"))
    names = {volume.get("name") for volume in volumes}
    causes = _volumes(volumes, f"{at}.volumes")
    containers, inits = _items(spec.get("containers")), _items(spec.get("initContainers"))
    if not containers:
        causes.append(required(f"{at}.containers"))
    seen: set[str] = set()
    for group, found in (("containers", containers), ("initContainers", inits)):
        for number, container in enumerate(found):
            causes += _container(container, f"{at}.{group}[{number}]", names, seen)
    policy = spec.get("restartPolicy")
    if policy in (None, ""):
        causes.append(required(f"{at}.restartPolicy"))
    elif policy not in _RESTART_POLICIES:
        causes.append(unsupported(f"{at}.restartPolicy", policy, _RESTART_POLICIES))
    if spec.get("dnsPolicy") not in (None, *_DNS_POLICIES):
        causes.append(unsupported(f"{at}.dnsPolicy", spec["dnsPolicy"], _DNS_POLICIES))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        causes.append(
            invalid(f"{at}.activeDeadlineSeconds", deadline, f"must be between 1 and {_MAX_INT32}, inclusive")
        )
    causes += labels(_map(spec.get("nodeSelector")), f"{at}.nodeSelector")
    for name, rule in (
        ("serviceAccountName", syntax.subdomain),
        ("hostname", syntax.label),
        ("subdomain", syntax.label),
    ):
        if spec.get(name):
            causes += _each(f"{at}.{name}", spec[name], rule(spec[name]))
    return causes


def _volumes(volumes: list[dict[str, Any]], at: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for number, volume in enumerate(volumes):
        field, name = f"{at}[{number}]", volume.get("name") or ""
        if not name:
            causes.append(required(f"{field}.name"))
        else:
            causes += _each(f"{field}.name", name, syntax.label(name))
            if name in seen:
                causes.append(duplicate(f"{field}.name", name))
        seen.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not sources:
            causes.append(required(field, "must specify a volume type"))
        causes += [forbidden(f"{field}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        claim = _map(volume.get("persistentVolumeClaim"))
        if "persistentVolumeClaim" in sources and not claim.get("claimName"):
            causes.append(required(f"{field}.persistentVolumeClaim.claimName"))
        if "configMap" in sources and not _map(volume["configMap"]).get("name"):
            causes.append(required(f"{field}.configMap.name"))
        if "secret" in sources and not _map(volume["secret"]).get("secretName"):
            causes.append(required(f"{field}.secret.secretName"))
        if "hostPath" in sources and not _map(volume["hostPath"]).get("path"):
            causes.append(required(f"{field}.hostPath.path"))
    return causes


def _container(container: dict[str, Any], at: str, volumes: set[Any], seen: set[str]) -> list[Cause]:
    name = container.get("name") or ""
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{at}.name"))
    else:
        causes += _each(f"{at}.name", name, syntax.label(name))
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
    causes += _container_ports(_items(container.get("ports")), f"{at}.ports")
    causes += _environment(_items(container.get("env")), f"{at}.env")
    causes += _mounts(_items(container.get("volumeMounts")), f"{at}.volumeMounts", volumes)
    if container.get("imagePullPolicy") not in (None, *_PULL_POLICIES):
        causes.append(unsupported(f"{at}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES))
    causes += _resources(_map(container.get("resources")), f"{at}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            causes += _probe(_map(container[probe]), f"{at}.{probe}")
    return causes


def _port_range(field: str, port: Any) -> list[Cause]:
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
            causes += _each(f"{field}.name", name, problems)
            if not problems and name in names:
                causes.append(duplicate(f"{field}.name", name))
            names.add(name)
        if not port.get("containerPort"):
            causes.append(required(f"{field}.containerPort"))
        else:
            causes += _port_range(f"{field}.containerPort", port["containerPort"])
        if port.get("hostPort"):
            causes += _port_range(f"{field}.hostPort", port["hostPort"])
        if not port.get("protocol"):
            causes.append(required(f"{field}.protocol"))
        elif port["protocol"] not in _PROTOCOLS:
            causes.append(unsupported(f"{field}.protocol", port["protocol"], _PROTOCOLS))
    return causes


_ENV_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def _environment(env: list[dict[str, Any]], at: str) -> list[Cause]:
    causes: list[Cause] = []
    for number, item in enumerate(env):
        field, name = f"{at}[{number}]", item.get("name") or ""
        if not name:
            causes.append(required(f"{field}.name"))
        else:
            causes += _each(f"{field}.name", name, syntax.env_name(name))
        source = item.get("valueFrom")
        if source is None:
            continue
        given = [key for key in _ENV_SOURCES if _map(source).get(key) is not None]
        if item.get("value"):
            causes.append(invalid(f"{field}.valueFrom", "", "may not be specified when `value` is not empty"))
        elif not given:
            *most, last = (f"`{key}`" for key in _ENV_SOURCES)
            why = f"must specify one of: {', '.join(most)}, or {last}"
            causes.append(invalid(f"{field}.valueFrom", "", why))
        elif len(given) > 1:
            causes.append(invalid(f"{field}.valueFrom", "", "may not have more than one field specified at a time"))
        for key in ("configMapKeyRef", "secretKeyRef"):
            ref = _map(_map(source).get(key))
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
            causes.append(Cause(f"{field}.name", "FieldValueNotFound", f"Not found: {_show(name)}"))
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
    return causes + [cause for key in numbers for cause in _not_negative(f"{at}.{key}", probe.get(key))]


def _not_negative(field: str, value: Any) -> list[Cause]:
    if isinstance(value, int | float) and value < 0:
        return [invalid(field, value, "must be greater than or equal to 0")]
    return []


def _resources(resources: Mapping[str, Any], at: str) -> list[Cause]:
    limits, requests = _map(resources.get("limits")), _map(resources.get("requests"))
    causes = [c for part in ("limits", "requests") for c in _amounts(_map(resources.get(part)), f"{at}.{part}")]
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
        yield from _each(field, name, syntax.qualified(name))
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


def _pod(obj: Obj) -> list[Cause]:
    return pod_spec(_map(obj.get("spec")), "spec")


# --- workloads ----------------------------------------------------------------------------------------------------


def _template(obj: Obj, policies: tuple[str, ...]) -> list[Cause]:
    template = _map(_map(obj.get("spec")).get("template"))
    at = "spec.template"
    causes = labels(_map(_map(template.get("metadata")).get("labels")), f"{at}.labels")
    spec = _map(template.get("spec"))
    causes += pod_spec(spec, f"{at}.spec")
    policy = spec.get("restartPolicy")
    if policy in _RESTART_POLICIES and policy not in policies:
        if len(policies) == 1:
            causes.append(unsupported(f"{at}.spec.restartPolicy", policy, policies))
        else:
            listed = ", ".join(json.dumps(item) for item in policies)
            causes.append(required(f"{at}.spec.restartPolicy", f"valid values: {listed}"))
    return causes


def _selected(obj: Obj, word: str) -> list[Cause]:
    """The selector of a workload: there is one, and it selects the workload's own pods."""
    spec = _map(obj.get("spec"))
    selector = spec.get("selector")
    if selector is None:
        causes = [required("spec.selector")]
        selector = {}
    else:
        empty = not _map(selector).get("matchLabels") and not _map(selector).get("matchExpressions")
        causes = [invalid("spec.selector", {}, f"empty selector is invalid for {word}")] if empty else []
    causes += labels(_map(_map(selector).get("matchLabels")), "spec.selector.matchLabels")
    found = _map(_map(_map(spec.get("template")).get("metadata")).get("labels"))
    wanted = _map(_map(selector).get("matchLabels"))
    if causes or any(found.get(key) != value for key, value in wanted.items()):
        why = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", dict(found), why))
    return causes


def _deployment(obj: Obj) -> list[Cause]:
    spec = _map(obj.get("spec"))
    causes = [
        c
        for key in ("replicas", "minReadySeconds", "revisionHistoryLimit")
        for c in _not_negative(f"spec.{key}", spec.get(key))
    ]
    causes += _selected(obj, "deployment")
    causes += _template(obj, ("Always",))
    kind = _map(spec.get("strategy")).get("type")
    if kind not in (None, "Recreate", "RollingUpdate"):
        causes.append(unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    if kind == "Recreate" and _map(spec.get("strategy")).get("rollingUpdate") is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden("spec.strategy.rollingUpdate", why))
    return causes


def _replica_set(obj: Obj) -> list[Cause]:
    spec = _map(obj.get("spec"))
    causes = _not_negative("spec.replicas", spec.get("replicas"))
    return causes + _selected(obj, "replicaset") + _template(obj, ("Always",))


def _job(obj: Obj) -> list[Cause]:
    spec = _map(obj.get("spec"))
    numbers = (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "backoffLimitPerIndex",
        "ttlSecondsAfterFinished",
    )
    causes = [cause for key in numbers for cause in _not_negative(f"spec.{key}", spec.get(key))]
    mode = spec.get("completionMode")
    if mode not in (None, "Indexed", "NonIndexed"):
        causes.append(unsupported("spec.completionMode", mode, ("Indexed", "NonIndexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.append(required("spec.completions", "when completion mode is Indexed"))
    return causes + _template(obj, ("OnFailure", "Never"))


# --- services and configuration -----------------------------------------------------------------------------------

_SERVICE_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _service(obj: Obj) -> list[Cause]:
    spec = _map(obj.get("spec"))
    kind, ports = spec.get("type"), _items(spec.get("ports"))
    causes: list[Cause] = []
    if not ports and spec.get("clusterIP") != "None" and kind != "ExternalName":
        causes.append(required("spec.ports"))
    if kind == "ExternalName" and not spec.get("externalName"):
        causes.append(required("spec.externalName"))
    names: set[str] = set()
    pairs: set[tuple[Any, Any]] = set()
    for number, port in enumerate(ports):
        field = f"spec.ports[{number}]"
        causes += _service_port(port, field, names, needs_name=len(ports) > 1)
        pair = (port.get("port"), port.get("protocol"))
        if pair in pairs:
            causes.append(duplicate(field, {key: port[key] for key in ("protocol", "port") if key in port}))
        pairs.add(pair)
    causes += labels(_map(spec.get("selector")), "spec.selector")
    if spec.get("sessionAffinity") not in (None, "ClientIP", "None"):
        causes.append(unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None")))
    if kind not in (None, *_SERVICE_TYPES):
        causes.append(unsupported("spec.type", kind, _SERVICE_TYPES))
    return causes


def _service_port(port: dict[str, Any], field: str, names: set[str], *, needs_name: bool) -> list[Cause]:
    causes: list[Cause] = []
    name = port.get("name") or ""
    if needs_name and not name:
        causes.append(required(f"{field}.name"))
    elif name:
        causes += _each(f"{field}.name", name, syntax.label(name))
        if name in names:
            causes.append(duplicate(f"{field}.name", name))
        names.add(name)
    causes += _port_range(f"{field}.port", port.get("port", 0))
    if port.get("protocol") not in (None, *_PROTOCOLS):
        causes.append(unsupported(f"{field}.protocol", port["protocol"], _PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, int):
        causes += _port_range(f"{field}.targetPort", target)
    elif target:
        causes += _each(f"{field}.targetPort", target, syntax.port_name(str(target)))
    return causes


def _config_map(obj: Obj) -> list[Cause]:
    data, binary = _map(obj.get("data")), _map(obj.get("binaryData"))
    causes: list[Cause] = []
    for part, found in (("data", data), ("binaryData", binary)):
        for key in found:
            causes += _each(f"{part}[{key}]", key, syntax.config_key(key))
    for key in data.keys() & binary.keys():
        causes.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    size = sum(len(str(value).encode()) for value in data.values()) + sum(len(v) * 3 // 4 for v in binary.values())
    if size > MAX_DATA:
        causes.append(Cause("[]", "FieldValueTooLong", f"Too long: may not be more than {MAX_DATA} bytes"))
    return causes


_SECRET_KEYS: Final = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def _secret(obj: Obj) -> list[Cause]:
    data = _map(obj.get("data"))
    causes = [cause for key in data for cause in _each(f"data[{key}]", key, syntax.config_key(key))]
    if sum(len(value) * 3 // 4 for value in data.values() if isinstance(value, str)) > MAX_DATA:
        causes.append(Cause("data", "FieldValueTooLong", f"Too long: may not be more than {MAX_DATA} bytes"))
    wanted = _SECRET_KEYS.get(str(obj.get("type")), ())
    return causes + [required(f"data[{key}]") for key in wanted if key not in data]


_ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _claim(obj: Obj) -> list[Cause]:
    spec = _map(obj.get("spec"))
    modes = spec.get("accessModes") or ()
    causes = [] if modes else [required("spec.accessModes", "at least 1 access mode is required")]
    causes += [unsupported("spec.accessModes", m, _ACCESS_MODES) for m in modes if m not in _ACCESS_MODES]
    storage = _map(_map(spec.get("resources")).get("requests")).get("storage")
    if storage is None:
        causes.append(required("spec.resources[storage]"))
    else:
        try:
            if quantities.parse(storage) <= 0:
                causes.append(invalid("spec.resources[storage]", str(storage), "must be greater than zero"))
        except UsageError as error:
            causes.append(invalid("spec.resources[storage]", storage, error.message))
    return causes


def _definition(obj: Obj) -> list[Cause]:
    spec, name = _map(obj.get("spec")), _map(obj.get("metadata")).get("name") or ""
    names = _map(spec.get("names"))
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    causes = []
    if name != wanted:
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    causes += [required(f"spec.{key}") for key in ("group", "scope") if not spec.get(key)]
    causes += [required(f"spec.names.{key}") for key in ("plural", "kind") if not names.get(key)]
    if spec.get("scope") not in (None, "", "Cluster", "Namespaced"):
        causes.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    versions = _items(spec.get("versions"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        causes.append(
            invalid(
                "spec.versions",
                [v.get("name") for v in versions],
                "must have exactly one version marked as storage version",
            )
        )
    for number, version in enumerate(versions):
        if not _map(_map(version.get("schema")).get("openAPIV3Schema")):
            causes.append(required(f"spec.versions[{number}].schema.openAPIV3Schema", "schemas are required"))
    return causes


_RULES: Final[Mapping[Kind, Callable[[Obj], list[Cause]]]] = {
    kinds.POD: _pod,
    kinds.DEPLOYMENT: _deployment,
    kinds.REPLICA_SET: _replica_set,
    kinds.JOB: _job,
    kinds.SERVICE: _service,
    kinds.CONFIG_MAP: _config_map,
    kinds.SECRET: _secret,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.CUSTOM_RESOURCE_DEFINITION: _definition,
}


def of_kind(kind: Kind, obj: Obj) -> list[Cause]:
    """Rules of one kind beyond its metadata; empty for kinds without any."""
    rules = _RULES.get(kind)
    return [] if rules is None else rules(obj)
