"""What istiod's webhook refuses of Istio's objects, beyond what their definitions say. Pure.

The rules and sentences are those of Istio 1.30 for what is served here: routes, subsets, weights, faults, retries,
gateways, tokens, rules of access. Weights need not sum to 100: Istio takes any, in proportion. What istiod only warns
of is taken, and so is what its webhook cannot know, such as a gateway that does not exist. What istiod takes and Envoy
would not (:mod:`..checks`) is refused as well: it would cost everybody's routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.istio import checks
from jupyterlab_kf.controllers.istio.webhook import access, routes, rules
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_WEBHOOK: Final = "rev.validation.istio.io"
_RULES: Final[Mapping[str, Callable[[Obj, Mapping[str, Any]], Iterator[str]]]] = {
    kinds.VIRTUAL_SERVICE.kind: routes.virtual_service,
    kinds.DESTINATION_RULE.kind: rules.destination_rule,
    kinds.GATEWAY.kind: rules.gateway,
    kinds.AUTHORIZATION_POLICY.kind: access.policy,
    kinds.REQUEST_AUTHENTICATION.kind: access.authentication,
}


def refused(kind: Kind, obj: Obj) -> list[str]:
    """Why istiod refuses an object that fits its definition; empty when it does not."""
    check = _RULES.get(kind.kind) if kind in kinds.TRAFFIC else None
    spec = obj.get("spec")
    if check is None:
        return []
    return list(dict.fromkeys(check(obj, spec if isinstance(spec, Mapping) else {})))


def denial(kind: Kind, obj: Obj) -> str:
    """What the API server answers (400) to an object that istiod or Envoy refuses; empty when both take it."""
    if kind not in kinds.TRAFFIC:
        return ""
    found = refused(kind, obj) or [f"{path}: {said}" for path, said in checks.refused(obj)]
    if not found:
        return ""
    listed = "\n\t* ".join(["", *found])
    said = found[0] if len(found) == 1 else f"{len(found)} errors occurred:{listed}\n\n"
    return f'admission webhook "{_WEBHOOK}" denied the request: configuration is invalid: {said}'
