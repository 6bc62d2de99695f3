"""The proxy, whose traffic is no sign of work."""

from __future__ import annotations

from typing import Any

from jupyterhub.proxy import ConfigurableHTTPProxy


class Proxy(ConfigurableHTTPProxy):  # type: ignore[misc]  # JupyterHub has no annotations
    """Node's proxy. What servers report of themselves is what counts: a page left open makes traffic for ever."""

    async def get_all_routes(self) -> dict[str, Any]:
        """The routes, without when something last went through them."""
        routes: dict[str, Any] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes
