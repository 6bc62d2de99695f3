"""The roles in hub_config/rbac, given to users of a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from bed.api import Api, ApiStatusError, until

RBAC = Path(__file__).parents[2] / "hub_config" / "rbac"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def role(name: str) -> dict[str, Any]:
    """The shipped role."""
    found: dict[str, Any] = yaml.safe_load((RBAC / f"{name}.yaml").read_text())
    return found


def _bind(api: Api, namespace: str, user: str, *names: str) -> None:
    """Let a user do in a namespace what roles that are there say."""
    for name in names:
        api.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{name}-{user}", "namespace": namespace},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": role(name)["metadata"]["name"],
                },
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            }
        )


def give(api: Api, namespace: str, user: str, *names: str) -> None:
    """Put roles into a namespace, and let a user do what they say."""
    for name in names:
        made = role(name)
        api.create({**made, "metadata": {**made["metadata"], "namespace": namespace}})
    _bind(api, namespace, user, *names)


def restrict(api: Api, namespace: str) -> None:
    """Have a namespace enforce Pod Security ``restricted``: whoever judges hears of a label a moment later."""
    api.merge("v1", "Namespace", namespace, {"metadata": {"labels": RESTRICTED}}, "")
    container = {"name": "main", "image": "x", "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}

    def refuses() -> bool:
        try:
            api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        except ApiStatusError as error:
            return "violates PodSecurity" in error.message
        return False

    until(refuses, seconds=60, what="refusals")
