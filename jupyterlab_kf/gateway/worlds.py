"""What a gateway looks at, gathered from whoever knows the objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import istio, support
from jupyterlab_kf.controllers.istio import fields
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta

TRAFFIC: Final = (
    kinds.GATEWAY,
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ENVOY_FILTER,
    kinds.REQUEST_AUTHENTICATION,
    kinds.AUTHORIZATION_POLICY,
    kinds.TELEMETRY,
)
"""Istio's kinds that have an effect."""


def world(
    every: Callable[[Kind], Iterable[Obj]],
    others: Iterable[Kind],
    *,
    config: Obj | None,
    secrets: Iterable[Obj],
    keys: Mapping[str, str],
    **more: Any,
) -> istio.World:
    """The world as it is now.

    Args:
        every: all objects of a kind.
        others: kinds of Istio's; those that mean nothing to a gateway alone are looked at, so that this is said.
        config: the installation's ConfigMap, where there is one.
        secrets: those of the gateway's namespace.
        keys: the key sets that have been fetched.
        more: what else the :class:`~jupyterlab_kf.controllers.istio.World` has.
    """
    return istio.World(
        gateways=[*every(kinds.GATEWAY)],
        virtual_services=[*every(kinds.VIRTUAL_SERVICE)],
        destination_rules=[*every(kinds.DESTINATION_RULE)],
        request_authentications=[*every(kinds.REQUEST_AUTHENTICATION)],
        authorization_policies=[*every(kinds.AUTHORIZATION_POLICY)],
        envoy_filters=[*every(kinds.ENVOY_FILTER)],
        telemetries=[*every(kinds.TELEMETRY)],
        settings=istio.traces.settings(config),
        services=[*every(kinds.SERVICE)],
        pods=[*every(kinds.POD)],
        slices=[one for one in every(kinds.ENDPOINT_SLICE) if not meta(one).get("ownerReferences")],
        secrets={support.name(one): one for one in secrets},
        keys=keys,
        others=[one for kind in others if kind.kind in fields.MEANINGLESS for one in every(kind)],
        **more,
    )
