"""Which namespace is the user's own on a cluster with Kubeflow's profiles.

A Profile is a namespace that belongs to somebody: its ``spec.owner`` names the user, and its controller annotates the
namespace with the same. Asked only where neither the user nor the kubeconfig names a namespace. Who may see neither
profiles nor namespaces gets no answer, which is not an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta

PROFILE: Final = Kind("kubeflow.org", "v1", "Profile", "profiles", namespaced=False, custom=True)
PART_OF: Final = "app.kubernetes.io/part-of=kubeflow-profile"
_REVIEW: Final = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


async def of_user(client: Client) -> str:
    """The namespace of the user's oldest profile, or empty.

    Raises:
        UnreachableError: nobody answers.
    """
    try:
        profiles = await client.list(PROFILE)
    except ApiError:  # not a cluster with Kubeflow's profiles, or not ours to see
        profiles = []
    try:
        spaces = [] if profiles else await client.list(kinds.NAMESPACE, selector=PART_OF)
        if not profiles and not spaces:
            return ""
        user = await whoami(client)
    except ApiError:
        return ""
    return _first([*(one for one in profiles if _owner(one) == user), *(one for one in spaces if _owner(one) == user)])


async def whoami(client: Client) -> str:
    """The name that the cluster knows the user by; empty where it does not say.

    Raises:
        ApiError: it refuses to say.
    """
    said = await client.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=_REVIEW, repeat=True)
    info: Any = ((said.get("status") or {}).get("userInfo")) or {}
    return str(info.get("username") or "")


def _owner(obj: Obj) -> str:
    if obj.get("kind") == "Profile":
        return str(((obj.get("spec") or {}).get("owner") or {}).get("name") or "")
    return str((meta(obj).get("annotations") or {}).get("owner") or "")


def _first(found: Iterable[Obj]) -> str:
    ordered = sorted(found, key=lambda one: (str(meta(one).get("creationTimestamp")), str(meta(one).get("name"))))
    return str(meta(ordered[0])["name"]) if ordered else ""
