"""Credentials: programs, files, certificates, proxies; with real programs and real TLS on loopback."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from logins import V1, Authority, answer, opened, program

from jupyterlab_kf import settings
from jupyterlab_kf.cluster import connection, credentials
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.credentials import Credentials, Material
from jupyterlab_kf.errors import CredentialsError, UnauthorizedError, UnreachableError


def test_a_program_is_run_once_while_what_it_gave_lasts(tmp_path: Path) -> None:
    user = program(tmp_path, f"echo run >> {tmp_path}/runs; echo '{answer(token='t1')}'")
    here = opened(tmp_path, user)
    assert here.slow
    assert [here.authorization(), here.authorization()] == ["Bearer t1", "Bearer t1"]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_program_is_told_the_cluster_and_its_own_variables(tmp_path: Path) -> None:
    user = program(
        tmp_path,
        f"echo \"$KUBERNETES_EXEC_INFO\" > {tmp_path}/info; echo $ROLE > {tmp_path}/role; echo '{answer(token='t')}'",
    )
    user["exec"] |= {"provideClusterInfo": True, "env": [{"name": "ROLE", "value": "ml"}]}
    opened(tmp_path, user).authorization()
    info = json.loads((tmp_path / "info").read_text())
    assert info["spec"] == {"interactive": False, "cluster": {"server": "http://127.0.0.1:9"}}
    assert (tmp_path / "role").read_text() == "ml\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'token has expired' >&2; exit 3", "exit code 3: token has expired"),
        ("echo nonsense", "not an ExecCredential"),
        (f"echo '{answer()}'", "neither a token nor a certificate"),
    ],
)
def test_a_program_that_fails_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CredentialsError, match=said):
        opened(tmp_path, program(tmp_path, text)).authorization()


def test_programs_that_cannot_be_run_from_here_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    missing = {"exec": {"apiVersion": V1, "command": "no-such-login", "installHint": "get it from the shop"}}
    with pytest.raises(CredentialsError, match=r"cannot be run(.|\n)*get it from the shop"):
        opened(tmp_path, missing).authorization()
    user = program(tmp_path, "true")
    user["exec"]["interactiveMode"] = "Always"
    with pytest.raises(CredentialsError, match="wants to talk to you"):
        opened(tmp_path, user).authorization()
    with pytest.raises(CredentialsError, match="auth provider 'gcp' was removed"):
        opened(tmp_path, {"auth-provider": {"name": "gcp"}})


def test_a_failing_fetch_is_not_repeated_for_a_moment_and_recovers_by_itself() -> None:
    now, calls = 0.0, 0
    well = False

    def fetch(_: bool) -> Material:  # noqa: FBT001
        nonlocal calls
        calls += 1
        if not well:
            raise CredentialsError("away")
        return Material("Bearer t", until=now + 100)

    mine = Credentials(fetch, clock=lambda: now)
    for now in range(300):  # noqa: B007  five minutes, asked every second
        with pytest.raises(CredentialsError, match="away"):
            mine.header()
    assert 40 <= calls <= 70
    well, now = True, now + credentials.LONGEST_PAUSE
    assert mine.header() == "Bearer t"
    before = calls
    assert mine.header() == "Bearer t"
    assert calls == before
    now += 101
    mine.header()
    assert calls == before + 1


def test_a_token_file_is_read_anew_every_minute_and_at_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a")
    mine = Credentials(credentials.from_token_file(path))
    assert mine.header() == "Bearer a"
    path.write_text("b\n")
    assert mine.header() == "Bearer a"
    assert mine.renew()
    assert mine.header() == "Bearer b"


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[TestServer, list[str]]]:
    """A server that accepts the last of the tokens it has seen listed."""
    good: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {good[-1]}":
            return web.json_response({"kind": "Status", "reason": "Unauthorized", "code": 401}, status=401)
        return web.json_response({"gitVersion": "v1"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as running:
        yield running, good


async def test_a_refusal_runs_the_program_once_more_and_repeats_the_request(
    tmp_path: Path, guarded: tuple[TestServer, list[str]]
) -> None:
    server, good = guarded
    good.append("1")
    text = f"echo run >> {tmp_path}/runs; n=$(wc -l < {tmp_path}/runs); printf '{answer(token='%d')}' $n"
    here = opened(tmp_path, program(tmp_path, text), server=str(server.make_url("")).rstrip("/"))
    client = Client(here)
    assert (await client.version())["gitVersion"] == "v1"
    good.append("2")
    assert (await client.version())["gitVersion"] == "v1"
    good.append("never")
    with pytest.raises(UnauthorizedError):
        await client.version()
    await client.close()


async def test_certificates_names_and_authorities_are_checked_over_real_tls(tmp_path: Path) -> None:
    authority = Authority()
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        seen.append(dict(part[0] for part in peer["subject"])["commonName"])
        return web.json_response({"gitVersion": "v1"})

    chain, key = authority.issue("only-this-name")
    (tmp_path / "chain.pem").write_bytes(chain + key)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "chain.pem")
    tls.load_verify_locations(tmp_path / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    app = web.Application()
    app.router.add_get("/version", handle)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=tls)
    mine, private = authority.issue("ada")
    inline = {
        "client-certificate-data": base64.b64encode(mine).decode(),
        "client-key-data": base64.b64encode(private).decode(),
    }
    (tmp_path / "ada.crt").write_bytes(mine)
    (tmp_path / "ada.key").write_bytes(private)
    files = {"client-certificate": "ada.crt", "client-key": "ada.key"}
    giver = program(tmp_path, f"cat {tmp_path}/answer")
    (tmp_path / "answer").write_text(answer(clientCertificateData=mine.decode(), clientKeyData=private.decode()))
    address = str(server.make_url("")).rstrip("/")
    named: dict[str, Any] = {"tls-server-name": "only-this-name", "certificate-authority": "ca.pem"}
    careless: dict[str, Any] = {"insecure-skip-tls-verify": True}
    for user, trust in ((inline, named), (files, named), (giver, named), (inline, careless)):
        client = Client(opened(tmp_path, user, server=address, **trust))
        await client.version()
        await client.close()
    assert seen == ["ada"] * 4
    stranger = Client(opened(tmp_path, inline, server=address, **{"certificate-authority": "ca.pem"}), attempts=1)
    with pytest.raises(UnreachableError, match="for another name"):
        await stranger.version()
    await stranger.close()
    await server.close()


def test_proxies_are_those_of_the_environment_with_kubectls_exceptions(tmp_path: Path) -> None:
    here = settings.load({"HTTPS_PROXY": "proxy:3128", "no_proxy": "10.0.0.0/8, .corp.example,api.lan:6443"})
    proxied = ("https://k8s.example", "https://api.lan:443", "https://notcorp.example")
    direct = ("https://10.1.2.3:6443", "https://k.corp.example", "https://api.lan:6443", "https://127.0.0.1:1")
    assert [connection.proxy_for(server, here) for server in proxied] == ["http://proxy:3128"] * 3
    assert [connection.proxy_for(server, here) for server in direct] == [""] * 4
    assert opened(tmp_path, {"token": "t"}, **{"proxy-url": "http://p:1"}).proxy == "http://p:1"
