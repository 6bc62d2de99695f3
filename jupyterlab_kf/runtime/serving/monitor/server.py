"""The process: takes copies by HTTP, looks at them from time to time, and answers what it found.

``POST /`` takes a copy as the engine and Seldon's executor send it (a CloudEvent in HTTP's headers), ``GET /findings``
is all that is known. Looks run in a thread, so that copies are taken meanwhile, and only when something has come.
"""

# ruff: noqa: TID252  what is shipped has another name
from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import seldon
from ..cli import host_of
from ..messages import Refusal
from ..web import ClientGone, Receive, Reply, Request, Scope, Send, read, send
from . import judging, reference
from .alarms import Alarm, Alarms
from .events import Reporter
from .judging import Finding
from .reference import Plan, PlanError
from .windows import Copy, Windows

PERIOD = 2.0
"""Seconds between two looks."""
MOST = 64 << 20
_KEPT = 20


def say(text: str) -> None:
    """One line on the log."""
    print(f"monitor: {text}", file=sys.stderr, flush=True)


class Monitor:
    """One endpoint's monitor."""

    def __init__(self, plan: Plan, reporter: Reporter | None) -> None:
        self.windows = Windows(plan)
        self.findings: list[Finding] = []
        self.said: list[tuple[float, Alarm]] = []
        self.looked = 0.0
        self._alarms = Alarms(plan.repeat)
        self._reporter = reporter
        self._seen = 0
        self.started = time.time()

    async def keep_looking(self) -> None:
        """Look every now and then, for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.look()

    async def look(self) -> None:
        """Judge what came since the last look, and say what is to be said."""
        if self.windows.counts.copies != self._seen:
            self._seen = self.windows.counts.copies
            picture = self.windows.picture()
            self.findings = await asyncio.to_thread(judging.judge, self.windows.plan, picture)
            self.looked = time.time()
        for alarm in self._alarms.update(self.findings, time.monotonic()):
            self.said = [*self.said, (time.time(), alarm)][-_KEPT:]
            say(f"{alarm.reason}: {alarm.message}")
            if self._reporter is not None:
                await asyncio.to_thread(self._reporter.tell, alarm)
                if self._reporter.trouble:
                    say(self._reporter.trouble)

    def told(self) -> dict[str, Any]:
        """All that is known, as JSON data."""
        plan = self.windows.plan
        return {
            "counts": asdict(self.windows.counts),
            "plan": {
                "window": plan.window,
                "least": plan.least,
                "alpha": plan.alpha,
                "effect": plan.effect,
                "sample": plan.sample,
                "features": [one.name for one in plan.columns],
                "left": dict(plan.left),
            },
            "findings": [asdict(one) for one in self.findings],
            "alarms": [{"when": when, **asdict(alarm)} for when, alarm in self.said],
            "trouble": self._reporter.trouble if self._reporter else "",
            "started": self.started,
            "looked": self.looked,
        }


class App:
    """HTTP to a monitor."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    async def __call__(self, scope: Scope, receive: Receive, send_part: Send) -> None:
        """One request."""
        try:
            reply = self.answer(await read(scope, receive, MOST))
        except Refusal as refusal:
            reply = Reply(seldon.dump({"error": refusal.info}), refusal.code)
        except ClientGone:
            return
        await send(reply, send_part, closing=False)

    def answer(self, request: Request) -> Reply:
        """The answer to it."""
        if request.method == "POST":
            self.monitor.windows.take(copy_of(request))
            return Reply(b"{}", 202)
        if request.path == "/findings":
            return Reply(seldon.dump(self.monitor.told()))
        if request.path in ("/health/ping", "/ready", "/live"):
            return Reply(b'{"status":"ok"}')
        return Reply(b'{"error":"there is /findings, and POST takes copies"}', 404)


def copy_of(request: Request) -> Copy:
    """What a CloudEvent brings.

    Raises:
        Refusal: it is none.
    """

    def header(name: str) -> str:
        return request.headers.get(name.encode(), b"").decode("latin-1")

    if not header("ce-type"):
        raise Refusal("a copy of a payload is a CloudEvent: its type is in the header Ce-Type")
    protocol = header("ce-protocol") or "seldon"
    return Copy(header("ce-type"), header("ce-endpoint"), header("ce-requestid"), protocol, request.body)


def main(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run it; answers the exit status."""
    env = os.environ if environment is None else environment
    parser = argparse.ArgumentParser("monitor", description="Watch what an endpoint is asked and answers.")
    parser.add_argument("--plan", type=Path, required=True, help="the reference, and how to watch")
    parser.add_argument("--host", default="")
    parser.add_argument("--http-port", type=int, default=int(env.get("PREDICTIVE_UNIT_HTTP_SERVICE_PORT") or 9000))
    options = parser.parse_args(list(argv))
    try:
        plan = reference.read(options.plan.read_bytes())
        host = options.host or host_of(env)
    except (OSError, PlanError, Refusal) as error:
        say(str(error))
        return 2
    import scipy.special  # noqa: F401  told now where it is missing, and not at the first look

    monitor = Monitor(plan, reporter_of(env))
    say(f"watches {len(plan.columns)} features at {host}:{options.http_port}")
    asyncio.run(serve(monitor, host, options.http_port))
    return 0


def reporter_of(env: Mapping[str, str]) -> Reporter | None:
    """Who tells the cluster; nobody where it was not said whom it is about."""
    about, account = env.get("KF_ENDPOINT", ""), env.get("KF_ACCOUNT", "")
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not (about and account and host):
        return None
    return Reporter(json.loads(about), Path(account), (f"[{host}]" if ":" in host else host, port))


async def serve(monitor: Monitor, host: str, port: int) -> None:
    """Take copies until a signal."""
    import uvicorn

    from .. import wholes

    configuration = uvicorn.Config(
        App(monitor), host=host, port=port, log_config=None, access_log=False, lifespan="off", ws="none"
    )
    server = wholes.server(configuration)

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    looking = asyncio.create_task(monitor.keep_looking())
    await server.serve()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
