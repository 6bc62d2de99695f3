"""The official ``kubernetes`` client, speaking to a cluster of ours as the same user: for scripts that go on with it.

Only the way is ours: the TLS context, the proxy and the credentials of a :class:`Connection`, which are fetched anew
when they end or are refused. What is asked and how it is answered is the package's own. It is imported when somebody
calls this, for it costs more than all of ours (docs/connecting.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyterlab_kf import names
from jupyterlab_kf.cluster.connection import Connection

if TYPE_CHECKING:
    from kubernetes.client import ApiClient as ApiClient  # noqa: PLC0414  handed on: nobody else imports the package


def api_client(connection: Connection) -> ApiClient:
    """A client of the official package for a connection; safe to use from several threads, closed by ``close()``."""
    from kubernetes import client

    # A proxy that is given, if only as nothing, keeps the package from looking into the environment itself.
    made = client.ApiClient(client.Configuration(host=connection.server, proxy=connection.proxy))
    made.user_agent = names.FIELD_MANAGER
    made.rest_client.pool_manager = _pool(connection)
    return made


def _pool(connection: Connection) -> Any:
    import urllib3

    base: type[Any] = urllib3.ProxyManager if connection.proxy else urllib3.PoolManager

    class Pool(base):  # type: ignore[misc]  # one of two classes of the library, by the proxy
        """Every request says who we are; one that was refused is sent once more with what there is then."""

        def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> Any:  # noqa: FBT001, FBT002  of the base
            if not url.startswith(f"{connection.server}/"):  # redirected elsewhere: nobody there is to learn a token
                return super().urlopen(method, url, redirect, **more)
            plain = more.pop("headers", None)
            answer = super().urlopen(method, url, redirect, headers=_headers(connection, plain), **more)
            if answer.status != 401 or not connection.renew():  # noqa: PLR2004
                return answer
            answer.drain_conn()
            self.clear()  # new connections prove themselves by the new certificate
            return super().urlopen(method, url, redirect, headers=_headers(connection, plain), **more)

    options: dict[str, Any] = {"maxsize": 8}
    if connection.tls is not None:
        options["ssl_context"] = connection.tls
    if connection.server_name:
        options["server_hostname"] = connection.server_name
    return Pool(connection.proxy, **options) if connection.proxy else Pool(**options)


def _headers(connection: Connection, plain: Mapping[str, str] | None) -> Any:
    import urllib3

    headers = urllib3.HTTPHeaderDict(plain)
    for key, value in connection.headers:
        headers.add(key, value)
    if value := connection.authorization():
        headers["Authorization"] = value
    return headers
