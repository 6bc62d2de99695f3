"""Where a container's own program listens: which of its ports it is told, and how it is told other ones. Pure.

A server is told its ports by options (``--rest_api_port=8501``), by variables (``PREDICTIVE_UNIT_SERVICE_PORT``) or as
``0.0.0.0:8501`` in either; an engine has those of its pod's units in the graph. Where the program is known to heed
them, the node gives out other ports and says so in all of these places; a number that stands for something else (the
port of a named host) is left alone. Refuses to guess about programs that nobody knows: those may have a port in their
code.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from jupyterlab_kf.embedded.addresses import Endpoint, Resolver, rewrite_args, rewrite_env
from jupyterlab_kf.embedded.images import Environment, ImageError, Recipe
from jupyterlab_kf.embedded.kubelet import states
from jupyterlab_kf.model import Obj

SERVING: Final = "jupyterlab_kf.runtime.serving"
"""The module of our own servers, for which images stand: they take every port from options and variables."""
GRAPH: Final = "ENGINE_PREDICTOR"
"""The variable from which Seldon's engine knows its graph: the predictor, as JSON, in base 64."""
HERE: Final = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104  names of the pod itself, for its own processes
_VARIABLE: Final = re.compile(r"(.*_)?PORT", re.IGNORECASE)
_HOSTS: Final = ("ADDR", "HOST", "URI", "ADDRESS", "IP")
_OPTION: Final = re.compile(r"(--?(?:[\w-]*[_-])?)port", re.IGNORECASE)
_IN_TEXT: Final = re.compile(r"(?<![\w-])(--?(?:[\w-]*[_-])?port(?:=| +))([0-9]{1,5})(?![\w.:])", re.IGNORECASE)
_UNIT_PORTS: Final = ("service_port", "httpPort", "grpcPort")


def ports_of(container: Mapping[str, Any]) -> list[int]:
    """The TCP ports that a container declares."""
    ports = container.get("ports") or ()
    return [int(port["containerPort"]) for port in ports if port.get("protocol", "TCP") == "TCP"]


def told(pod: Obj, resolve: Callable[[str], Environment | Recipe]) -> frozenset[int]:
    """The declared ports of a pod at which a program listens only because it is told so.

    Args:
        pod: whose.
        resolve: what an image stands for.
    """
    found: set[int] = set()
    for container in states.containers(pod):
        if (named := _named(container)) and _heeds(container, resolve):
            found |= named
    return frozenset(found)


def _heeds(container: Mapping[str, Any], resolve: Callable[[str], Environment | Recipe]) -> bool:
    """Whether the program is known to listen where it is told."""
    try:
        image = resolve(str(container.get("image") or ""))
    except ImageError:
        return False  # the pod's start will tell
    programs = image.brings if isinstance(image, Recipe) else image.programs
    command, arguments = (list(map(str, container.get(key) or ())) for key in ("command", "args"))
    return SERVING in programs.words(command, arguments)


def _named(container: Mapping[str, Any]) -> set[int]:
    """The declared ports that options or variables of the manifest name."""
    words = [str(word) for key in ("command", "args") for word in container.get(key) or ()]
    env = {str(one["name"]): str(one.get("value") or "") for one in container.get("env") or ()}

    def changes(port: int) -> bool:
        other = Endpoint("", {port: 0})
        return _options(words, other) != words or _variables(env, other) != env

    return {port for port in ports_of(container) if changes(port)}


def tell(
    env: Mapping[str, str], words: Sequence[str], container: Mapping[str, Any], own: Endpoint
) -> tuple[dict[str, str], list[str]]:
    """Environment and command line of a program of a pod whose ports are elsewhere than declared.

    Args:
        env: the environment, with the names of other hosts replaced.
        words: the command line, likewise.
        container: of the manifest.
        own: the pod's address, and its ports.
    """
    here = _resolver(own)
    env, words = rewrite_env(env, here), rewrite_args(words, here)
    mine = Endpoint(own.ip, {port: own.port(port) for port in ports_of(container)})
    env = _variables(env, mine)
    if GRAPH in env:
        env[GRAPH] = _graph(env[GRAPH], own)
    return env, _options(words, mine)


def _resolver(own: Endpoint) -> Resolver:
    """The pod by the names that it has for itself; hosts stay as they are written."""
    names = {host: Endpoint(host, own.ports) for host in (*HERE, own.ip)}
    return names.get


def _variables(env: Mapping[str, str], mine: Endpoint) -> dict[str, str]:
    """Variables whose name ends in ``PORT``, unless another one beside it says that the port is another host's."""

    def new(key: str, value: str) -> str:
        if not (value.isdigit() and int(value) in mine.ports and _VARIABLE.fullmatch(key)):
            return value
        prefix = key[: -len("PORT")]
        elsewhere = _elsewhere((env.get(prefix + host, "") for host in _HOSTS), mine)
        return value if elsewhere else str(mine.port(int(value)))

    return {key: new(key, value) for key, value in env.items()}


def _options(words: Sequence[str], mine: Endpoint) -> list[str]:
    """Options whose name ends in ``port``, with ``=`` or before their value, also in the text of a shell's command."""
    hosts = dict(pairwise(words)) | dict(w.split("=", 1) for w in words if "=" in w)

    def number(prefix: str, text: str) -> str:
        said = (hosts.get(prefix + name, "") for host in _HOSTS for name in (host, host.lower()))
        return text if _elsewhere(said, mine) else str(mine.port(int(text)))

    def in_text(match: re.Match[str]) -> str:
        return match[1] + number(match[1].rstrip("= ")[: -len("port")], match[2])

    made: list[str] = []
    for index, word in enumerate(words):
        option = _OPTION.fullmatch(words[index - 1]) if index else None
        made.append(number(option[1], word) if option and word.isdigit() else _IN_TEXT.sub(in_text, word))
    return made


def _elsewhere(hosts: Iterable[str], mine: Endpoint) -> bool:
    """Whether one of these is another host than the pod itself."""
    return any(host not in ("", mine.ip, *HERE) and not host.startswith("$(") for host in hosts)


def _graph(text: str, own: Endpoint) -> str:
    """An engine's predictor, with the ports of the units in its own pod; those in others are asked by their Service."""
    try:
        predictor = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return text  # the engine says what is wrong with it
    if not isinstance(predictor, dict):
        return text
    units = [predictor.get("graph")]
    while units:
        unit = units.pop()
        if not isinstance(unit, dict):
            continue
        units += unit.get("children") or ()
        endpoint = unit.get("endpoint")
        if isinstance(endpoint, dict) and endpoint.get("service_host") in HERE:
            endpoint |= {key: own.port(endpoint[key]) for key in _UNIT_PORTS if isinstance(endpoint.get(key), int)}
    return base64.b64encode(json.dumps(predictor, separators=(",", ":"), ensure_ascii=False).encode()).decode()
