"""What a container's process gets: arguments, environment, working directory. Pure; the worker looks things up.

Owns `$(VAR)` expansion, `valueFrom` and `envFrom`, the downward API's values, the rewriting of mount paths (nothing can
be mounted for a plain process) and the few machine defaults that let frameworks talk over the loopback device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, TypeAlias

from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.quantities import parse as quantity

Lookup: TypeAlias = Callable[[str], Obj | None]
"""A ConfigMap or Secret of the pod's namespace by name."""


class ConfigError(KubeflowError):
    """A container cannot be configured: reason CreateContainerConfigError, the kubelet's message."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from."""

    config_map: Lookup
    secret: Lookup
    """Its ``data`` already decoded to text by the one who looks up."""
    allocatable: Mapping[str, str]
    host_ip: str
    pod_ip: str


_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Kubernetes' `$(VAR)`: a known name is replaced, an unknown one stays, `$$` is a dollar sign."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def declared(container: Mapping[str, Any], pod: Obj, sources: Sources) -> dict[str, str]:
    """The environment that the manifest asks for, in its order.

    Raises:
        ConfigError: it refers to something that is not there.
    """
    env: dict[str, str] = {}
    for item in container.get("envFrom") or ():
        env |= _from_all(item, pod, sources)
    for item in container.get("env") or ():
        name = str(item["name"])
        if item.get("valueFrom"):
            value = _from_one(item["valueFrom"], container, pod, sources)
            if value is not None:
                env[name] = value
        else:
            env[name] = expand(str(item.get("value") or ""), env)
    return env


def _from_all(item: Mapping[str, Any], pod: Obj, sources: Sources) -> dict[str, str]:
    prefix = str(item.get("prefix") or "")
    for field, word, lookup in (
        ("configMapRef", "configmap", sources.config_map),
        ("secretRef", "secret", sources.secret),
    ):
        ref = item.get(field)
        if not ref:
            continue
        found = lookup(str(ref.get("name", "")))
        if found is None:
            if ref.get("optional"):
                return {}
            raise ConfigError(f'{word} "{ref.get("name", "")}" not found')
        return {prefix + key: str(value) for key, value in (found.get("data") or {}).items()}
    raise ConfigError(f"an envFrom entry of pod {meta(pod).get('name')} names neither a ConfigMap nor a Secret")


def _from_one(source: Mapping[str, Any], container: Mapping[str, Any], pod: Obj, sources: Sources) -> str | None:
    if ref := source.get("fieldRef"):
        return field_value(str(ref["fieldPath"]), pod, sources)
    if ref := source.get("resourceFieldRef"):
        return resource_value(ref, container, pod, sources)
    for field, word, title, lookup in (
        ("configMapKeyRef", "configmap", "ConfigMap", sources.config_map),
        ("secretKeyRef", "secret", "Secret", sources.secret),
    ):
        ref = source.get(field)
        if not ref:
            continue
        found = lookup(str(ref["name"]))
        if found is None:
            if ref.get("optional"):
                return None
            raise ConfigError(f'{word} "{ref["name"]}" not found')
        data = found.get("data") or {}
        if ref["key"] not in data:
            if ref.get("optional"):
                return None
            raise ConfigError(f"couldn't find key {ref['key']} in {title} {meta(pod).get('namespace')}/{ref['name']}")
        return str(data[ref["key"]])
    raise ConfigError(f"valueFrom of kind {', '.join(source)} is not supported by this node")


_SUBSCRIPT: Final = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


def field_value(path: str, pod: Obj, sources: Sources) -> str:
    """A downward API field.

    Raises:
        ConfigError: there is no such field.
    """
    given, spec = meta(pod), pod.get("spec") or {}
    simple = {
        "metadata.name": given.get("name"),
        "metadata.namespace": given.get("namespace"),
        "metadata.uid": given.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": sources.host_ip,
        "status.hostIPs": sources.host_ip,
        "status.podIP": sources.pod_ip,
        "status.podIPs": sources.pod_ip,
    }
    if path in simple:
        return str(simple[path] or "")
    if path == "metadata.labels":
        return _lines(labels(pod))
    if path == "metadata.annotations":
        return _lines(meta(pod).get("annotations") or {})
    if match := _SUBSCRIPT.fullmatch(path):
        return str((meta(pod).get(match[1]) or {}).get(match[2], ""))
    raise ConfigError(f"unsupported fieldPath: {path}")


def _lines(values: Mapping[str, str]) -> str:
    quoted = (f'{key}="{_escape(value)}"' for key, value in sorted(values.items()))
    return "\n".join(quoted)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(ref: Mapping[str, Any], container: Mapping[str, Any], pod: Obj, sources: Sources) -> str:
    """A downward API resource: a limit that is not set is what the node has.

    Raises:
        ConfigError: there is no such container.
    """
    name = ref.get("containerName")
    if name:
        spec = pod.get("spec") or {}
        every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        found = next((c for c in every if c["name"] == name), None)
        if found is None:
            raise ConfigError(f"container {name} not found")
        container = found
    kind, _, resource = str(ref["resource"]).partition(".")
    value = ((container.get("resources") or {}).get(kind) or {}).get(resource)
    if value is None:
        value = sources.allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = quantity(ref.get("divisor") or "0") or Decimal(1)
    return str((quantity(value) / divisor).to_integral_value(ROUND_CEILING))


# ---------------------------------------------------------------------------------------------------------------------
# Mount paths


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a mount path really is."""

    path: str
    real: str


def rewrite_paths(text: str, mounts: Sequence[Mount]) -> str:
    """A text in which every path under a mount path begins with the real folder instead."""
    for mount in sorted(mounts, key=lambda m: -len(m.path)):
        if mount.path not in text:
            continue
        pattern = rf"(?:(?<=file://)|(?<![\w.\-/~$}}])){re.escape(mount.path)}(?=$|[/\s:;,'\"`)\]}}&|<>=])"
        text = re.sub(pattern, mount.real.replace("\\", r"\\"), text)
    return text


# ---------------------------------------------------------------------------------------------------------------------
# Machine defaults


def machine_defaults(env: Mapping[str, str], *, pod_ip: str, root: bool, linux: bool) -> dict[str, str]:
    """What frameworks need on one machine, where the pod does not say otherwise: the loopback device, ranks at will."""
    values = {
        "PYTHONUNBUFFERED": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
    }
    if linux:
        values |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "TP_SOCKET_IFNAME": "lo"}
        if "OMPI_MCA_btl_tcp_if_exclude" not in env:
            values["OMPI_MCA_btl_tcp_if_include"] = "lo"
    if root:
        values |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        values |= {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if hostfile := env.get("OMPI_MCA_orte_default_hostfile"):
        # Open MPI 5 reads only the new name, and would silently start everything on one slot.
        values["PRTE_MCA_prte_default_hostfile"] = hostfile
    if "DMLC_ROLE" in env and pod_ip:
        values["DMLC_NODE_HOST"] = pod_ip
    return {name: value for name, value in values.items() if name not in env}


def thread_default(container: Mapping[str, Any]) -> dict[str, str]:
    """A CPU limit that cannot be enforced at least decides how many threads numerical libraries start."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("cpu")
    return {"OMP_NUM_THREADS": str(max(1, int(quantity(limit))))} if limit else {}
