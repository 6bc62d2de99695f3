"""Rules of core kinds that no schema says: names and labels, services, workloads, configuration, claims.

One function a kind answers causes with the reasons and sentences of a real API server, in its order. The rules are
those that people and controllers run into; what the embedded cluster never looks at is left to a real cluster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.embedded.apiserver import autoscaling, podrules, syntax
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
    unsupported,
)
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

MAX_ANNOTATIONS: Final = 256 * 1024
MAX_DATA: Final = 1024 * 1024
_STANDARD_FINALIZERS: Final = ("kubernetes", "foregroundDeletion", "orphan")


# --- metadata -----------------------------------------------------------------------------------------------------

_LABEL_NAMES: Final = (kinds.NAMESPACE, kinds.SERVICE)


def metadata(kind: Kind, obj: Obj) -> list[Cause]:
    """Rules of ``metadata``, the same for every kind but for the syntax of the name."""
    meta = mapping(obj.get("metadata"))
    name = meta.get("name") or ""
    if not name:
        causes = [required("metadata.name", "name or generateName is required")]
    else:
        rule = syntax.label if kind in _LABEL_NAMES else syntax.subdomain
        causes = each("metadata.name", name, rule(name))
    causes += labels(mapping(meta.get("labels")), "metadata.labels")
    annotations = mapping(meta.get("annotations"))
    for key in annotations:
        causes += each("metadata.annotations", key, syntax.qualified(key.lower()))
    if sum(len(key) + len(str(value)) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        message = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", message))
    return causes + _owners(items(meta.get("ownerReferences"))) + _finalizers(meta.get("finalizers") or ())


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
        found = each(field, name, syntax.qualified(str(name)))
        if not found and "/" not in str(name) and name not in _STANDARD_FINALIZERS:
            found = [invalid(field, name, "name is neither a standard finalizer name nor is it fully qualified")]
        causes += found
    return causes


# --- workloads ----------------------------------------------------------------------------------------------------


def _template(obj: Obj, policies: tuple[str, ...]) -> list[Cause]:
    template = mapping(mapping(obj.get("spec")).get("template"))
    at = "spec.template"
    causes = labels(mapping(mapping(template.get("metadata")).get("labels")), f"{at}.labels")
    spec = mapping(template.get("spec"))
    causes += podrules.pod_spec(spec, f"{at}.spec")
    policy = spec.get("restartPolicy")
    if policy in podrules.RESTART_POLICIES and policy not in policies:
        if len(policies) == 1:
            causes.append(unsupported(f"{at}.spec.restartPolicy", policy, policies))
        else:
            listed = ", ".join(json.dumps(item) for item in policies)
            causes.append(required(f"{at}.spec.restartPolicy", f"valid values: {listed}"))
    return causes


def _selected(obj: Obj, word: str) -> list[Cause]:
    """The selector of a workload: there is one, and it selects the workload's own pods."""
    spec = mapping(obj.get("spec"))
    selector = spec.get("selector")
    if selector is None:
        causes = [required("spec.selector")]
        selector = {}
    else:
        empty = not mapping(selector).get("matchLabels") and not mapping(selector).get("matchExpressions")
        causes = [invalid("spec.selector", {}, f"empty selector is invalid for {word}")] if empty else []
    causes += labels(mapping(mapping(selector).get("matchLabels")), "spec.selector.matchLabels")
    found = mapping(mapping(mapping(spec.get("template")).get("metadata")).get("labels"))
    wanted = mapping(mapping(selector).get("matchLabels"))
    if causes or any(found.get(key) != value for key, value in wanted.items()):
        why = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", dict(found), why))
    return causes


def _deployment(obj: Obj) -> list[Cause]:
    spec = mapping(obj.get("spec"))
    causes = [
        c
        for key in ("replicas", "minReadySeconds", "revisionHistoryLimit")
        for c in not_negative(f"spec.{key}", spec.get(key))
    ]
    causes += _selected(obj, "deployment")
    causes += _template(obj, ("Always",))
    kind = mapping(spec.get("strategy")).get("type")
    if kind not in (None, "Recreate", "RollingUpdate"):
        causes.append(unsupported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    if kind == "Recreate" and mapping(spec.get("strategy")).get("rollingUpdate") is not None:
        why = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden("spec.strategy.rollingUpdate", why))
    return causes


def _replica_set(obj: Obj) -> list[Cause]:
    spec = mapping(obj.get("spec"))
    causes = not_negative("spec.replicas", spec.get("replicas"))
    return causes + _selected(obj, "replicaset") + _template(obj, ("Always",))


def _job(obj: Obj) -> list[Cause]:
    spec = mapping(obj.get("spec"))
    numbers = (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "backoffLimitPerIndex",
        "ttlSecondsAfterFinished",
    )
    causes = [cause for key in numbers for cause in not_negative(f"spec.{key}", spec.get(key))]
    mode = spec.get("completionMode")
    if mode not in (None, "Indexed", "NonIndexed"):
        causes.append(unsupported("spec.completionMode", mode, ("Indexed", "NonIndexed")))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.append(required("spec.completions", "when completion mode is Indexed"))
    return causes + _template(obj, ("OnFailure", "Never"))


# --- services and configuration -----------------------------------------------------------------------------------

_SERVICE_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _service(obj: Obj) -> list[Cause]:
    spec = mapping(obj.get("spec"))
    kind, ports = spec.get("type"), items(spec.get("ports"))
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
    causes += labels(mapping(spec.get("selector")), "spec.selector")
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
        causes += each(f"{field}.name", name, syntax.label(name))
        if name in names:
            causes.append(duplicate(f"{field}.name", name))
        names.add(name)
    causes += podrules.port_range(f"{field}.port", port.get("port", 0))
    if port.get("protocol") not in (None, *podrules.PROTOCOLS):
        causes.append(unsupported(f"{field}.protocol", port["protocol"], podrules.PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, int):
        causes += podrules.port_range(f"{field}.targetPort", target)
    elif target:
        causes += each(f"{field}.targetPort", target, syntax.port_name(str(target)))
    return causes


def _config_map(obj: Obj) -> list[Cause]:
    data, binary = mapping(obj.get("data")), mapping(obj.get("binaryData"))
    causes: list[Cause] = []
    for part, found in (("data", data), ("binaryData", binary)):
        for key in found:
            causes += each(f"{part}[{key}]", key, syntax.config_key(key))
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
    data = mapping(obj.get("data"))
    causes = [cause for key in data for cause in each(f"data[{key}]", key, syntax.config_key(key))]
    if sum(len(value) * 3 // 4 for value in data.values() if isinstance(value, str)) > MAX_DATA:
        causes.append(Cause("data", "FieldValueTooLong", f"Too long: may not be more than {MAX_DATA} bytes"))
    wanted = _SECRET_KEYS.get(str(obj.get("type")), ())
    return causes + [required(f"data[{key}]") for key in wanted if key not in data]


_ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _claim(obj: Obj) -> list[Cause]:
    spec = mapping(obj.get("spec"))
    modes = spec.get("accessModes") or ()
    causes = [] if modes else [required("spec.accessModes", "at least 1 access mode is required")]
    causes += [unsupported("spec.accessModes", m, _ACCESS_MODES) for m in modes if m not in _ACCESS_MODES]
    storage = mapping(mapping(spec.get("resources")).get("requests")).get("storage")
    if storage is None:
        causes.append(required("spec.resources[storage]"))
    else:
        try:
            if quantities.parse(storage) <= 0:
                causes.append(invalid("spec.resources[storage]", str(storage), "must be greater than zero"))
        except UsageError as error:
            causes.append(invalid("spec.resources[storage]", storage, error.message))
    return causes


def _event(obj: Obj) -> list[Cause]:
    """An event is where its object is; of one that has no namespace, in ``default``."""
    about = mapping(obj.get("involvedObject")).get("namespace") or ""
    mine = mapping(obj.get("metadata")).get("namespace") or ""
    if mine == (about or "default"):
        return []
    return [invalid("involvedObject.namespace", about, "does not match event.namespace")]


def _definition(obj: Obj) -> list[Cause]:
    spec, name = mapping(obj.get("spec")), mapping(obj.get("metadata")).get("name") or ""
    names = mapping(spec.get("names"))
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    causes = []
    if name != wanted:
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    causes += [required(f"spec.{key}") for key in ("group", "scope") if not spec.get(key)]
    causes += [required(f"spec.names.{key}") for key in ("plural", "kind") if not names.get(key)]
    if spec.get("scope") not in (None, "", "Cluster", "Namespaced"):
        causes.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    versions = items(spec.get("versions"))
    if sum(1 for version in versions if version.get("storage")) != 1:
        causes.append(
            invalid(
                "spec.versions",
                [v.get("name") for v in versions],
                "must have exactly one version marked as storage version",
            )
        )
    for number, version in enumerate(versions):
        if not mapping(mapping(version.get("schema")).get("openAPIV3Schema")):
            causes.append(required(f"spec.versions[{number}].schema.openAPIV3Schema"))
    return causes


_RULES: Final[Mapping[Kind, Callable[[Obj], list[Cause]]]] = {
    kinds.POD: podrules.pod,
    kinds.DEPLOYMENT: _deployment,
    kinds.REPLICA_SET: _replica_set,
    kinds.JOB: _job,
    kinds.SERVICE: _service,
    kinds.CONFIG_MAP: _config_map,
    kinds.SECRET: _secret,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.HORIZONTAL_POD_AUTOSCALER: autoscaling.autoscaler,
    kinds.POD_DISRUPTION_BUDGET: autoscaling.budget,
    kinds.EVENT: _event,
    kinds.CUSTOM_RESOURCE_DEFINITION: _definition,
}


def of_kind(kind: Kind, obj: Obj) -> list[Cause]:
    """Rules of one kind beyond its metadata; empty for kinds without any."""
    rules = _RULES.get(kind)
    return [] if rules is None else rules(obj)
