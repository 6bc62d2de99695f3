"""What every namespace has by itself: the account that pods run under, and the certificate that the server is known by.

Made when the namespace is, and made again when somebody deletes or changes it, as the service account controller and
the root CA publisher of the real kube-controller-manager do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Key, Mapper, Patch, View
from jupyterlab_kf.controllers.support import name, namespace, terminating, uid
from jupyterlab_kf.model import Obj

ACCOUNT: Final = "default"
CERTIFICATE: Final = "kube-root-ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def controller(authority: str) -> Controller:
    """The controller of a cluster whose certificates are signed by this authority (PEM)."""

    def react(obj: Obj, view: View, now: float) -> list[Action]:
        del now
        if terminating(obj):
            return []
        inside = name(obj)
        actions: list[Action] = []
        if view.get(kinds.SERVICE_ACCOUNT, inside, ACCOUNT) is None:
            actions.append(Create(kinds.SERVICE_ACCOUNT, account(inside)))
        content = {"data": {"ca.crt": authority}}
        found = view.get(kinds.CONFIG_MAP, inside, CERTIFICATE)
        if found is None:
            metadata = {
                "name": CERTIFICATE,
                "namespace": inside,
                "annotations": {"kubernetes.io/description": _DESCRIPTION},
            }
            actions.append(Create(kinds.CONFIG_MAP, {"metadata": metadata, **content}))
        elif found.get("data") != content["data"] and not terminating(found):
            change = dict.fromkeys(found.get("data") or ()) | content["data"]
            actions.append(Patch(kinds.CONFIG_MAP, inside, CERTIFICATE, uid(found), {"data": change}))
        return actions

    return Controller(
        name="namespace-content-controller",
        kind=kinds.NAMESPACE,
        react=react,
        watches={kinds.SERVICE_ACCOUNT: _named(ACCOUNT), kinds.CONFIG_MAP: _named(CERTIFICATE)},
    )


def account(inside: str) -> dict[str, Any]:
    """The account of a namespace."""
    return {"metadata": {"name": ACCOUNT, "namespace": inside}}


def _named(wanted: str) -> Mapper:
    def mapper(obj: Obj, view: View) -> Iterator[Key]:
        del view
        if name(obj) == wanted:
            yield "", namespace(obj)

    return mapper
