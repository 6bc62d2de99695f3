"""Sends the requests that a real API server was recorded with to ours, and says where the answers differ.

What names a particular cluster (uids, versions, generated names, continue tokens) is learned from each pair of answers
and put into the requests that follow; times and the like are not compared.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from api_harness import TOKEN, Served

GOLDEN = Path(__file__).parents[1] / "golden" / "api"
_SENT = ("Accept", "Content-Type", "Impersonate-User", "If-None-Match")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_LEARNED = {"uid", "resourceVersion", "continue"}
_OPAQUE = {"_truncated_text", "_summary", "_protobuf"}


@dataclass
class Exchange:
    """One recorded request and its answer."""

    step: str
    index: int
    raw: dict[str, Any]

    @property
    def request(self) -> str:
        return str(self.raw["request"])

    @property
    def watch(self) -> bool:
        return "watch" in self.raw


@dataclass
class Answer:
    """What our server said."""

    status: int
    headers: dict[str, str]
    warnings: list[str]
    body: Any
    text: str


@dataclass
class Difference:
    """One place where our answer is another."""

    exchange: Exchange
    path: str
    recorded: Any
    ours: Any

    def __str__(self) -> str:
        recorded, ours = (json.dumps(value)[:160] for value in (self.recorded, self.ours))
        return f"[{self.exchange.step}] {self.exchange.request}\n    {self.path}: recorded {recorded}, ours {ours}"


def exchanges(name: str) -> Iterator[Exchange]:
    steps = json.loads((GOLDEN / f"{name}.json").read_text())["steps"]
    for step in steps:
        for index, raw in enumerate(step.get("exchanges") or ()):
            yield Exchange(str(step.get("step") or ""), index, raw)


def recorded_object(name: str, path: str) -> dict[str, Any]:
    """An object as a recording first shows it: answered to a GET of a path, or the first item of a list there."""
    for exchange in exchanges(name):
        method, _, uri = exchange.request.partition(" ")
        body = exchange.raw.get("response_body")
        if method == "GET" and uri.partition("?")[0] == path and isinstance(body, dict):
            if body.get("items"):
                kind = str(body["kind"]).removesuffix("List")
                return {"kind": kind, "apiVersion": body["apiVersion"], **body["items"][0]}
            if body.get("kind") not in ("Status", "Table") and "metadata" in body and "items" not in body:
                return body
    raise LookupError(f"{name} shows nothing at {path}")


@dataclass
class Replay:
    """A conversation with one server."""

    served: Served
    after: Callable[[Served, Exchange, Answer], None] = lambda _served, _exchange, _answer: None
    known: dict[str, str] = field(default_factory=dict)
    """Recorded value to ours."""
    versions: dict[str, str] = field(default_factory=dict)

    def run(self, exchange: Exchange) -> list[Difference]:
        answer = self.send(exchange)
        self.after(self.served, exchange, answer)
        return list(self.compare(exchange, answer))

    def _now(self) -> int:
        """Our newest version, for versions of which the recording does not tell where they are from."""
        return self.served.registry.store.revision

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, exchange: Exchange) -> Answer:
        method, _, uri = exchange.request.partition(" ")
        headers = {key: value for key, value in exchange.raw["request_headers"].items() if key in _SENT}
        headers["User-Agent"] = exchange.raw["request_headers"].get("User-Agent", "")
        if "none or wrong" not in exchange.raw.get("authorization", ""):
            headers["Authorization"] = f"Bearer {TOKEN}"
        elif "bad token" in exchange.step:
            headers["Authorization"] = "Bearer wrong"
        uri = self._substituted_uri(uri)
        connection = http.client.HTTPSConnection("127.0.0.1", self.served.server.port, context=self.served.tls)
        try:
            connection.putrequest(method, uri, skip_accept_encoding=True)
            body = self._body(exchange)
            for key, value in headers.items():
                if value:
                    connection.putheader(key, value)
            if body or method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            data = b"" if exchange.watch and response.status == http.HTTPStatus.OK else response.read()
            warnings = response.headers.get_all("Warning") or []
            text = data.decode("utf-8", "replace")
            return Answer(response.status, dict(response.headers), warnings, _value(data), text)
        finally:
            connection.close()

    def _body(self, exchange: Exchange) -> bytes:
        body = exchange.raw.get("request_body")
        if body is None:
            return b""
        if isinstance(body, str):
            return self._substituted(body).encode("latin-1", "replace")
        if isinstance(body, dict) and body.get("_protobuf"):
            return base64.b64decode(body["base64"])
        return json.dumps(self._translated(body)).encode()

    def _translated(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            if str(value.get("path", "")).endswith("/resourceVersion"):
                return {**value, "value": self.versions.get(value["value"], value["value"])}
            return {name: self._translated(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._translated(item, key) for item in value]
        if isinstance(value, str):
            return self.versions.get(value, value) if key == "resourceVersion" else self._substituted(value)
        return value

    def _substituted(self, text: str) -> str:
        for recorded, ours in self.known.items():
            if recorded in text:
                text = text.replace(recorded, ours)
        return text

    def _substituted_uri(self, uri: str) -> str:
        def version(match: re.Match[str]) -> str:
            unknown = match[2] if int(match[2]) < 1000 or int(match[2]) > 1_000_000 else str(self._now())
            return match[1] + self.versions.get(match[2], unknown)

        return re.sub(r"(resourceVersion=)(\d+)", version, self._substituted(uri))

    # --- comparing ---------------------------------------------------------------------------------------------------

    def compare(self, exchange: Exchange, answer: Answer) -> Iterator[Difference]:
        if exchange.raw["status"] is None:
            return
        if exchange.raw["status"] != answer.status:
            yield Difference(exchange, "HTTP status", exchange.raw["status"], (answer.status, answer.body))
            return
        if exchange.watch:
            return
        recorded_type = exchange.raw["response_headers"].get("Content-Type", "")
        ours_type = answer.headers.get("Content-Type", "")
        if recorded_type != ours_type:
            yield Difference(exchange, "Content-Type", recorded_type, ours_type)
        warning = exchange.raw["response_headers"].get("Warning") or []
        warnings = [warning] if isinstance(warning, str) else warning
        if warnings != answer.warnings:
            yield Difference(exchange, "Warning", warnings, answer.warnings)
        recorded = exchange.raw.get("response_body")
        if isinstance(recorded, str) and recorded_type == "application/yaml":
            recorded = yaml.safe_load(recorded)
            yield from self._walk(exchange, recorded, yaml.safe_load(answer.text), "")
            return
        if recorded in (None, ""):
            return
        if isinstance(recorded, str) and not isinstance(answer.body, str):
            yield Difference(exchange, "body", recorded[:100], answer.text[:100])
            return
        self._learn(recorded, answer.body)
        yield from self._walk(exchange, recorded, answer.body, "")

    def _learn(self, recorded: Any, ours: Any, key: str = "") -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            generated = recorded.get("generateName")
            if generated and recorded.get("name") and ours.get("name"):
                self.known[recorded["name"]] = ours["name"]
            for name in recorded.keys() & ours.keys():
                self._learn(recorded[name], ours[name], name)
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(recorded, ours, strict=False):
                self._learn(one, other, key)
        elif key in _LEARNED and isinstance(recorded, str) and isinstance(ours, str) and recorded != ours:
            target = self.versions if key == "resourceVersion" else self.known
            target[recorded] = ours

    def _walk(self, exchange: Exchange, recorded: Any, ours: Any, path: str) -> Iterator[Difference]:
        if isinstance(recorded, dict) and not _OPAQUE & recorded.keys():
            if not isinstance(ours, dict):
                yield Difference(exchange, path, recorded, ours)
                return
            for name in [*recorded, *(name for name in ours if name not in recorded)]:
                below = f"{path}.{name}"
                if name not in ours or name not in recorded:
                    yield Difference(exchange, below, recorded.get(name, "(absent)"), ours.get(name, "(absent)"))
                else:
                    yield from self._walk(exchange, recorded[name], ours[name], below)
        elif isinstance(recorded, list):
            yield from self._walk_list(exchange, recorded, ours, path)
        elif not self._same(recorded, ours, path):
            yield Difference(exchange, path, recorded, ours)

    def _walk_list(self, exchange: Exchange, recorded: list[Any], ours: Any, path: str) -> Iterator[Difference]:
        if not isinstance(ours, list):
            yield Difference(exchange, path, recorded, ours)
            return
        cut = bool(recorded) and isinstance(recorded[-1], str) and "more of" in recorded[-1]
        shown = recorded[:-1] if cut else recorded
        if not cut and len(recorded) != len(ours):
            yield Difference(exchange, f"{path} length", len(recorded), len(ours))
            return
        for at, (one, other) in enumerate(zip(shown, ours, strict=False)):
            yield from self._walk(exchange, one, other, f"{path}[{at}]")

    def _same(self, recorded: Any, ours: Any, path: str) -> bool:
        if recorded in (ours, "<omitted>") or (isinstance(recorded, dict) and _OPAQUE & recorded.keys()):
            return True
        if not isinstance(recorded, str) or not isinstance(ours, str):
            return False
        name = path.rpartition(".")[2]
        if name in _LEARNED | {"Etag", "storageVersionHash", "time"}:
            return bool(recorded) == bool(ours)
        if _TIME.fullmatch(recorded) and _TIME.fullmatch(ours):
            return True
        expected = self._substituted(recorded)
        return _numberless(expected) == _numberless(ours) if name == "message" else expected == ours


def _numberless(text: str) -> str:
    """Versions in messages differ from cluster to cluster."""
    return re.sub(r"\b\d+\b", "N", text)


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
