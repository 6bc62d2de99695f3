"""Questions that are answered and not kept: who am I, and may I? Pure.

The embedded cluster has one user, who may do everything; whoever is not that user may do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import failures
from jupyterlab_kf.embedded.apiserver.discovery import REVIEWS
from jupyterlab_kf.embedded.apiserver.requests import Target
from jupyterlab_kf.errors import ForbiddenError
from jupyterlab_kf.model import Obj, format_time

USER: Final = "kubernetes-admin"
ANONYMOUS: Final = "system:anonymous"
_GROUPS: Final = ["system:masters", "system:authenticated"]
_EVERYTHING: Final = {
    "incomplete": False,
    "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
    "resourceRules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
}
_NOTHING: Final[Obj] = {"incomplete": False, "nonResourceRules": [], "resourceRules": []}


def answer(group: str, plural: str, review: Obj, *, user: str, now: float) -> Obj:
    """The review with its status, asked by that user."""
    named = REVIEWS[group][plural]
    spec = review.get("spec") or {}
    metadata = {key: value for key, value in (review.get("metadata") or {}).items() if value}
    if named == "SelfSubjectReview":
        metadata["creationTimestamp"] = format_time(now)
    out: Obj = {"kind": named, "apiVersion": f"{group}/v1", "metadata": metadata}
    out["spec"] = {} if named == "SelfSubjectRulesReview" else spec
    if named == "SelfSubjectReview":
        del out["spec"]
    return {**out, "status": _status(named, spec, user)}


def _status(named: str, spec: Mapping[str, Any], user: str) -> Obj:
    admin = user == USER
    info = {"username": user, "uid": user, "groups": _GROUPS if admin else ["system:authenticated"]}
    match named:
        case "SelfSubjectReview":
            return {"userInfo": info}
        case "TokenReview":
            return {"authenticated": True, "user": info}
        case "SelfSubjectRulesReview":
            return _EVERYTHING if admin else _NOTHING
        case "SubjectAccessReview":
            groups = spec.get("groups")
            return {"allowed": spec.get("user") == USER or (isinstance(groups, list) and "system:masters" in groups)}
        case _:
            return {"allowed": admin}


def refused(user: str, verb: str, target: Target) -> ForbiddenError:
    """403 for a request about a resource."""
    kind, subresource = target.kind, target.subresource
    namespace = target.name if kind == kinds.NAMESPACE else target.namespace
    name = "" if verb == "create" else target.name
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    why = f'User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
    return failures.forbidden(kind, name, why)


def refused_path(user: str, verb: str, path: str) -> ForbiddenError:
    """403 for any other path."""
    return failures.shown(ForbiddenError(f'forbidden: User "{user}" cannot {verb} path "{path}"'))
