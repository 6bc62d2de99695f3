"""A person's namespace on a cluster: whose it is, what their servers may do there, and who may reach them. Pure.

The hub makes the namespace and gives itself, by a ClusterRole that is bound nowhere else, the right to write there.
People's pods run as an account of that namespace with the roles of ``hub_config/rbac``, never as the hub's. Objects are
applied, so that a second time changes nothing, and a new version of them reaches namespaces that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services.roles import ROLES

ACCOUNT: Final = "notebook"
"""The service account of a person's pods."""
MANAGER: Final = "jupyterlab-kf-hub"
"""Label of what the hub made, and its name as an author of fields."""
OWNER: Final = f"{names.DOMAIN}/owner"
"""Annotation of a namespace: the person's name at the hub."""
HUB_ROLE: Final = "kf-hub-namespace"
"""The ClusterRole that the hub gives itself in each namespace."""
USER_ROLES: Final = tuple(ROLES)
METADATA: Final = ("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32")
"""Where clouds tell machines their credentials: Amazon, Google, Azure and others; Amazon's containers; Alibaba."""
METADATA_6: Final = ("fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128")
_KINDS: Final = {one.kind: one for one in (kinds.SERVICE_ACCOUNT, kinds.ROLE_BINDING, kinds.NETWORK_POLICY)}
_RBAC: Final = kinds.ROLE_BINDING.group
_NAME_LABEL: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class Space:
    """What a namespace is to be.

    Attributes:
        name: its name.
        owner: the person's name at the hub.
        hub: the hub's own name to the cluster, such as ``system:serviceaccount:jupyterhub:hub``.
        roles: ClusterRoles that the person's account gets there.
        admit: namespaces whose pods may reach the person's: the hub's, with its proxy, and the gateway's.
        pod_security: level that is enforced.
    """

    name: str
    owner: str
    hub: str
    roles: Sequence[str] = USER_ROLES
    admit: Sequence[str] = ()
    pod_security: str = "restricted"


def namespace(space: Space) -> Obj:
    """The namespace itself, with its owner and its level of Pod Security."""
    level = {f"pod-security.kubernetes.io/{mode}": space.pod_security for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": space.name,
            "labels": {names.LABEL_MANAGED_BY: MANAGER, **level},
            "annotations": {OWNER: space.owner},
        },
    }


def strange(found: Mapping[str, Any], space: Space) -> str:
    """Why a namespace that is there is not this person's; empty if it is."""
    meta = found.get("metadata") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    if meta.get("deletionTimestamp"):
        return f"the namespace {space.name!r} is being deleted; try again when it is gone"
    if labels.get(names.LABEL_MANAGED_BY) == MANAGER and annotations.get(OWNER) == space.owner:
        return ""
    return (
        f"the namespace {space.name!r} was not made by this hub for {space.owner}; who runs the hub can give it to "
        f"them by the label {names.LABEL_MANAGED_BY}={MANAGER} and the annotation {OWNER}"
    )


def hub_binding(space: Space) -> Obj:
    """The hub's own right to write into the namespace: the first thing in it."""
    account = space.hub.removeprefix("system:serviceaccount:")
    if account != space.hub:
        of, _, name = account.partition(":")
        subject = {"kind": "ServiceAccount", "namespace": of, "name": name}
    else:
        subject = {"kind": "User", "apiGroup": _RBAC, "name": space.hub}
    return _binding(space, HUB_ROLE, HUB_ROLE, subject)


def contents(space: Space) -> list[Obj]:
    """What is in it before the first pod: account, its roles, and network policies."""
    account = {"kind": "ServiceAccount", "namespace": space.name, "name": ACCOUNT}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", **_meta(space, ACCOUNT)},
        *(_binding(space, role, role, account) for role in space.roles),
        *policies(space),
    ]


def policies(space: Space) -> list[Obj]:
    """Who reaches whom: in from the person's own pods, the hub and the gateway; out to all but the clouds' metadata.

    Other people's pods are shut off by their own namespace's first policy, so that what goes out may go anywhere that
    lets it in: stores of data, Katib, the API server.
    """
    admitted = [{"namespaceSelector": {"matchLabels": {_NAME_LABEL: name}}} for name in dict.fromkeys(space.admit)]
    blocks = (("0.0.0.0/0", METADATA), ("::/0", METADATA_6))
    # Pods beside addresses: some networks take addresses for what is outside the cluster only.
    out: list[Obj] = [{"ipBlock": {"cidr": every, "except": list(but)}} for every, but in blocks]
    out.append({"namespaceSelector": {}})
    return [
        _policy(space, "kf-inside", "Ingress", {"ingress": [{"from": [{"podSelector": {}}]}]}),
        *([_policy(space, "kf-admitted", "Ingress", {"ingress": [{"from": admitted}]})] if admitted else []),
        _policy(space, "kf-outside", "Egress", {"egress": [{"to": out}]}),
    ]


def _policy(space: Space, name: str, direction: str, rules: Obj) -> Obj:
    spec = {"podSelector": {}, "policyTypes": [direction], **rules}
    return {"apiVersion": kinds.NETWORK_POLICY.api_version, "kind": "NetworkPolicy", **_meta(space, name), "spec": spec}


def _binding(space: Space, name: str, role: str, subject: Obj) -> Obj:
    return {
        "apiVersion": kinds.ROLE_BINDING.api_version,
        "kind": "RoleBinding",
        **_meta(space, name),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def _meta(space: Space, name: str) -> Obj:
    labels = {names.LABEL_MANAGED_BY: MANAGER}
    return {"metadata": {"name": name, "namespace": space.name, "labels": labels}}


def path(obj: Obj) -> str:
    """Where the API server has an object of :func:`contents`."""
    return _KINDS[obj["kind"]].path(obj["metadata"]["namespace"], obj["metadata"]["name"])


def admitted(hub_namespace: str, others: Iterable[str]) -> tuple[str, ...]:
    """The namespaces that are let in; the hub's only where it runs in the cluster."""
    return tuple(name for name in dict.fromkeys((hub_namespace, *others)) if name)
