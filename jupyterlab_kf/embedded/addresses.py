"""Addresses on one machine: each pod's own loopback address, and service names rewritten to where pods really listen.

Pure: it answers what an address or a rewritten value is, and never opens a socket. It changes only what names something
reachable (`host:port`, a host beside its port, a whole value that is a host) and only when that name resolves to a
Service or pod of this cluster; a value that merely contains such a word stays as it is. There is no cluster DNS and
nothing may change the machine's own, so this is how `MASTER_ADDR=digits-master-0` comes to mean something.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from jupyterlab_kf.model import Obj, labels, meta

LOOPBACK: Final = "127.0.0.1"
PORT_RANGE: Final = (20000, 29999)
"""Below the range from which Linux takes ports for outgoing connections, and below that of node ports."""
ROOM: Final = 2000
"""Fewer ports than this are no range to give from."""
FIRST: Final = 1024
TOP: Final = 65535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a host name leads: an address, and the ports that are elsewhere than declared."""

    ip: str
    ports: Mapping[int, int] = field(default_factory=dict)

    def port(self, declared: int) -> int:
        """The port that really listens for the declared one."""
        return self.ports.get(declared, declared)


Resolver: TypeAlias = Callable[[str], Endpoint | None]


def pod_ip(namespace: str, name: str, taken: Container[str] = ()) -> str:
    """The pod's address: the same for the same namespace and name unless another pod has it."""
    for attempt in range(1 << 16):
        digest = hashlib.sha256(f"{namespace}/{name}/{attempt}".encode()).digest()
        # 127.0.0.x stays the machine's own, and no part is 0 or 255, which some software takes for a network.
        parts = [1 + byte % 254 for byte in digest[:3]]
        ip = f"127.{parts[0]}.{parts[1]}.{parts[2]}"
        if ip not in taken:
            return ip
    raise ValueError("every loopback address is taken")


def outside(low: int, high: int) -> tuple[int, int]:
    """Ports to give out where the system takes those from ``low`` to ``high`` for outgoing connections."""
    if low > PORT_RANGE[0] + ROOM:
        return PORT_RANGE[0], min(PORT_RANGE[1], low - 1)
    if high < PORT_RANGE[1] - ROOM:
        return max(PORT_RANGE[0], high + 1), PORT_RANGE[1]
    if high + ROOM < TOP:
        return high + 1, TOP
    if low > FIRST + ROOM:
        return max(FIRST, low - (PORT_RANGE[1] - PORT_RANGE[0]) - 1), low - 1
    return PORT_RANGE


def give_ports(
    declared: Iterable[int],
    free: Callable[[int], bool],
    seed: str,
    *,
    move: Container[int] = (),
    within: tuple[int, int] = PORT_RANGE,
) -> dict[int, int]:
    """For each declared port one that nobody else has: a stable other, or itself if it is free and may stay.

    Args:
        declared: container ports, as in the manifest.
        free: whether a port can be had on this machine.
        seed: what the choice hangs on: the cluster's folder and the pod's name.
        move: the ports that get another number even if theirs is free.
        within: the lowest and the highest port to give.
    """
    given: dict[int, int] = {}
    wanted = list(dict.fromkeys(declared))
    low, high = within
    for port in wanted:
        if port not in move and port not in given.values() and free(port):
            given[port] = port
            continue
        start = int.from_bytes(hashlib.sha256(f"{seed}/{port}".encode()).digest()[:4], "big")
        for step in range(high - low + 1):
            candidate = low + (start + step) % (high - low + 1)
            if candidate not in given.values() and candidate not in wanted and free(candidate):
                given[port] = candidate
                break
        else:
            raise ValueError(f"no port is free between {low} and {high}")
    return given


# ---------------------------------------------------------------------------------------------------------------------
# Names


@dataclass(frozen=True, slots=True)
class Directory:
    """Resolves names as a pod of one namespace would see them.

    Attributes:
        namespace: where short names are looked up.
        service: the Service of a namespace and name, or None.
        pods: all pods of a namespace.
        endpoint: a pod's address and moved ports, or None if it has none yet.
    """

    namespace: str
    service: Callable[[str, str], Obj | None]
    pods: Callable[[str], Sequence[Obj]]
    endpoint: Callable[[Obj], Endpoint | None]
    extra: Mapping[str, Endpoint] = field(default_factory=dict)
    """Names with a fixed answer, such as the API server's."""

    def __call__(self, host: str) -> Endpoint | None:
        """The endpoint of a host name, or None if it is no name of this cluster."""
        host = host.rstrip(".").lower()
        if host in self.extra:
            return self.extra[host]
        bare, _, _ = host.partition(".svc")
        if host not in (bare, f"{bare}.svc", f"{bare}.svc.cluster.local"):
            return None
        parts = bare.split(".")
        if len(parts) == 1:
            return self._service(self.namespace, parts[0])
        if len(parts) == 2:  # noqa: PLR2004  name.namespace, or hostname.subdomain
            return self._service(parts[1], parts[0]) or self._member(self.namespace, parts[1], parts[0])
        if len(parts) == 3:  # noqa: PLR2004  hostname.subdomain.namespace
            return self._member(parts[2], parts[1], parts[0])
        return None

    def _service(self, namespace: str, name: str) -> Endpoint | None:
        service = self.service(namespace, name)
        if service is None:
            return None
        pod = pick(backends(service, self.pods(namespace)))
        found = self.endpoint(pod) if pod else None
        if pod is None or found is None:
            return None
        if is_headless(service):
            return found
        ports = {
            port: found.port(target)
            for port, target in ((int(p["port"]), target_port(p, pod)) for p in service["spec"].get("ports") or ())
            if target
        }
        return Endpoint(found.ip, {**found.ports, **ports})

    def _member(self, namespace: str, subdomain: str, hostname: str) -> Endpoint | None:
        service = self.service(namespace, subdomain)
        if service is None:
            return None
        for pod in backends(service, self.pods(namespace)):
            spec = pod.get("spec") or {}
            if spec.get("subdomain") == subdomain and (spec.get("hostname") or meta(pod).get("name")) == hostname:
                return self.endpoint(pod)
        return None


def is_headless(service: Mapping[str, Any]) -> bool:
    """A Service without an address of its own: its name stands for its pods'."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def backends(service: Mapping[str, Any], pods: Iterable[Obj]) -> list[Obj]:
    """The pods that a Service selects and that have not ended."""
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        return []
    return [
        pod
        for pod in pods
        if selector.items() <= labels(pod).items()
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def pick(pods: Sequence[Obj]) -> Obj | None:
    """One pod of several: a ready one if there is one."""
    return next((pod for pod in pods if is_ready(pod)), pods[0] if pods else None)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's condition Ready is True."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def target_port(port: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The container port that a Service's port leads to on this pod; None if a port name is not found."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in (pod.get("spec") or {}).get("containers") or ():
        for declared in container.get("ports") or ():
            if declared.get("name") == target:
                return int(declared["containerPort"])
    return int(target) if str(target).isdigit() else None


# ---------------------------------------------------------------------------------------------------------------------
# Rewriting

_NAME: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?)*"
_HOST_PORT: Final = re.compile(rf"(?<![\w.\-])(?<![^/]/)({_NAME}):([0-9]{{1,5}})(?![\w.:]|-\w)")
_URL_HOST: Final = re.compile(rf"(?<=://)({_NAME})(?=[/?#]|$)")
_HOST: Final = re.compile(rf"{_NAME}\.?")
_HOST_KEY: Final = re.compile(
    r"(?:^|[_-])(?:addrs?|address(?:es)?|hosts?|uri|url|ip|endpoint|server|master|scheduler|coordinator)$",
    re.IGNORECASE,
)
_PAIR_KEY: Final = re.compile(r"(.*?)(?:ADDR|HOST|URI|ADDRESS|IP)$")
_JSON_HOST_KEYS: Final = ("url", "host", "address", "addr", "uri", "ip", "hostname")


def rewrite_text(text: str, resolve: Resolver) -> str:
    """Every `host:port` and URL host in a text that names something of this cluster, replaced."""

    def pair(match: re.Match[str]) -> str:
        found = resolve(match[1])
        return f"{found.ip}:{found.port(int(match[2]))}" if found else match[0]

    def host(match: re.Match[str]) -> str:
        found = resolve(match[1])
        if not found:
            return match[0]
        moved = found.port(_default_port(text, match.start()))
        return found.ip if moved in (80, 443) else f"{found.ip}:{moved}"

    return _URL_HOST.sub(host, _HOST_PORT.sub(pair, text))


def _default_port(text: str, at: int) -> int:
    return 443 if text[:at].endswith("https://") else 80


def rewrite_value(value: str, resolve: Resolver, *, host_expected: bool = False) -> str:
    """A value of the environment or one argument.

    Args:
        value: as in the manifest, after expansion.
        resolve: what names mean.
        host_expected: its name says that it is a host, so that a bare single word may be one.
    """
    if value[:1] in ("{", "["):
        return _rewrite_json(value, resolve)
    if _HOST.fullmatch(value) and (host_expected or ".svc" in value):
        found = resolve(value)
        return found.ip if found else value
    if host_expected and "," in value:
        return ",".join(rewrite_value(part, resolve, host_expected=True) for part in value.split(","))
    return rewrite_text(value, resolve)


def _rewrite_json(value: str, resolve: Resolver) -> str:
    try:
        tree = json.loads(value)
    except ValueError:
        return rewrite_text(value, resolve)
    changed = _walk(tree, resolve)
    return value if changed == tree else json.dumps(changed, separators=(",", ":"), ensure_ascii=False)


def _walk(node: Any, resolve: Resolver) -> Any:
    if isinstance(node, str):
        return rewrite_text(node, resolve)
    if isinstance(node, list):
        return [_walk(item, resolve) for item in node]
    if not isinstance(node, dict):
        return node
    result = {key: _walk(item, resolve) for key, item in node.items()}
    for key in _JSON_HOST_KEYS:
        host = node.get(key)
        found = resolve(host) if isinstance(host, str) and _HOST.fullmatch(host) else None
        if found:
            result[key] = found.ip
            port = node.get("port")
            if isinstance(port, int) and not isinstance(port, bool):
                result["port"] = found.port(port)
            elif isinstance(port, str) and port.isdigit():
                result["port"] = str(found.port(int(port)))
    return result


def rewrite_env(env: Mapping[str, str], resolve: Resolver) -> dict[str, str]:
    """The environment with the names of this cluster replaced, hosts and their ports consistently."""
    result: dict[str, str] = {}
    for key, value in env.items():
        result[key] = rewrite_value(value, resolve, host_expected=bool(_HOST_KEY.search(key)))
    for key, value in env.items():
        match = _PAIR_KEY.fullmatch(key)
        port = env.get(f"{match[1]}PORT", "") if match else ""
        if not match or not port.isdigit() or not _HOST.fullmatch(value):
            continue
        found = resolve(value)
        if found:
            result[key] = found.ip
            result[f"{match[1]}PORT"] = str(found.port(int(port)))
    return result


def rewrite_args(args: Sequence[str], resolve: Resolver) -> list[str]:
    """Arguments with the names of this cluster replaced: `--x=host:port`, `--master-addr host --master-port port`."""
    result: list[str] = []
    hosts: dict[str, Endpoint] = {}
    for index, arg in enumerate(args):
        name, sep, value = arg.partition("=") if arg.startswith("-") else ("", "", arg)
        if not name and index and args[index - 1].startswith("-") and "=" not in args[index - 1]:
            name = args[index - 1]
        if name and _HOST_KEY.search(name) and _HOST.fullmatch(value) and (found := resolve(value)):
            hosts[_HOST_KEY.sub("", name)] = found
        if arg.startswith("-") and not sep:
            result.append(arg)
            continue
        new = rewrite_value(value, resolve, host_expected=bool(name) and bool(_HOST_KEY.search(name)))
        result.append(f"{name}={new}" if sep else new)
    return _move_port_args(result, hosts)


def _move_port_args(args: list[str], hosts: Mapping[str, Endpoint]) -> list[str]:
    for index, arg in enumerate(args):
        for prefix, found in hosts.items():
            for option in (f"{prefix}-port", f"{prefix}_port"):
                if arg.startswith(f"{option}=") and arg[len(option) + 1 :].isdigit():
                    args[index] = f"{option}={found.port(int(arg[len(option) + 1 :]))}"
                elif arg == option and index + 1 < len(args) and args[index + 1].isdigit():
                    args[index + 1] = str(found.port(int(args[index + 1])))
    return args


_HOSTFILE_LINE: Final = re.compile(rf"({_NAME})(?::([0-9]+))?(?:\s+slots=([0-9]+))?.*")


def rewrite_hostfile(text: str, known: Callable[[str], bool]) -> str:
    """An MPI hostfile whose hosts are all pods or Services of this cluster, as one line about this machine.

    Faked remote hosts give wrong sums, so the slots of all of them are offered on `localhost`. A file that names
    anything else is left alone.
    """
    slots, colon = 0, False
    for line in text.splitlines():
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        match = _HOSTFILE_LINE.fullmatch(bare)
        if not match or not known(match[1]):
            return text
        colon = colon or bool(match[2])
        slots += int(match[2] or match[3] or 1)
    if not slots:
        return text
    return f"localhost:{slots}\n" if colon else f"localhost slots={slots}\n"
