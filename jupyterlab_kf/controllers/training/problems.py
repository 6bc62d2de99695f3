"""What is wrong with a manifest, in the words of Kubernetes' field errors, and the checks that kinds share.

A problem is the path of a field and the text that follows it in a message of the API server
(``spec.x: Required value: must be specified``). Paths name map keys in brackets, as the real webhooks do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Problem: TypeAlias = tuple[str, str]
"""A field's path and what is wrong with it."""

_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_RULE_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
MANAGERS = ("kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue")
_MAX_LABEL = 63
_MAX_REPLICAS = 1000
"""More pods of one role than one machine can run; a real cluster would take them, and so would a slip of the finger."""


def required(path: str, text: str) -> Problem:
    """A field that must be given."""
    return path, f"Required value: {text}"


def forbidden(path: str, text: str) -> Problem:
    """A field that must not be given, or not with this value."""
    return path, f"Forbidden: {text}"


def invalid(path: str, value: Any, text: str) -> Problem:
    """A value that breaks a rule."""
    return path, f"Invalid value: {json.dumps(value)}: {text}"


def not_supported(path: str, value: Any, supported: Sequence[str]) -> Problem:
    """A value that is not among the known ones."""
    known = ", ".join(json.dumps(s) for s in supported)
    return path, f"Unsupported value: {json.dumps(value)}: supported values: {known}"


def aggregate(problems: Sequence[Problem]) -> str:
    """Several problems in one sentence, joined as Kubernetes joins errors."""
    texts = [f"{path}: {text}" if path else text for path, text in problems]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def label_1035(text: str) -> list[str]:
    """Why a text is no RFC 1035 label; empty when it is one."""
    reasons = [] if len(text) <= _MAX_LABEL else [f"must be no more than {_MAX_LABEL} characters"]
    return reasons if _LABEL_1035.fullmatch(text) else [*reasons, _RULE_1035]


def job_name(obj: Mapping[str, Any]) -> list[Problem]:
    """The name must be able to become a service's."""
    text = str((obj.get("metadata") or {}).get("name", ""))
    reasons = label_1035(text)
    return [invalid("metadata.name", text, f"should match: {','.join(reasons)}")] if reasons else []


def run_policy(spec: Mapping[str, Any]) -> list[Problem]:
    """Only known managers may be named."""
    manager = (spec.get("runPolicy") or {}).get("managedBy")
    if manager is None or manager in MANAGERS:
        return []
    return [not_supported("spec.runPolicy.managedBy", manager, MANAGERS)]


def containers_of(role: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The containers of a replica spec; empty when there are none."""
    template = (role or {}).get("template") or {}
    return (template.get("spec") or {}).get("containers") or []


def replicas(path: str, role: Mapping[str, Any] | None) -> list[Problem]:
    """A number of replicas that pods can be made of."""
    given = (role or {}).get("replicas")
    if given is None or 0 <= given <= _MAX_REPLICAS:
        return []
    text = "must be greater than or equal to 0" if given < 0 else f"must be less than or equal to {_MAX_REPLICAS}"
    return [invalid(f"{path}.replicas", given, text)]


def containers(path: str, role: Mapping[str, Any] | None, container: str) -> list[Problem]:
    """A replica spec must have containers, each with an image, and one of them with the framework's name."""
    where = f"{path}.template.spec.containers"
    found = containers_of(role)
    problems = [] if found else [required(where, "must be specified")]
    problems += [required(f"{where}[{i}].image", "must be required") for i, c in enumerate(found) if not c.get("image")]
    if not any(c.get("name") == container for c in found):
        problems.append(required(where, f"must have at least one container with name {container}"))
    return problems


def replica_specs(obj: Mapping[str, Any], field: str, container: str) -> list[Problem]:
    """What every kind asks of its replica specs, whatever their types: that they are there, and each can run."""
    spec = obj.get("spec") or {}
    specs: Mapping[str, Any] | None = spec.get(field)
    problems = job_name(obj) + run_policy(spec)
    if specs is None:
        return [*problems, required(f"spec.{field}", "must be required")]
    for type_, role in specs.items():
        path = f"spec.{field}[{type_}]"
        problems += containers(path, role, container)
        problems += replicas(path, role)
    return problems
