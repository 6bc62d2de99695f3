"""Liveness, readiness and startup probes: one task for each, as long as its container runs.

Owns the counting of successes and failures and the kinds exec, httpGet and tcpSocket, with a kubelet's messages. What
a result means (restart, ready) is the worker's business. gRPC probes are refused with an event: they would need a
library that nothing else here needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from jupyterlab_kf.embedded.addresses import LOOPBACK

Result: TypeAlias = tuple[bool, str]
Exec: TypeAlias = Callable[[list[str], float], Awaitable[tuple[int | None, str]]]
KINDS: Final = ("startupProbe", "livenessProbe", "readinessProbe")
TITLES: Final = {"startupProbe": "Startup", "livenessProbe": "Liveness", "readinessProbe": "Readiness"}
_HTTP_OK: Final = range(200, 400)


@dataclass(frozen=True, slots=True)
class Target:
    """What a probe talks to: addresses to try in turn, ports by their name, and a way to run a program beside it."""

    hosts: tuple[str, ...]
    port: Callable[[Any], int]
    run: Exec


def supported(probe: Mapping[str, Any]) -> bool:
    """Whether this node can do the probe."""
    return any(kind in probe for kind in ("exec", "httpGet", "tcpSocket"))


async def once(probe: Mapping[str, Any], target: Target) -> Result:
    """Ask once; whether it went well, and if not, a kubelet's words."""
    limit = float(probe.get("timeoutSeconds") or 1)
    if "exec" in probe:
        code, output = await target.run(list(probe["exec"]["command"]), limit)
        if code is None:
            return False, f'command timed out: "{" ".join(probe["exec"]["command"])}" timed out after {limit:g}s'
        return code == 0, output
    ask = _http if "httpGet" in probe else _tcp
    said = ""
    for host in target.hosts:
        try:
            async with asyncio.timeout(limit):
                good, said = await ask(probe, host, target)
        except TimeoutError:
            said = "context deadline exceeded"
        except OSError as error:
            said = str(error.strerror or error).lower()
        except (KeyError, ValueError) as error:
            return False, str(error)
        else:
            return good, said
    return False, said


async def _tcp(probe: Mapping[str, Any], host: str, target: Target) -> Result:
    place = probe["tcpSocket"]
    _, writer = await asyncio.open_connection(place.get("host") or host, target.port(place["port"]))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True, ""


async def _http(probe: Mapping[str, Any], host: str, target: Target) -> Result:
    place = probe["httpGet"]
    name, port = place.get("host") or host, target.port(place["port"])
    secure: ssl.SSLContext | None = None
    if str(place.get("scheme", "HTTP")).upper() == "HTTPS":
        # As a kubelet does: it asks whether something answers, not who.
        secure = ssl.create_default_context()
        secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(name, port, ssl=secure)
    path = "/" + str(place.get("path") or "/").lstrip("/")
    headers = {"Host": f"{name}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {str(h["name"]): str(h["value"]) for h in place.get("httpHeaders") or ()}
    head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    try:
        writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        await writer.drain()
        line = (await reader.readline()).decode(errors="replace").split()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if len(line) < 2 or not line[1].isdigit():  # noqa: PLR2004  HTTP/1.1 200
        return False, "malformed HTTP response"
    code = int(line[1])
    return code in _HTTP_OK, "" if code in _HTTP_OK else f"HTTP probe failed with statuscode: {code}"


async def watch(
    kind: str, probe: Mapping[str, Any], target: Target, tell: Callable[[str, bool, str], None], initial: Result
) -> None:
    """Ask again and again; ``tell(kind, good, message)`` is called when the verdict changes, and on each failure.

    ``tell`` gets ``good=False`` with an empty message for the verdict itself, and with words for each failed try.
    """
    period = float(probe.get("periodSeconds") or 10)
    needed = {True: int(probe.get("successThreshold") or 1), False: int(probe.get("failureThreshold") or 3)}
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    verdict, last, streak = initial[0], initial[0], 0
    first = True
    while True:
        good, said = await once(probe, target)
        streak = streak + 1 if good == last and not first else 1
        first, last = False, good
        if not good:
            tell(kind, False, said or "no output")
        if streak >= needed[good] and (good != verdict or (kind == "livenessProbe" and not good)):
            verdict = good
            tell(kind, good, "")
            if kind == "startupProbe" or (kind == "livenessProbe" and not good):
                return
        await asyncio.sleep(period)


def hosts_for(pod_ip: str) -> tuple[str, ...]:
    """A server may have bound to its pod's address, or to localhost, or to all."""
    return (LOOPBACK,) if pod_ip in ("", LOOPBACK) else (pod_ip, LOOPBACK)
