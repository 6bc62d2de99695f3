"""From a Service's port to where its pods really listen, for the API server's ``services/NAME:PORT/proxy``.

Pure over the registry's view and the node's ``address``. Real load balancing is not its business: it answers the ready
pods in order, and the caller takes the first that connects. The words of its errors are the API server's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import View
from jupyterlab_kf.embedded.addresses import backends, is_ready, target_port
from jupyterlab_kf.errors import ApiError, InvalidError, NotFoundError
from jupyterlab_kf.model import meta

Address: TypeAlias = Callable[[str, str, int], tuple[str, int]]


def split_name(name: str) -> tuple[str, str, str]:
    """``NAME``, ``NAME:PORT`` or ``SCHEME:NAME:PORT`` as scheme, name and port; what is missing is empty.

    Raises:
        InvalidError: it has more parts, or a scheme that is neither http nor https.
    """
    parts = name.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:  # noqa: PLR2004
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("http", "https", ""):  # noqa: PLR2004
        return parts[0], parts[1], parts[2]
    raise InvalidError(f'invalid service request "{name}"', code=400, reason="BadRequest")


def service_addresses(view: View, address: Address, namespace: str, name: str) -> list[tuple[str, int]]:
    """Every place that serves this Service's port now, ready pods only.

    Args:
        view: the cluster's objects.
        address: the node's: namespace, pod and declared port to address and port.
        namespace: of the Service.
        name: ``NAME``, ``NAME:PORT`` or ``SCHEME:NAME:PORT``; the port by number or name.

    Raises:
        NotFoundError: there is no such Service.
        ApiError: 503, it has no ready pod or no such port.
    """
    _, bare, wanted = split_name(name)
    service = view.get(kinds.SERVICE, namespace, bare)
    if service is None:
        raise NotFoundError(f'services "{bare}" not found', details={"name": bare, "kind": "services"})
    port = _port(service, wanted)
    if port is None:
        raise _unavailable(f'no service port "{wanted}" found for service "{bare}"')
    found = []
    for pod in backends(service, view.list(kinds.POD, namespace)):
        target = target_port(port, pod)
        if is_ready(pod) and target is not None:
            found.append(address(namespace, str(meta(pod)["name"]), target))
    if not found:
        raise _unavailable(f'no endpoints available for service "{bare}"')
    return found


def pod_address(view: View, address: Address, namespace: str, name: str) -> tuple[str, int]:
    """Where ``pods/NAME:PORT/proxy`` leads; without a port, to the pod's first declared one, else 80.

    Raises:
        NotFoundError: there is no such pod.
    """
    _, bare, wanted = split_name(name)
    pod = view.get(kinds.POD, namespace, bare)
    if pod is None:
        raise NotFoundError(f'pods "{bare}" not found', details={"name": bare, "kind": "pods"})
    declared = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    number = int(wanted) if wanted.isdigit() else None
    if number is None:
        named = [p for p in declared if not wanted or p.get("name") == wanted]
        number = int(named[0]["containerPort"]) if named else 80
    return address(namespace, bare, number)


def _port(service: Mapping[str, Any], wanted: str) -> Mapping[str, Any] | None:
    ports = (service.get("spec") or {}).get("ports") or []
    if not wanted:
        return ports[0] if len(ports) == 1 else None
    return next((p for p in ports if wanted in (p.get("name"), str(p.get("port")))), None)


def _unavailable(message: str) -> ApiError:
    return ApiError(message, code=503, reason="ServiceUnavailable")
