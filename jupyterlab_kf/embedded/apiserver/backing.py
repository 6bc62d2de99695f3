"""What requests are answered from: the objects, their watches, the node that runs the pods, and who may ask."""

from __future__ import annotations

import hmac

from tornado import httputil

from jupyterlab_kf.embedded.apiserver import failures, reviews
from jupyterlab_kf.embedded.apiserver.nodes import Node
from jupyterlab_kf.embedded.apiserver.watching import Watches
from jupyterlab_kf.embedded.registry import Registry


class Backing:
    """What stands behind the API.

    Args:
        registry: what is served.
        node: the node that logs, commands and proxied requests go to; None when there is none.
        token: the bearer token of the one user.
    """

    def __init__(self, registry: Registry, node: Node | None, token: str) -> None:
        self.registry = registry
        self.node = node
        self.watches = Watches(registry.store)
        self._token = token

    def user(self, headers: httputil.HTTPHeaders) -> str:
        """Who asks: the one user, whom that one speaks for, or nobody in particular.

        Raises:
            UnauthorizedError: the token is wrong.
        """
        given = headers.get("Authorization", "")
        if not given:
            return reviews.ANONYMOUS
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise failures.unauthorized()
        return headers.get("Impersonate-User", reviews.USER)
