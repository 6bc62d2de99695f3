"""Object names and labels: valid, collision-free, and the words this project writes on objects.

Owns the prefix of our labels and annotations and the rules of RFC 1123 as Kubernetes applies them. Pure: randomness
is handed in. Refuses to "repair" a name that a user chose: it is accepted as it is or rejected with the reason.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from jupyterlab_kf.errors import UsageError

DOMAIN: Final = "jupyterlab-kf.io"
FIELD_MANAGER: Final = "jupyterlab-kf"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_SUBMISSION: Final = f"{DOMAIN}/submission"
"""The same value for every attempt of one submit: a retry finds what the first attempt made."""
LABEL_JOB: Final = f"{DOMAIN}/job"
"""On everything made beside a job (bundle, volume, reader pod): the job's name."""
ANNOTATION_PROVENANCE: Final = f"{DOMAIN}/provenance"
"""JSON: what a job ran (code hash, git commit, packages, image, parameters)."""
ANNOTATION_PORTS: Final = f"{DOMAIN}/ports"
"""JSON, written by the embedded node: declared container port -> port given out on this machine."""
ANNOTATION_MOVABLE: Final = f"{DOMAIN}/ports-may-move"
"""On a pod whose program is told where to listen: on one machine its ports are others than the declared ones.

Whoever wants a port at all addresses of the machine, as many servers do, is refused while any one address has it.
"""
ANNOTATION_ADDRESS: Final = f"{DOMAIN}/address"
"""On the gateway's Service on one machine: the URL at which its clients find it."""
ANNOTATION_ENVIRONMENT: Final = f"{DOMAIN}/environment"
"""Written by the embedded node on a pod: which Python environment its image name stands for."""
ANNOTATION_TELLS_PACKAGES: Final = f"{DOMAIN}/tells-packages"
"""On a node that answers ``GET .../nodes/NAME/proxy/packages?image=IMAGE``."""

ANNOTATION_SLEEP: Final = f"{DOMAIN}/sleep"
"""JSON on a Deployment that goes to zero replicas when nobody asks it, and comes back with the next request.

``after``: seconds without a request; ``replicas``: how many come back.
"""

MAX_JOB_NAME: Final = 52
"""Leaves room in 63 characters for ``-<role>-<index>``, which becomes a pod's name and host name."""

_MAX_LABEL: Final = 63
_MAX_OBJECT: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_job_name(name: str) -> str:
    """The name, if every cluster accepts it for a job; RFC 1035 label of at most 52 characters.

    Raises:
        UsageError: it is empty, too long, or has a character that Kubernetes refuses.
    """
    if not isinstance(name, str):
        raise UsageError(f"a name is a text, not {name!r}")
    if not name:
        raise UsageError("the name is empty", hint="give one like --name digits, or leave --name out")
    if len(name) > MAX_JOB_NAME:
        raise UsageError(
            f"the name {name!r} has {len(name)} characters; a job may have {MAX_JOB_NAME}",
            hint=f"shorten it, for example to {slug(name)!r}",
        )
    if not _LABEL.fullmatch(name) or not name[0].isalpha():
        raise UsageError(
            f"the name {name!r} is not one that Kubernetes accepts: lower-case letters, digits and '-', "
            "beginning with a letter and ending with a letter or digit",
            hint=f"for example {slug(name)!r}",
        )
    return name


def check_namespace(name: str) -> str:
    """The name, if it can be a namespace's: RFC 1123 label of at most 63 characters.

    Raises:
        UsageError: it cannot.
    """
    if len(name) > _MAX_LABEL or not _LABEL.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a namespace: lower-case letters, digits and '-', at most {_MAX_LABEL} characters"
        )
    return name


def is_object_name(name: str) -> bool:
    """Whether an object may have that name: RFC 1123 labels with dots between them, which is safe in a path."""
    return len(name) <= _MAX_OBJECT and all(_LABEL.fullmatch(part) for part in name.split("."))


def check_env_name(name: str) -> str:
    """The name, if it can be an environment variable.

    Raises:
        UsageError: it has a character other than letters, digits and ``_``, or begins with a digit.
    """
    if not _ENV.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of an environment variable")
    return name


def slug(text: str, *, limit: int = MAX_JOB_NAME) -> str:
    """A valid name that resembles the text; equal texts give equal names, and the result is never empty."""
    squeezed = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not squeezed or not squeezed[0].isalpha():
        squeezed = f"job-{squeezed}".rstrip("-")
    if len(squeezed) > limit:
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        squeezed = f"{squeezed[: limit - 7].rstrip('-')}-{digest}"
    return squeezed


def with_suffix(base: str, suffix: str, *, limit: int = 63) -> str:
    """``base-suffix`` within the limit: the base is cut, and a cut base keeps a hash so that two bases never meet."""
    full = f"{base}-{suffix}"
    if len(full) <= limit:
        return full
    digest = hashlib.sha256(base.encode()).hexdigest()[:8]
    keep = limit - len(suffix) - len(digest) - 2
    return f"{base[:keep].rstrip('-')}-{digest}-{suffix}"
