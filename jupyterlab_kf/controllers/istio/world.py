"""What the translation reads, looked up: hosts, Services, their ready pods, DestinationRules; and what it finds out.

Owns the meaning of names (short hosts, gateways, `exportTo`), which pods stand behind a destination and which rule is
about it. Refuses to know Envoy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers import support
from jupyterlab_kf.model import Obj, Ref, labels, meta

DOMAIN: Final = "svc.cluster.local"
ROOT: Final = "istio-system"
"""Istio's root namespace, in which the gateway is, too."""
GATEWAY: Final = "istio-ingressgateway"
GATEWAY_LABELS: Final[Mapping[str, str]] = {"app": GATEWAY, "istio": "ingressgateway"}
MESH: Final = "mesh"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in an object that is not honoured, or cannot be: where it is, and what happens instead."""

    about: Ref
    api_version: str
    path: str
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A Service's port, or the subset of its pods that a DestinationRule names."""

    host: str
    port: int
    subset: str = ""

    @property
    def cluster(self) -> str:
        """What Envoy calls it; as Istio does."""
        return f"outbound|{self.port}|{self.subset}|{self.host}"


@dataclass(frozen=True, slots=True)
class World:
    """The objects that the configuration follows from.

    Attributes:
        telemetries: what is asked about traces, logs and metrics.
        settings: what the installation says of who takes them; see :func:`.traces.settings`.
        secrets: those of the gateway's namespace, by name.
        keys: the key sets that have been fetched, by their address.
        place: tells this cluster from others of the machine.
        sleepers: Deployments that sleep while nobody asks them.
        others: objects of kinds that mean nothing to a gateway alone.
    """

    gateways: Sequence[Obj] = ()
    virtual_services: Sequence[Obj] = ()
    destination_rules: Sequence[Obj] = ()
    request_authentications: Sequence[Obj] = ()
    authorization_policies: Sequence[Obj] = ()
    envoy_filters: Sequence[Obj] = ()
    telemetries: Sequence[Obj] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    services: Sequence[Obj] = ()
    pods: Sequence[Obj] = ()
    slices: Sequence[Obj] = ()
    secrets: Mapping[str, Obj] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    place: str = ""
    sleepers: Sequence[Obj] = ()
    others: Sequence[Obj] = ()


class Mesh:
    """A world with its indexes, and what was found out on the way.

    Args:
        world: what there is.
        folder: where Envoy finds its files.
    """

    def __init__(self, world: World, folder: str) -> None:
        self.world = world
        self.folder = folder
        self.findings: dict[Finding, None] = {}
        self.used: dict[Destination, None] = {}
        self.spoken_http2: set[Destination] = set()
        self.wanted_keys: set[str] = set()
        self._services = {f"{support.name(s)}.{support.namespace(s)}.{DOMAIN}": s for s in world.services}
        self._pods: dict[str, list[Obj]] = {}
        for pod in world.pods:
            self._pods.setdefault(support.namespace(pod), []).append(pod)
        self._rules: dict[str, list[Obj]] = {}
        for rule in oldest_first(world.destination_rules):
            self._rules.setdefault(support.namespace(rule), []).append(rule)
        self._found: dict[str, list[Obj]] = {}

    def say(self, obj: Mapping[str, Any], path: str, message: str) -> None:
        """Note that something in an object is not as it says."""
        self.findings[Finding(Ref.of(obj), str(obj.get("apiVersion", "")), path, message)] = None

    # --- names --------------------------------------------------------------------------------------------------

    def service(self, host: str) -> Obj | None:
        """The Service of a full host name."""
        return self._services.get(host)

    def behind(self, service: Obj) -> list[Obj]:
        """The pods that a Service selects."""
        selector = (service.get("spec") or {}).get("selector") or {}
        return [p for p in self._pods.get(support.namespace(service), ()) if support.matches(selector, labels(p))]

    def port(self, host: str, wanted: int | None, listening: int) -> int | None:
        """The port of a host that a destination means; None when it means none that is there."""
        service = self.service(host)
        ports = [int(p["port"]) for p in ((service or {}).get("spec") or {}).get("ports") or ()]
        if wanted is None:
            wanted = ports[0] if len(ports) == 1 else listening
        return wanted if wanted in ports else None

    def target_ports(self, host: str, port: int) -> set[int]:
        """Where the pods of a host's port listen, by their own declaration."""
        service = self.service(host)
        if service is None:
            return set()
        entry = port_entry(service, port)
        found = (_target(entry, pod) for pod in self.behind(service))
        return {number for number in found if number}

    # --- endpoints ----------------------------------------------------------------------------------------------

    def endpoints(self, to: Destination) -> list[tuple[str, int]]:
        """Where a destination's ready pods listen, in order."""
        service = self.service(to.host)
        if service is None:
            return []
        wanted = self.subset_labels(to)
        if wanted is None:
            return []
        entry = port_entry(service, to.port)
        if not (service.get("spec") or {}).get("selector"):
            return [] if to.subset else sorted(self._listed(service, entry))
        always = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
        found = []
        for pod in self.behind(service):
            if wanted.items() <= labels(pod).items() and _serves(pod, always=always):
                port = _target(entry, pod)
                if port:
                    given = json.loads(support.notes(pod).get(names.ANNOTATION_PORTS) or "{}")
                    found.append((str(pod["status"]["podIP"]), int(given.get(str(port), port))))
        return sorted(found)

    def sleeper(self, to: Destination) -> Obj | None:
        """The Deployment that has a destination's pods, if it sleeps while nobody asks."""
        service, wanted = self.service(to.host), self.subset_labels(to)
        selector = ((service or {}).get("spec") or {}).get("selector") or {}
        if not selector or wanted is None:
            return None
        space = support.namespace(service or {})
        for one in self.world.sleepers:
            have = labels(one["spec"].get("template") or {})
            if support.namespace(one) == space and {**selector, **wanted}.items() <= have.items():
                return one
        return None

    def _listed(self, service: Obj, entry: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
        """The addresses that somebody wrote into slices for a Service that selects nothing."""
        label = {"kubernetes.io/service-name": support.name(service)}
        for part in self.world.slices:
            if support.namespace(part) != support.namespace(service) or not support.matches(label, labels(part)):
                continue
            ports = [p["port"] for p in part.get("ports") or () if (p.get("name") or "") == (entry.get("name") or "")]
            for endpoint in part.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False:
                    yield from ((str(a), int(port)) for a in endpoint.get("addresses") or () for port in ports)

    # --- DestinationRules ---------------------------------------------------------------------------------------

    def rules(self, host: str) -> list[Obj]:
        """The DestinationRules about a host as the gateway sees them, of one namespace, the oldest first.

        The gateway's own namespace comes first, then the Service's; the most exact host counts.
        """
        if host not in self._found:
            spaces = (ROOT, host.split(".")[1] if host.endswith(DOMAIN) else ROOT)
            self._found[host] = next((found for space in spaces if (found := self._rules_of(space, host))), [])
        return self._found[host]

    def _rules_of(self, space: str, host: str) -> list[Obj]:
        """A namespace's rules about a host that the gateway may see, those for the most exact host only."""
        found = []
        for rule in self._rules.get(space, ()):
            spec = rule.get("spec") or {}
            target = full(str(spec.get("host") or ""), space)
            selector = (spec.get("workloadSelector") or {}).get("matchLabels") or {}
            if covers(target, host) and exported(spec, space, ROOT) and selector.items() <= GATEWAY_LABELS.items():
                found.append(((target.startswith("*"), -len(target)), rule))
        best = min((rank for rank, _ in found), default=None)
        return [rule for rank, rule in found if rank == best]

    def subset(self, to: Destination) -> Mapping[str, Any] | None:
        """What a DestinationRule says about a destination's subset."""
        every = [s for rule in self.rules(to.host) for s in (rule.get("spec") or {}).get("subsets") or ()]
        return next((s for s in every if s.get("name") == to.subset), None)

    def subset_labels(self, to: Destination) -> Mapping[str, str] | None:
        """The labels of a destination's pods beside the Service's selector; None if there is no such subset."""
        if not to.subset:
            return {}
        found = self.subset(to)
        return None if found is None else found.get("labels") or {}


# ---------------------------------------------------------------------------------------------------------------------


def full(host: str, namespace: str) -> str:
    """A host name without dots is a Service of the namespace; any other is what it says."""
    return host if "." in host or "*" in host or not host else f"{host}.{namespace}.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Whether a host, possibly with a wildcard in front, is meant by a host that may have one, too."""
    if pattern == "*":
        return True
    if pattern.startswith("*"):
        return host.removeprefix("*").endswith(pattern[1:])
    return pattern == host


def exported(spec: Mapping[str, Any], own: str, to: str) -> bool:
    """Whether a namespace may see an object of another."""
    listed = spec.get("exportTo") or ["*"]
    return "*" in listed or to in listed or ("." in listed and own == to)


def oldest_first(objects: Iterable[Obj]) -> list[Obj]:
    """In the order of their creation, by which Istio decides who comes first."""
    key = lambda o: (str(meta(o).get("creationTimestamp") or ""), support.namespace(o), support.name(o))  # noqa: E731
    return sorted(objects, key=key)


def port_entry(service: Obj, port: int) -> Mapping[str, Any]:
    """A Service's port by its number."""
    ports: list[Mapping[str, Any]] = (service.get("spec") or {}).get("ports") or []
    return next((p for p in ports if int(p["port"]) == port), {"port": port})


def _target(entry: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    target = entry.get("targetPort") or entry["port"]
    if isinstance(target, int):
        return target
    declared = (p for c in (pod.get("spec") or {}).get("containers") or () for p in c.get("ports") or ())
    found = next((p["containerPort"] for p in declared if p.get("name") == target), None)
    return int(found) if found else None


def _serves(pod: Obj, *, always: bool) -> bool:
    there = bool((pod.get("status") or {}).get("podIP")) and support.active(pod)
    return there and (always or support.ready(pod))
