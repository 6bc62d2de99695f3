"""Tells the cluster: an Event on the endpoint, under the pod's own account, which may do nothing else.

Blocking; called in a thread. Whether it worked is told, since a monitor without the right to do so still works.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .alarms import Alarm

SOURCE = "jupyterlab-kf-monitor"
_SECONDS = 10


class Reporter:
    """Writes events about one object.

    Args:
        about: apiVersion, kind, name, namespace and uid of the object.
        account: the folder with the account's token and the certificate of the API server.
        server: host and port of the API server.
    """

    def __init__(self, about: Mapping[str, str], account: Path, server: tuple[str, str]) -> None:
        self._about = about
        self._account = account
        self._server = server
        self._made: dict[tuple[str, str], tuple[str, int]] = {}
        self.trouble = ""

    def tell(self, alarm: Alarm) -> None:
        """Record an alarm; what was recorded before is counted."""
        try:
            self._tell(alarm)
            self.trouble = ""
        except urllib.error.HTTPError as error:
            self.trouble = f"the alarm could not be written as an event: {error.code} {_said(error)}"
        except (OSError, ValueError) as error:
            self.trouble = f"the alarm could not be written as an event: {error}"

    def _tell(self, alarm: Alarm) -> None:
        space, now = self._about["namespace"], _now()
        key = (alarm.reason, alarm.message)
        name, count = self._made.get(key, ("", 0))
        if name and alarm.again:
            try:
                patch = {"count": count + 1, "lastTimestamp": now}
                self._send("PATCH", f"/api/v1/namespaces/{space}/events/{name}", patch)
            except urllib.error.HTTPError as error:
                if error.code != 404:  # noqa: PLR2004  events are forgotten after an hour
                    raise
            else:
                self._made[key] = (name, count + 1)
                return
        name = f"{self._about['name']}.{time.time_ns():x}"
        self._send("POST", f"/api/v1/namespaces/{space}/events", event(self._about, alarm, name, now))
        self._made = {key: (name, 1)} | {kept: told for kept, told in self._made.items() if kept[0] != alarm.reason}

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        host, port = self._server
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        token = (self._account / "token").read_text().strip()  # it is renewed while we run
        request = urllib.request.Request(
            f"https://{host}:{port}{path}",
            data=json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/json"},
        )
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context):
            pass


def event(about: Mapping[str, str], alarm: Alarm, name: str, now: str) -> dict[str, Any]:
    """The Event of an alarm."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about["namespace"]},
        "involvedObject": dict(about),
        "type": alarm.type,
        "reason": alarm.reason,
        "message": alarm.message,
        "source": {"component": SOURCE},
        "reportingComponent": SOURCE,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: UP017 (images have older Pythons)


def _said(error: urllib.error.HTTPError) -> str:
    try:
        told = json.loads(error.read())
        return str(told.get("message") or error.reason)
    except (OSError, ValueError, AttributeError):
        return str(error.reason)
