"""What a namespace offers to keep files on, as far as the account may see it.

Read before a job is made whose plan depends on it: a claim that does not exist would leave the job waiting for ever.
What may not be seen is not judged.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ForbiddenError, UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.model import meta


@dataclass(frozen=True, slots=True)
class Storage:
    """Where files can be kept in a namespace.

    Attributes:
        namespace: which one.
        claims: each claim's access modes by its name; None where the account may not see claims.
        unable: why no volume would be made for a new claim, as the end of a sentence; empty where one would be, or
            where that is not known.
    """

    namespace: str
    claims: Mapping[str, tuple[str, ...]] | None = None
    unable: str = ""

    def check(self, claims: Iterable[str]) -> None:
        """Refuse claims that are not there.

        Raises:
            UsageError: names the claim, and those that exist.
        """
        for name in claims:
            if self.claims is None or name in self.claims:
                continue
            made = "make one with kubectl, or ask who runs the cluster"
            raise UsageError(
                f"there is no volume claim {name!r} in namespace {self.namespace}",
                hint=frameworks.nearest(name, sorted(self.claims), "there are")
                if self.claims
                else f"there is none at all; {made}",
            )

    def tied(self, claim: str) -> bool:
        """Whether a claim is known to be mounted on one machine at a time only."""
        modes = (self.claims or {}).get(claim)
        return bool(modes) and not {"ReadWriteMany", "ReadOnlyMany"} & set(modes or ())

    def shared(self, claim: str) -> bool:
        """Whether a claim is known to be written by several machines at a time."""
        return "ReadWriteMany" in (self.claims or {}).get(claim, ())


async def look(client: Client, namespace: str) -> Storage:
    """What there is now; nothing is changed."""
    claims, unable = await asyncio.gather(_claims(client, namespace), _unable(client, namespace))
    return Storage(namespace, claims, unable)


async def _claims(client: Client, namespace: str) -> dict[str, tuple[str, ...]] | None:
    try:
        found = await client.list(kinds.PERSISTENT_VOLUME_CLAIM, namespace)
    except ForbiddenError:
        return None
    return {str(meta(one)["name"]): tuple((one.get("spec") or {}).get("accessModes") or ()) for one in found}


async def _unable(client: Client, namespace: str) -> str:
    """A claim is sent for trial: where there is a default StorageClass, the API server fills it in.

    Asking for the classes themselves takes a right in the whole cluster, which users seldom have.
    """
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    trial = {
        "apiVersion": "v1",
        "kind": kinds.PERSISTENT_VOLUME_CLAIM.kind,
        "metadata": {"name": f"kf-trial-{uuid.uuid4().hex[:8]}", "namespace": namespace},
        "spec": spec,
    }
    try:
        made = await client.create(kinds.PERSISTENT_VOLUME_CLAIM, trial, namespace=namespace, dry_run=True)
    except ForbiddenError:
        return f"you may not make volume claims in {namespace}"
    except ApiError:  # whatever is wrong will be told when the claim itself is made
        return ""
    return "" if (made.get("spec") or {}).get("storageClassName") else "this cluster has no default StorageClass"
