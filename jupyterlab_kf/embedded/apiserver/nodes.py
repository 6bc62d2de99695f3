"""What the API server asks a node: logs of a pod, what an image has, and the way to a port of a pod or service.

Owns the ``Node`` protocol, the parameters of ``pods/log``, and the proxy to nodes, pods and services. Refuses to know
how a node runs anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import failures, selectors
from jupyterlab_kf.embedded.apiserver.requests import Query, Target, service_name
from jupyterlab_kf.embedded.apiserver.rules import Cause
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "authorization",
        "accept-encoding",
        "content-encoding",
    }
)
PROXY_SECONDS: Final = 3600.0
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class Node(Protocol):
    """The node that runs the pods."""

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        previous: bool,
        tail_lines: int | None,
        since_seconds: int | None,
        since_time: str | None,
        timestamps: bool,
        limit_bytes: int | None,
    ) -> AsyncIterator[bytes]:
        """The output of one container; raises ApiError before the first piece when there is none to be had."""

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int]:
        """Where a pod's declared port really listens."""

    async def packages(self, image: str) -> dict[str, str]:
        """The Python packages of an image, name to version; raises ApiError when its environment cannot be asked."""


def no_node() -> ApiError:
    """What a server says that has no node to ask."""
    return failures.internal("no preferred addresses found; known addresses: []")


def logs(registry: Registry, node: Node | None, target: Target, query: Query) -> AsyncIterator[bytes]:
    """The pieces of a pod's log.

    Raises:
        ApiError: no such pod or container, or an option that means nothing.
    """
    options = _log_options(query, target.name)
    pod = registry.get(kinds.POD, target.place, target.name)
    container = _container(pod, query.text("container"))
    if node is None:
        raise no_node()
    return node.logs(
        target.place,
        target.name,
        container,
        follow=query.flag("follow"),
        previous=query.flag("previous"),
        timestamps=query.flag("timestamps"),
        **options,
    )


def _log_options(query: Query, pod: str) -> dict[str, Any]:
    """Where a log is to begin and how long it may be."""
    since = query.text("sinceTime")
    if since and not _TIME.fullmatch(since):
        layout = "2006-01-02T15:04:05Z07:00"
        raise failures.bad_request(f'parsing time "{since}" as "{layout}": cannot parse "{since}" as "2006"')
    causes = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = query.number(name)
        if value is not None and value < least:
            than = "greater than 0" if least else "greater than or equal to 0"
            causes.append(Cause(name, "FieldValueInvalid", f"Invalid value: {value}: must be {than}"))
    if since and query.has("sinceSeconds"):
        message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        causes.append(Cause("[]", "FieldValueForbidden", message))
    if causes:
        raise failures.invalid_log_options(pod, causes)
    return {
        "tail_lines": query.number("tailLines"),
        "since_seconds": query.number("sinceSeconds"),
        "since_time": since or None,
        "limit_bytes": query.number("limitBytes"),
    }


def _container(pod: Obj, asked: str) -> str:
    name = pod["metadata"]["name"]
    spec = pod["spec"]
    main = [container["name"] for container in spec.get("containers") or ()]
    first = [container["name"] for container in spec.get("initContainers") or ()]
    if asked:
        if asked not in main + first:
            raise failures.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(main) == 1:
        return str(main[0])
    choice = f"[{' '.join(main)}]"
    if first:
        choice += f" or one of the init containers: [{' '.join(first)}]"
    raise failures.bad_request(f"a container name must be specified for pod {name}, choose one of: {choice}")


async def packages(registry: Registry, node: Node | None, target: Target, query: Query) -> Obj:
    """What a node says that an image has: ``nodes/NAME/proxy/packages?image=IMAGE``, the one thing it can be asked.

    Raises:
        ApiError: no such node, or nothing is said there.
    """
    registry.get(kinds.NODE, "", target.name)
    if node is None:
        raise no_node()
    if target.rest.strip("/") != "packages":
        raise failures.no_page()
    if not (image := query.text("image")):
        raise failures.bad_request("image is required")
    return {"image": image, "packages": await node.packages(image)}


# --- proxy -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a proxied request goes."""

    scheme: str
    host: str
    port: int


def upstream(registry: Registry, node: Node | None, target: Target) -> Upstream:
    """Where the pod or service of a proxy path listens.

    Raises:
        ApiError: 404 no such object, 400 no such port, 503 nothing is ready behind a service.
    """
    if node is None:
        raise no_node()
    scheme, name, port = service_name(target.name)
    if target.kind == kinds.POD:
        pod = registry.get(kinds.POD, target.place, name)
        number = _pod_port(pod, port)
    else:
        pod, number = _behind(registry, target, name, port)
    host, real = node.address(target.place, pod["metadata"]["name"], number)
    return Upstream(scheme or "http", host, real)


def _pod_port(pod: Obj, port: str) -> int:
    if port.isdecimal():
        return int(port)
    ports = [entry for container in pod["spec"].get("containers") or () for entry in container.get("ports") or ()]
    for entry in ports:
        if not port or entry.get("name") == port:
            return int(entry["containerPort"])
    if not port:
        return 80
    raise failures.bad_request(f'pod "{pod["metadata"]["name"]}" has no port named "{port}"')


def _behind(registry: Registry, target: Target, name: str, port: str) -> tuple[Obj, int]:
    service = registry.get(kinds.SERVICE, target.place, name)
    spec = service.get("spec") or {}
    ports = spec.get("ports") or ()
    wanted = [p for p in ports if port in (str(p.get("port")), p.get("name")) or (not port and len(ports) == 1)]
    if not wanted:
        raise _unavailable(f'no service port "{port}" found for service "{name}"')
    selected = selectors.Selector(selectors.of_label_selector({"matchLabels": spec.get("selector") or {}}))
    pods = registry.list(kinds.POD, target.place, selected) if selected else []
    ready = [pod for pod in pods if _ready(pod) and not pod["metadata"].get("deletionTimestamp")]
    if not ready:
        raise _unavailable(f'no endpoints available for service "{name}"')
    return ready[0], _target_port(ready[0], wanted[0])


def _target_port(pod: Obj, port: Mapping[str, Any]) -> int:
    wanted = port.get("targetPort") or port["port"]
    return wanted if isinstance(wanted, int) else _pod_port(pod, wanted)


def _ready(pod: Obj) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _unavailable(message: str) -> ApiError:
    return ApiError(message, code=503, reason="ServiceUnavailable")


async def forward(
    where: Upstream, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> AsyncIterator[Any]:
    """Send a request on: first its status and headers are yielded, then the pieces of its body.

    Raises:
        ApiError: 503, nothing answers there.
    """
    import aiohttp

    sent = {key: value for key, value in headers.items() if key.lower() not in _HOP_BY_HOP}
    timeout = aiohttp.ClientTimeout(total=PROXY_SECONDS, sock_connect=5)
    url = f"{where.scheme}://{where.host}:{where.port}/{path}"
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session:
        try:
            answer = await session.request(method, _exact(url), headers=sent, data=body or None, allow_redirects=False)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise _unavailable(f"error trying to reach service: {error}") from error
        kept = [(key, value) for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP]
        yield answer.status, kept
        async for piece in answer.content.iter_any():
            yield piece


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)
