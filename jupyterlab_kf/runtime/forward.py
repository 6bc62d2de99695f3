"""Leads connections to the pods behind a Service, for a program that knows one host and port: beside it in its pod.

On a cluster of one machine the name of a Service is known to nobody's resolver, and what a program was told when it
began is wrong when pods are replaced. The node writes where Services lead into files (``KF_SERVICES``); each connection
goes to a pod that is ready now, any of them, or waits a while for one. Bytes are passed as they are, so any protocol
is. Keeps no state, and imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Optional

PATIENCE = 30.0
"""Seconds that a connection waits for a pod."""
QUIET = 2.0
"""Seconds without a connection until it ends, after it was told to: the program beside it may still be at work."""
_LOOK = 0.1
_CHUNK = 1 << 16
_CONNECT = 5.0

Place = tuple[str, int]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def places(folder: str, service: str) -> list[Place]:
    """Where a Service leads now, in an order of chance.

    Args:
        folder: of the node's files.
        service: ``NAMESPACE/NAME/PORT``.
    """
    name, _, port = service.rpartition("/")
    try:
        told = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    found = [(str(ip), int(number)) for ip, number in told.get(port, ())]
    random.shuffle(found)
    return found


async def reach(folder: str, service: str, patience: float) -> Optional[Ends]:  # noqa: UP045 (images have older Pythons)
    """A connection to a pod that is ready; None if there is none for so many seconds."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        for ip, port in places(folder, service):
            with suppress(OSError, asyncio.TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(ip, port), _CONNECT)
        if asyncio.get_running_loop().time() >= end:
            return None
        await asyncio.sleep(_LOOK)


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """All bytes of one direction, and its end."""
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


class Forwarder:
    """Takes connections and leads them on.

    Args:
        folder: of the node's files.
        service: ``NAMESPACE/NAME/PORT``.
        patience: seconds that a connection waits for a pod.
    """

    def __init__(self, folder: str, service: str, patience: float = PATIENCE) -> None:
        self._folder, self._service, self._patience = folder, service, patience
        self._open = 0

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self._open += 1
        away: Optional[asyncio.StreamWriter] = None  # noqa: UP045
        try:
            found = await reach(self._folder, self._service, self._patience)
            if found is None:
                sys.stderr.write(f"nothing behind {self._service} is ready\n")
                return
            there, away = found
            await asyncio.gather(pass_on(reader, away), pass_on(there, writer))
        finally:
            self._open -= 1
            for one in (writer, away):
                if one is not None:
                    one.close()

    async def quiet(self, seconds: float) -> None:
        """Return when nothing has been led for so long."""
        clock = asyncio.get_running_loop().time
        last = clock()
        while clock() - last < seconds:
            await asyncio.sleep(_LOOK)
            last = clock() if self._open else last


async def serve(host: str, port: int, folder: str, service: str) -> None:
    """Take connections until the pod is to end and nothing is led any more."""
    forwarder = Forwarder(folder, service)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await asyncio.start_server(forwarder.lead, host, port)
    sys.stderr.write(f"{host}:{port} leads to {service}\n")
    await ended.wait()
    await forwarder.quiet(QUIET)
    server.close()


def main() -> int:
    """The program: ``--port=9082 --to=NAMESPACE/NAME/PORT``."""
    parser = argparse.ArgumentParser(prog="forward", description="Leads connections to the pods behind a Service.")
    parser.add_argument("--port", type=int, required=True, help="where to listen, at the pod's address")
    parser.add_argument("--to", required=True, help="NAMESPACE/NAME/PORT of the Service")
    asked = parser.parse_args()
    asyncio.run(serve(os.environ.get("POD_IP") or "127.0.0.1", asked.port, os.environ.get("KF_SERVICES", ""), asked.to))
    return 0


if __name__ == "__main__":
    sys.exit(main())
