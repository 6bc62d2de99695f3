"""The roles in hub_config/rbac, given to users of a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from bed.api import Api

RBAC = Path(__file__).parents[2] / "hub_config" / "rbac"


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
