"""Traces: a Telemetry of the gateway's to what Envoy sends its spans to.

Where spans go is the installation's to say, as in Istio: an `extensionProviders` of the kind `opentelemetry` in the
ConfigMap `istio` of the root namespace. What is asked for the pods of another namespace only their sidecars could do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio.values import typed, without_none
from jupyterlab_kf.controllers.istio.world import GATEWAY, GATEWAY_LABELS, ROOT, Destination, Mesh, oldest_first
from jupyterlab_kf.model import Obj

CONFIG: Final = "istio"
"""The ConfigMap with the installation's settings, and below it the key."""
CONFIG_KEY: Final = "mesh"
_USUAL: Final = 1.0
"""Percent of the requests that are traced where nobody says how many, as in Istio."""
_ELSEWHERE: Final = "is for pods, which have no sidecar here; only what is in istio-system is for the gateway"
_OTHERS: Final = "is for other pods than the gateway's, which have no sidecar here"


def settings(config_map: Obj | None) -> Obj:
    """What an installation's ConfigMap says of providers, but for what is not of the shape that Istio defines."""
    try:
        said = yaml.safe_load(str(((config_map or {}).get("data") or {}).get(CONFIG_KEY) or ""))
    except yaml.YAMLError:
        return {}
    whole = said if isinstance(said, dict) else {}
    providers = whole.get("extensionProviders")
    usual = whole.get("defaultProviders")
    usual = usual.get("tracing") if isinstance(usual, dict) else ()
    return {
        "extensionProviders": [one for one in providers if isinstance(one, dict)]
        if isinstance(providers, list)
        else [],
        "defaultProviders": {"tracing": [str(one) for one in usual] if isinstance(usual, list) else []},
    }


def tracing(mesh: Mesh) -> Obj | None:
    """What every listener is told of traces; None where there are none."""
    said = [(one, number, part) for one in _applied(mesh) for number, part in enumerate(_listed(one))]
    if not said:
        return None
    merged: Obj = {}
    for _, _, part in said:
        merged |= part
    about, number, _ = said[-1]
    path = f"spec.tracing[{number}]"
    if merged.get("disableSpanReporting"):
        return None
    cluster = _collector(mesh, about, path, merged.get("providers") or ())
    if cluster is None:
        return None
    config = typed(
        "config.trace.v3.OpenTelemetryConfig",
        grpc_service={"envoy_grpc": {"cluster_name": cluster}, "timeout": "0.250s"},
        service_name=f"{GATEWAY}.{ROOT}",
    )
    share = merged.get("randomSamplingPercentage")
    return without_none(
        {
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
            "random_sampling": {"value": _USUAL if share is None else float(share)},
            "custom_tags": [*_tags(merged.get("customTags") or {})] or None,
        }
    )


def _applied(mesh: Mesh) -> list[Obj]:
    """The gateway's Telemetries: the oldest for all pods, then the oldest for the gateway's own."""
    for_all: list[Obj] = []
    own: list[Obj] = []
    for one in oldest_first(mesh.world.telemetries):
        selector = ((one.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        if support.namespace(one) != ROOT:
            mesh.say(one, "spec", _ELSEWHERE)
        elif not selector.items() <= GATEWAY_LABELS.items():
            mesh.say(one, "spec.selector", _OTHERS)
        elif (mine := own if selector else for_all) and mine:
            mesh.say(one, "spec", f"{support.name(mine[0])} is older and says the same of the same pods; it holds")
        else:
            mine.append(one)
    return [*for_all, *own]


def _listed(telemetry: Obj) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (telemetry.get("spec") or {}).get("tracing") or ()
    return found


def _collector(mesh: Mesh, about: Obj, path: str, providers: Sequence[Mapping[str, Any]]) -> str | None:
    """The cluster of who takes spans; what keeps them from it is told."""
    config = mesh.world.settings
    usual = (config.get("defaultProviders") or {}).get("tracing") or ()
    name = next((str(one.get("name")) for one in providers), next(iter(usual), ""))
    if not name:
        mesh.say(about, f"{path}.providers", "no provider is named, and the installation has none; nothing is traced")
        return None
    found = next((one for one in config.get("extensionProviders") or () if one.get("name") == name), None)
    where = f"extensionProviders of the ConfigMap {CONFIG} in {ROOT}"
    if found is None:
        mesh.say(about, f"{path}.providers", f"{where} has no {name!r}; nothing is traced")
        return None
    said = found.get("opentelemetry")
    if not isinstance(said, Mapping) or "http" in said:
        mesh.say(about, f"{path}.providers", f"{name!r} of {where} is not `opentelemetry` over gRPC; nothing is traced")
        return None
    host, number = str(said.get("service") or "").rpartition("/")[2], said.get("port")
    port = number if isinstance(number, int) else 0
    if mesh.service(host) is None or mesh.port(host, port, port) is None:
        mesh.say(about, f"{path}.providers", f"there is no Service {host!r} with the port {port}; nothing is traced")
        return None
    to = Destination(host, port)
    mesh.used[to] = None
    mesh.spoken_http2.add(to)
    return to.cluster


def _tags(said: Mapping[str, Any]) -> Iterator[Obj]:
    for name, tag in sorted(said.items()):
        if literal := tag.get("literal"):
            yield {"tag": name, "literal": {"value": str(literal.get("value") or "")}}
        elif header := tag.get("header"):
            known = {"name": header.get("name"), "default_value": header.get("defaultValue")}
            yield {"tag": name, "request_header": without_none(known)}
        elif variable := tag.get("environment"):
            known = {"name": variable.get("name"), "default_value": variable.get("defaultValue")}
            yield {"tag": name, "environment": without_none(known)}
