"""All that serves models as one list: SeldonDeployments, InferenceServices, and TensorFlow Serving and Triton of ours.

A cluster has some of these kinds. Each is watched by itself; one that is not served, or may not be looked at, is simply
not there. The list is known once that of SeldonDeployments is: the others come when they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests.serving import rows
from jupyterlab_kf.manifests.serving.rows import EndpointRow
from jupyterlab_kf.services.listing import Listing, newest

_KINDS: Final[tuple[tuple[Kind, Callable[..., Any], str], ...]] = (
    (kinds.SELDON_DEPLOYMENT, rows.endpoint_row, ""),
    (kinds.INFERENCE_SERVICE, rows.inference_row, ""),
    (kinds.DEPLOYMENT, rows.server_row, rows.SELECTOR),
    (kinds.VIRTUAL_SERVICE, rows.server_route, rows.SELECTOR),
)


class EndpointRows:
    """The rows of all endpoints.

    Args:
        listing: makes the listing of a kind, with what makes rows of its objects and a selector, and starts it.
    """

    def __init__(self, listing: Callable[[Kind, Callable[..., Any], str], Listing[Any]]) -> None:
        self._parts = [listing(*one) for one in _KINDS]
        self._seldon, self._inference, self._servers, self._routes = self._parts

    @property
    def version(self) -> int:
        """Grows with each change."""
        return sum(one.version for one in self._parts)

    @property
    def known(self) -> bool:
        """Whether it is known what there is of the kind that most are of."""
        return self._seldon.known

    @property
    def served(self) -> bool:
        """Whether the cluster has endpoints of Seldon's or KServe's kind, or any at all."""
        return self._seldon.served or (self._inference.known and self._inference.served) or self.total > 0

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._every())

    def newest(self) -> tuple[EndpointRow, ...]:
        """The rows, newest first."""
        return newest(self._every())

    def _every(self) -> list[EndpointRow]:
        return [*self._seldon.every, *self._inference.every, *rows.merged(self._servers.every, self._routes.every)]
