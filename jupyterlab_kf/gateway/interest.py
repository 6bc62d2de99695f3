"""Whose pods matter to a gateway: those of jobs come and go by the thousand and are nothing to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jupyterlab_kf import names
from jupyterlab_kf.controllers import istio, support
from jupyterlab_kf.model import Obj, labels


class Interest:
    """Knows the Services that routes lead to, by what they select."""

    def __init__(self) -> None:
        self._selectors: list[tuple[str, Mapping[str, str]]] = []

    def of(self, made: istio.Configuration, service: Callable[[str, str], Obj | None]) -> None:
        """Take the Services of a configuration; ``service`` finds one by namespace and name."""
        hosts = {to.host for to in made.destinations}
        found = [service(space, name) for name, space, *_ in (host.split(".") for host in hosts)]
        self._selectors = [
            (support.namespace(one), (one.get("spec") or {}).get("selector") or {}) for one in found if one is not None
        ]

    def takes(self, pod: Obj, old: Obj | None, *, gone: bool) -> bool:
        """Whether a pod's change may change where requests go."""
        space, states = support.namespace(pod), [labels(pod), labels(old or {})]
        if not any(of == space and any(support.matches(wanted, s) for s in states) for of, wanted in self._selectors):
            return False
        return gone or _signature(pod) != _signature(old)


def _signature(pod: Obj | None) -> tuple[Any, ...]:
    """What of a pod decides whether and where it gets requests."""
    if pod is None:
        return ()
    ip, ports = (pod.get("status") or {}).get("podIP"), support.notes(pod).get(names.ANNOTATION_PORTS)
    return labels(pod), ip, ports, support.active(pod), support.ready(pod)
