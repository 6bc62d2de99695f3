"""Looks at a cluster for :mod:`.diagnosis`: reading only, all at once, each question allowed to fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import diagnosis, namespaces, session
from jupyterlab_kf.services.diagnosis import Facts, Report
from jupyterlab_kf.services.roles import Right

_STORAGE_CLASS: Final = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)


def doctor(namespace: str | None = None) -> Report:
    """Look at the cluster in use; it is started if it is our own.

    Args:
        namespace: where the user works; by default where jobs go.

    Raises:
        UnreachableError: nobody answers.
        UnauthorizedError: the credentials are not accepted.
    """
    here = session.current()
    space = namespace or here.namespace
    facts = here.run(lambda client: examine(client, space))
    connection = here.client.connection
    return diagnosis.diagnose(
        facts, cluster=here.choice.name, why=here.choice.why, server=connection.server, namespace=space
    )


async def examine(client: Client, namespace: str) -> Facts:
    """Ask everything that :func:`.diagnosis.diagnose` wants to know; nothing is changed.

    Raises:
        UnreachableError: nobody answers.
        UnauthorizedError: the credentials are not accepted.
    """
    version, skew = await client.clock()
    found = await client.request("GET", "/apis")
    groups = {one["name"]: tuple(v["version"] for v in one["versions"]) for one in found.get("groups") or ()}
    wanted = [f"{kind.group}/{kind.version}" for kind in kinds.TRAINING if kind.version in groups.get(kind.group, ())]
    wanted += [f"kubeflow.org/{v}" for v in groups.get("kubeflow.org", ()) if v.startswith("v1beta")]
    asked = sorted(set(wanted))
    rights = diagnosis.rights()
    served, allowed, user, space, quotas, nodes, classes, deployments, jobs = await asyncio.gather(
        asyncio.gather(*(_attempt(client.request("GET", f"/apis/{one}")) for one in asked)),
        asyncio.gather(*(_may(client, right, namespace) for right in rights)),
        _attempt(namespaces.whoami(client)),
        _space(client, namespace),
        _attempt(client.list(kinds.RESOURCE_QUOTA, namespace)),
        _attempt(client.list(kinds.NODE, shape=shapes.NODE)),
        _attempt(client.list(_STORAGE_CLASS)),
        _attempt(client.list(kinds.DEPLOYMENT)),
        _jobs(client, namespace, groups),
    )
    return Facts(
        version=version,
        skew=skew,
        user=user or "",
        groups=groups,
        resources={
            one: frozenset(entry["name"] for entry in (answer or {}).get("resources") or ())
            for one, answer in zip(asked, served, strict=True)
        },
        rights=dict(zip(rights, allowed, strict=True)),
        namespace=space[0],
        missing=space[1],
        quotas=None if quotas is None else tuple(quotas),
        nodes=None if nodes is None else tuple(nodes),
        classes=None if classes is None else tuple(classes),
        deployments=None if deployments is None else tuple(deployments),
        jobs=jobs,
        now=time.time(),
    )


async def _attempt(work: Awaitable[Any]) -> Any:
    """The answer, or None where the server gives none to this account; nothing of a kind that it does not serve."""
    try:
        return await work
    except NotFoundError:
        return {}
    except KubeflowError:
        return None


async def _may(client: Client, right: Right, namespace: str) -> bool | None:
    attributes = {"verb": right.verb, "group": right.group, "resource": right.plural}
    if right.subresource:
        attributes["subresource"] = right.subresource
    if not right.everywhere:
        attributes["namespace"] = namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = await _attempt(client.request("POST", path, body=body, repeat=True))
    return None if answer is None else bool((answer.get("status") or {}).get("allowed"))


async def _space(client: Client, namespace: str) -> tuple[Obj | None, bool]:
    try:
        return await client.get(kinds.NAMESPACE, "", namespace), False
    except NotFoundError:
        return None, True
    except KubeflowError:
        return None, False


async def _jobs(client: Client, namespace: str, groups: Mapping[str, tuple[str, ...]]) -> tuple[Obj, ...]:
    rows = [kind for kind in kinds.TRAINING if kind.version in groups.get(kind.group, ())]
    found = await asyncio.gather(*(_attempt(client.list(kind, namespace)) for kind in rows))
    return tuple(job for jobs in found for job in jobs or ())
