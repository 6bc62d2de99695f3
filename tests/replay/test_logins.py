"""Logins that end and begin anew, ways through proxies, and acting as another; with real servers on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.client import ApiException, CoreV1Api
from logins import Authority, answer, opened, program, served

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection, official, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import CredentialsError, ForbiddenError, UnauthorizedError


def token(name: str, seconds: float) -> str:
    """A JSON web token that says when it ends; nobody here checks its signature."""
    body = json.dumps({"sub": name, "exp": time.time() + seconds}).encode()
    return f"{name}.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.signature"


class Provider:
    """An OpenID Connect provider with refresh tokens that serve once."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.folder = folder
        self.refreshes = ["r1"]
        self.forms: list[dict[str, Any]] = []
        self.url = ""

    async def configuration(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "token_endpoint": f"{self.url}/token"})

    async def token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        self.forms.append(form)
        if form.get("refresh_token") != self.refreshes[-1]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.refreshes.append(f"r{len(self.refreshes) + 1}")
        fresh = token(f"t{len(self.refreshes)}", 3600)
        return web.json_response({"id_token": fresh, "refresh_token": self.refreshes[-1]})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Provider]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.configuration)
        app.router.add_post("/token", self.token)
        server = TestServer(app, scheme="https")
        await server.start_server(ssl=served(self.authority, self.folder, "127.0.0.1"))
        self.url = str(server.make_url("")).rstrip("/")
        yield self
        await server.close()

    def user(self, **config: str) -> dict[str, Any]:
        known = {
            "idp-issuer-url": self.url,
            "client-id": "kubernetes",
            "client-secret": "s",
            "idp-certificate-authority-data": base64.b64encode(self.authority.pem).decode(),
        }
        return {"auth-provider": {"name": "oidc", "config": {**known, **config}}}


def stored(tmp_path: Path) -> dict[str, str]:
    config = yaml.safe_load((tmp_path / "config").read_text())
    found: dict[str, str] = config["users"][0]["user"]["auth-provider"]["config"]
    return found


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_login_is_used_while_it_lasts_and_renewed_before_it_ends(tmp_path: Path) -> None:
    async with Provider(tmp_path).running() as provider:
        whole = token("t0", 3600)
        here = opened(tmp_path, provider.user(**{"id-token": whole, "refresh-token": "r1"}))
        assert here.slow
        assert await asyncio.to_thread(here.authorization) == f"Bearer {whole}"
        assert not provider.forms
        ending = provider.user(**{"id-token": token("t0", 20), "refresh-token": "r1"})
        here = opened(tmp_path, ending)
        first = await asyncio.to_thread(here.authorization)
        assert first == await asyncio.to_thread(here.authorization)
        assert first.startswith("Bearer t2.")
        assert provider.forms == [
            {"grant_type": "refresh_token", "refresh_token": "r1", "client_id": "kubernetes", "client_secret": "s"}
        ]
        # The refresh token served once: what kubectl and the next process find is the new one.
        assert (stored(tmp_path)["id-token"], stored(tmp_path)["refresh-token"]) == (
            first.removeprefix("Bearer "),
            "r2",
        )
        assert files(tmp_path) == {"127.0.0.1.pem": 0o644, "config": 0o600}


async def test_a_login_that_was_revoked_is_renewed_when_the_server_refuses_it(tmp_path: Path) -> None:
    async with Provider(tmp_path).running() as provider:

        async def version(request: web.Request) -> web.Response:
            well = request.headers.get("Authorization", "").startswith("Bearer t2.")
            return web.json_response({"gitVersion": "v1"}, status=200 if well else 401)

        app = web.Application()
        app.router.add_get("/version", version)
        async with TestServer(app) as api:
            user = provider.user(**{"id-token": token("t0", 3600), "refresh-token": "r1"})
            client = Client(opened(tmp_path, user, server=str(api.make_url("")).rstrip("/")))
            assert (await client.version())["gitVersion"] == "v1"
            await client.close()


async def test_a_login_that_cannot_be_renewed_says_what_the_provider_said(tmp_path: Path) -> None:
    async with Provider(tmp_path).running() as provider:
        used = provider.user(**{"id-token": token("t0", -5), "refresh-token": "used before"})
        with pytest.raises(CredentialsError, match=r"answered 400: .*invalid_grant(.|\n)*log in to it again"):
            await asyncio.to_thread(opened(tmp_path, used).authorization)
        none = provider.user(**{"id-token": token("t0", -5)})
        with pytest.raises(CredentialsError, match="no refresh token"):
            await asyncio.to_thread(opened(tmp_path, none).authorization)
        stranger = provider.user(**{"refresh-token": "r1"})
        del stranger["auth-provider"]["config"]["idp-certificate-authority-data"]
        with pytest.raises(CredentialsError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(opened(tmp_path, stranger).authorization)
        assert len(provider.forms) == 1, "who does not prove who it is gets no token"


async def test_the_official_client_renews_a_login_that_is_refused_once(tmp_path: Path) -> None:
    heard: list[str] = []

    async def pods(request: web.Request) -> web.Response:
        heard.append(request.headers["Authorization"])
        if request.path.endswith("/elsewhere/pods"):
            raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{other.port}/api/v1/namespaces/n/pods")
        return web.json_response({"items": []}, status=200 if heard[-1] == "Bearer t2" else 401)

    async def stranger(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.json_response({"items": []})

    there, here = web.Application(), web.Application()
    there.router.add_get("/{path:.*}", stranger)
    here.router.add_get("/{path:.*}", pods)
    async with TestServer(there) as other, TestServer(here) as api:
        text = f"echo run >> {tmp_path}/runs; n=$(wc -l < {tmp_path}/runs); printf '{answer(token='t%d')}' $n"
        used = opened(tmp_path, program(tmp_path, text), server=str(api.make_url("")).rstrip("/"))
        with official.api_client(used) as theirs:
            core = CoreV1Api(theirs)
            assert (await asyncio.to_thread(core.list_namespaced_pod, "n")).items == []
            await asyncio.to_thread(core.list_namespaced_pod, "n")
            assert heard == ["Bearer t1", "Bearer t2", "Bearer t2"]
            await asyncio.to_thread(core.list_namespaced_pod, "elsewhere")
            assert used.renew()
            with pytest.raises(ApiException, match="401"):
                await asyncio.to_thread(core.list_namespaced_pod, "n")


def test_a_program_is_run_again_when_what_it_gave_has_ended(tmp_path: Path) -> None:
    def lasting(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    for name, seconds in (("t1", 10), ("t2", 3600), ("t3", 3600)):
        (tmp_path / name).write_text(answer(token=name, expirationTimestamp=lasting(seconds)))
    text = f"echo run >> {tmp_path}/runs; cat {tmp_path}/t$(wc -l < {tmp_path}/runs)"
    here = opened(tmp_path, program(tmp_path, text))
    assert [here.authorization() for _ in range(4)] == ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t2"]


# --------------------------------------------------------------------------------------------------- service accounts


async def test_a_pods_token_that_was_rotated_is_read_again_even_by_a_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ["one"]
    watched = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {good[-1]}":
            status = {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "no"}
            return web.json_response(status, status=401)
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        made = web.StreamResponse()
        await made.prepare(request)
        watched.set()
        return made  # it ends at once, and is begun again

    authority = Authority()
    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=served(authority, tmp_path, "127.0.0.1"))
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("one")
    (account / "namespace").write_text("team-a")
    (account / "ca.crt").write_bytes(authority.pem)
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", account)
    here = settings.load(
        {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port), "KUBECONFIG": "/none"}
    )
    client = Client(connection.open_connection(connection.choose(here), here))
    assert (client.connection.name, client.connection.namespace) == ("in-cluster", "team-a")
    changes = watch.follow(client, kinds.POD, "team-a", pace=watch.Pace(first=0.001, longest=0.001))
    following = asyncio.ensure_future(anext(changes))
    assert (await following).type == "SYNCED"
    following = asyncio.ensure_future(anext(changes))
    async with asyncio.timeout(20):
        await watched.wait()
        good.append("two")
        (account / "token").write_text("two\n")  # what a kubelet does once an hour
        watched.clear()
        await watched.wait()
        good.append("nobody has this one")
        with pytest.raises(UnauthorizedError):
            await client.list(kinds.POD, "team-a")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await changes.aclose()
    await client.close()
    await server.close()


# ------------------------------------------------------------------------------------------------------------ proxies


class Tunnel:
    """An HTTP proxy that is asked to CONNECT; whatever host it is asked for, it leads to one server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []
        self._pumps: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b" HTTP/")[0].decode())
        inner, outer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, target in ((reader, outer), (inner, writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.close()


@pytest.mark.parametrize("how", ["HTTPS_PROXY", "https_proxy", "proxy-url"])
async def test_an_api_server_behind_a_proxy_is_reached_by_its_name_and_checked(tmp_path: Path, how: str) -> None:
    async def pods(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {}, "items": [], "said": request.headers.get("Authorization")})

    authority = Authority()
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/n/pods", pods)
    api = TestServer(app, scheme="https")
    await api.start_server(ssl=served(authority, tmp_path, "k8s.example"))
    assert api.port is not None
    tunnel = Tunnel(api.port)
    proxy = await asyncio.start_server(tunnel.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    trust = {"certificate-authority-data": base64.b64encode(authority.pem).decode()}
    named: dict[str, Any] = {"server": "https://k8s.example:6443", **trust}
    if how == "proxy-url":
        named[how] = url
    here = opened(tmp_path, {"token": "t"}, {how: url} if how != "proxy-url" else {}, **named)
    client = Client(here, attempts=1)
    assert await client.list(kinds.POD, "n") == []
    assert tunnel.asked == ["CONNECT k8s.example:6443"]
    await client.close()
    with official.api_client(here) as theirs:
        assert (await asyncio.to_thread(CoreV1Api(theirs).list_namespaced_pod, "n")).items == []
    assert tunnel.asked == ["CONNECT k8s.example:6443"] * 2
    proxy.close()
    await api.close()


# -------------------------------------------------------------------------------------------------- acting as another


async def test_who_acts_as_another_says_so_with_every_request(tmp_path: Path) -> None:
    seen: list[dict[str, list[str]]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append({key: request.headers.getall(key) for key in request.headers if key.startswith("Impersonate")})
        status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "ada may not"}
        return web.json_response(
            status if request.method == "POST" else {"items": []}, status=403 if request.method == "POST" else 200
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as api:
        user = {"token": "t", "as": "ada", "as-uid": "u7", "as-groups": ["ml", "all"], "as-user-extra": {"team": ["x"]}}
        client = Client(opened(tmp_path, user, server=str(api.make_url("")).rstrip("/")))
        await client.list(kinds.POD, "n")
        with pytest.raises(ForbiddenError, match="ada may not"):
            await client.create(kinds.POD, {"metadata": {"name": "p"}}, namespace="n")
        await client.close()
        with official.api_client(client.connection) as theirs:
            await asyncio.to_thread(CoreV1Api(theirs).list_namespaced_pod, "n")
    expected = {
        "Impersonate-User": ["ada"],
        "Impersonate-Uid": ["u7"],
        "Impersonate-Group": ["ml", "all"],
        "Impersonate-Extra-team": ["x"],
    }
    assert seen == [expected] * 3
