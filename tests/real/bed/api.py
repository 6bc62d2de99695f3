"""The few calls on an API server that putting a cluster together takes.

Apart from the package's own client: what tests a client must not be that client. It applies, reads, lists, deletes and
patches one object per call, and raises :class:`ApiStatusError` otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

Obj = dict[str, Any]
_MANAGER = "test-bed"


class ApiStatusError(Exception):
    """The API server refused: its code, reason and words."""

    def __init__(self, code: int, body: bytes) -> None:
        try:
            status = json.loads(body)
        except ValueError:
            status = {"message": body.decode(errors="replace")}
        self.code = code
        self.status = status
        self.reason = str(status.get("reason", ""))
        self.message = str(status.get("message", ""))
        super().__init__(f"{code} {self.reason}: {self.message}")


class Api:
    """One user's calls, from a kubeconfig with a certificate or token in it; safe to use from several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.namespace = config["contexts"][0]["context"]["namespace"]
        self._address = urllib.parse.urlsplit(cluster["server"])
        self.authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=self.authority)
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        if "client-key-data" in user:
            self._present(user)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        self._local = threading.local()

    def _present(self, user: Obj) -> None:
        with tempfile.NamedTemporaryFile() as file:  # load_cert_chain reads nothing but files
            for part in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[part]))
            file.flush()
            self._context.load_cert_chain(file.name)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """One call; the decoded body, or its text where it is not JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Accept": accept, "Content-Type": content_type} | self._headers
        response, content = self._send(method, path, data, headers)
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiStatusError(response.status, content)
        if "json" in (response.headers.get("Content-Type") or ""):
            return json.loads(content)
        return content.decode(errors="replace")

    def stream(self, path: str, *, accept: str = "application/json", seconds: float = 30) -> Generator[Obj, None, None]:
        """The lines of a watch, on a connection of their own; the request is sent when the first line is asked for."""
        with contextlib.closing(self.lines(path, accept=accept, seconds=seconds)) as lines:
            yield from map(json.loads, lines)

    def lines(
        self, path: str, *, accept: str = "application/json", seconds: float = 30
    ) -> Generator[bytes, None, None]:
        """The same as they come."""
        host, port = self._address.hostname or "", self._address.port
        connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=seconds)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Accept": accept} | self._headers)
            with connection.getresponse() as response:
                if response.status >= http.HTTPStatus.BAD_REQUEST:
                    raise ApiStatusError(response.status, response.read())
                while line := response.readline():
                    yield line

    def apply(self, obj: Obj) -> Obj:
        """Server-side apply, with strict checking of fields."""
        query = urllib.parse.urlencode({"fieldManager": _MANAGER, "force": "true", "fieldValidation": "Strict"})
        path = f"{self.path(obj)}?{query}"
        answer: Obj = self.request("PATCH", path, obj, content_type="application/apply-patch+yaml")
        return answer

    def apply_all(self, objects: Iterable[Obj], *, workers: int = 8) -> None:
        """Apply several at once; the first refusal is raised."""
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(self.apply, objects))

    def create(self, obj: Obj) -> Obj:
        """Create, with strict checking of fields."""
        collection = self.path(obj).rpartition("/")[0]
        answer: Obj = self.request("POST", f"{collection}?fieldValidation=Strict", obj)
        return answer

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Obj:
        """One object."""
        answer: Obj = self.request("GET", self.place(api_version, kind, name, namespace))
        return answer

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, labels: str = "") -> list[Obj]:
        """The objects of a kind in a namespace ("" for all), by name."""
        path = self.place(api_version, kind, "", namespace).rstrip("/")
        items = self.request("GET", f"{path}?labelSelector={urllib.parse.quote(labels)}")["items"]
        return sorted(items, key=lambda item: item["metadata"]["name"])

    def merge(self, api_version: str, kind: str, name: str, patch: Obj, namespace: str | None = None) -> Obj:
        """A JSON merge patch; of the status where the patch is of nothing else."""
        path = self.place(api_version, kind, name, namespace) + ("/status" if list(patch) == ["status"] else "")
        answer: Obj = self.request("PATCH", path, patch, content_type="application/merge-patch+json")
        return answer

    def delete(self, api_version: str, kind: str, name: str, namespace: str | None = None, *, grace: int = -1) -> None:
        """Delete in the background; what is not there is deleted already."""
        options: Obj = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": grace} if grace >= 0 else {})
        try:
            self.request("DELETE", self.place(api_version, kind, name, namespace), options)
        except ApiStatusError as error:
            if error.code != http.HTTPStatus.NOT_FOUND:
                raise

    def path(self, obj: Obj) -> str:
        """The path of an object."""
        metadata = obj["metadata"]
        return self.place(obj["apiVersion"], obj["kind"], metadata.get("name", ""), metadata.get("namespace"))

    def place(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> str:
        """The path of a kind's object by its names; the namespace is the kubeconfig's own when None, none when ""."""
        plural, namespaced = self._plural(api_version, kind)
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        inside = self.namespace if namespace is None else namespace
        scope = f"/namespaces/{inside}" if namespaced and inside else ""
        return f"{root}{scope}/{plural}/{name}"

    def resources(self, api_version: str) -> frozenset[str]:
        """The names of the resources that the server tells of in a group and version."""
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        try:
            found = self.request("GET", root)["resources"]
        except ApiStatusError as error:
            if error.code == http.HTTPStatus.NOT_FOUND:
                return frozenset()
            raise
        for item in found:
            if "/" not in item["name"]:
                self._plurals[api_version, item["kind"]] = (item["name"], item["namespaced"])
        return frozenset(item["name"] for item in found)

    def _plural(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._plurals:
            self.resources(api_version)
        try:
            return self._plurals[api_version, kind]
        except KeyError:
            raise LookupError(f"the server does not serve {kind} of {api_version}") from None

    def _send(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One exchange on this thread's connection; a connection that the server closed meanwhile is opened again."""
        for last in (False, True):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                host, port = self._address.hostname or "", self._address.port
                connection = http.client.HTTPSConnection(host, port, context=self._context, timeout=60)
                self._local.connection = connection
            try:
                connection.request(method, path, data, headers)
                response = connection.getresponse()
                return response, response.read()
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                connection.close()
                self._local.connection = None
                if last:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close this thread's connection."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            self._local.connection = None


def until(question: Callable[[], Any], *, seconds: float, what: str, every: float = 0.1) -> Any:
    """Ask until the answer is true and return it; TimeoutError names what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := question():
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)
