"""Key sets of token issuers (JWKS): fetched beforehand, as istiod does, and kept over restarts.

Envoy gets keys with its configuration and never asks anybody itself. A set is fetched again every 20 minutes; what
cannot be had leaves the set before in use, and without one every token is refused.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from jupyterlab_kf.gateway.files import Files

RENEW: Final = 20 * 60.0
RETRY: Final = 10.0
_SECONDS: Final = 5.0
_MOST: Final = 1 << 20
_DISCOVERY: Final = "/.well-known/openid-configuration"
log = logging.getLogger("jupyterlab_kf.gateway")


class Keys:
    """The key sets that policies name.

    Args:
        files: where they are kept.
        resolve: an address with the names of this cluster replaced.
        changed: called when a set has come, or is another one.
    """

    def __init__(self, files: Files, resolve: Callable[[str], str], changed: Callable[[], None]) -> None:
        self._files, self._resolve, self._changed = files, resolve, changed
        self._due: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        kept = files.value("keys.json")
        self._sets: dict[str, str] = {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}

    @property
    def sets(self) -> Mapping[str, str]:
        """What has been fetched, by address."""
        return self._sets

    def want(self, addresses: Iterable[str]) -> float | None:
        """Fetch what is missing or old; the seconds until something has to be looked at again."""
        now, listed = time.monotonic(), set(addresses)
        for address in listed:
            running = self._tasks.get(address)
            if self._due.get(address, 0.0) <= now and (running is None or running.done()):
                self._due[address] = now + RETRY
                self._tasks[address] = asyncio.get_running_loop().create_task(self._fetch(address))
        waits = [self._due[address] - now for address in listed]
        return max(0.1, min(waits)) if waits else None

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, address: str) -> None:
        try:
            text = await self._text(address)
            if address.endswith(_DISCOVERY):
                text = await self._text(str(json.loads(text)["jwks_uri"]))
            found = json.loads(text)
            if not isinstance(found, dict) or not found.get("keys"):
                raise ValueError("it is no key set")  # noqa: TRY301
        except (OSError, ValueError, KeyError, TypeError, TimeoutError) as error:
            log.warning("no keys from %s: %s", address, error)
            return
        self._due[address] = time.monotonic() + RENEW
        if self._sets.get(address) != text:
            self._sets[address] = text
            self._keep()
            self._changed()

    def _keep(self) -> None:
        try:
            self._files.put_value("keys.json", self._sets)
        except OSError as error:
            log.warning("fetched keys could not be kept: %s", error)

    async def _text(self, address: str) -> str:
        import aiohttp

        if not address.startswith(("http://", "https://")):
            raise ValueError("the address is none of http or https")
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True, raise_for_status=True) as session:
            try:
                async with session.get(self._resolve(address)) as answer:
                    body = bytearray()
                    async for piece in answer.content.iter_any():
                        body += piece
                        if len(body) > _MOST:
                            raise ValueError("it is too long to be a key set")
                    return body.decode()
            except aiohttp.ClientError as error:
                raise OSError(str(error)) from error
