"""The roles of hub_config/rbac as data: which of them holds a right, and the command by which it is given.

Pure. The manifests are what an administrator applies; a test keeps them and this table the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf import kinds

_ACCOUNT: Final = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class Right:
    """Something that an account may or may not do; ``subresource`` as in ``pods/log``."""

    verb: str
    group: str
    plural: str
    subresource: str = ""
    everywhere: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.plural}{'/' + self.subresource if self.subresource else ''}"


def _rights(group: str, plurals: Iterable[str], verbs: str, subresource: str = "") -> tuple[Right, ...]:
    return tuple(Right(verb, group, plural, subresource) for plural in plurals for verb in verbs.split())


_KUBEFLOW: Final = kinds.PYTORCH_JOB.group
_JOBS: Final = tuple(dict.fromkeys(kind.plural for kind in kinds.TRAINING))

ROLES: Final[Mapping[str, tuple[Right, ...]]] = {
    "kf-viewer": (
        *_rights(_KUBEFLOW, _JOBS, "get list watch"),
        *_rights("", ["pods"], "list watch"),
        *_rights("", ["pods"], "get", "log"),
        *_rights("", ["events"], "list"),
        *_rights("", ["configmaps"], "get"),
    ),
    "kf-trainer": (
        *_rights(_KUBEFLOW, _JOBS, "create update patch delete"),
        *_rights("", ["configmaps"], "create list patch delete"),
    ),
    "kf-results": (
        *_rights("", ["persistentvolumeclaims"], "create get list patch delete"),
        *_rights("", ["pods"], "create get delete"),
    ),
    "kf-studies": (
        *_rights(_KUBEFLOW, ["experiments"], "create get list watch patch delete"),
        *_rights(_KUBEFLOW, ["trials"], "get list watch"),
        *_rights(_KUBEFLOW, ["trials"], "patch", "status"),
        *_rights(kinds.JOB.group, ["jobs"], "get delete"),
    ),
    "kf-serving": (
        *_rights(kinds.SELDON_DEPLOYMENT.group, ["seldondeployments"], "create get list watch patch delete"),
        *_rights(kinds.INFERENCE_SERVICE.group, ["inferenceservices"], "get list watch"),
        *_rights(kinds.DEPLOYMENT.group, ["deployments"], "list watch"),
        *_rights(kinds.VIRTUAL_SERVICE.group, ["virtualservices"], "get list watch"),
        *_rights("", ["services"], "create get", "proxy"),
        *_rights("", ["pods"], "get", "proxy"),
    ),
    "kf-monitoring": (
        *_rights(kinds.DEPLOYMENT.group, ["deployments"], "create get patch delete"),
        *_rights("", ["services"], "create patch delete"),
        *_rights("", ["serviceaccounts"], "get"),
    ),
    "kf-kernels": (
        *_rights(kinds.JOB.group, ["jobs"], "create patch delete"),
        *_rights("", ["secrets"], "create"),
    ),
}
"""What each role of a user allows; those of the hub's own account are the hub's affair."""


def holding(rights: Iterable[Right]) -> list[str]:
    """The roles that have these rights between them, in the table's order; a right that none has is passed over."""
    wanted = set(rights)
    return [name for name, has in ROLES.items() if wanted & set(has)]


def binding(role: str, user: str, namespace: str) -> str:
    """The command by which an administrator gives a role, which is there, to an account."""
    if user.startswith(_ACCOUNT):
        subject = f"--serviceaccount={user.removeprefix(_ACCOUNT)}"
    else:
        subject = f"--user={shlex.quote(user) if user else 'USER'}"
    name = re.sub(r"[^a-z0-9]+", "-", user.removeprefix(_ACCOUNT).lower()).strip("-")
    return f"kubectl create rolebinding {role}-{name or 'user'} --role={role} {subject} --namespace={namespace}"
