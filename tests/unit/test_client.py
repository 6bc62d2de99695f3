"""The client against a server that answers what each test tells it to: on loopback, without waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Connection
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    OperatorAwayError,
    UnauthorizedError,
    UnreachableError,
)
from jupyterlab_kf.model import Cause

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]] | tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Server:
    """Gives the answers it was told, one after the other, and remembers the requests and the client's pauses."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[Any] = []
        self.pauses: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path, dict(request.query), json.loads(body) if body else None))
        self.headers.append(request.headers)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not isinstance(answer, tuple):
            return await answer(request)
        return web.json_response(answer[1], status=answer[0], headers=answer[2] if len(answer) > 2 else None)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as running:
        here = Connection("test", str(running.make_url("")).rstrip("/"), "n", "", authorization=lambda: "Bearer x")
        made = Client(here, sleep=server.sleep)
        yield made
        await made.close()


def status(code: int, reason: str, message: str = "no") -> tuple[int, Any]:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": f"u-{name}", "labels": labels}}


async def test_lists_are_read_in_pages_and_items_get_their_kind(server: Server, client: Client) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "c1"}, "items": [pod("a")]}),
        (200, {"metadata": {"resourceVersion": "9"}, "items": [pod("b")]}),
    ]
    items, version = await client.snapshot(kinds.POD, "n", selector="x=y")
    assert ([(item["kind"], item["metadata"]["name"]) for item in items], version) == (
        [("Pod", "a"), ("Pod", "b")],
        "9",
    )
    assert server.requests[0][1:3] == ("/api/v1/namespaces/n/pods", {"labelSelector": "x=y", "limit": "500"})
    assert server.requests[1][2]["continue"] == "c1"
    assert server.headers[0]["Authorization"] == "Bearer x"


async def test_a_page_that_went_stale_makes_one_whole_list(server: Server, client: Client) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "c1"}, "items": [pod("a")]}),
        status(410, "Expired"),
        (200, {"metadata": {"resourceVersion": "9"}, "items": [pod("a"), pod("b")]}),
    ]
    assert len(await client.list(kinds.POD, "n")) == 2
    assert "limit" not in server.requests[2][2]


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (404, "NotFound", NotFoundError),
        (409, "Conflict", ConflictError),
        (422, "Invalid", InvalidError),
        (400, "BadRequest", InvalidError),
        (403, "Forbidden", ForbiddenError),
        (401, "Unauthorized", UnauthorizedError),
    ],
)
async def test_failures_are_told_apart_and_not_repeated(
    server: Server, client: Client, code: int, reason: str, error: type[ApiError]
) -> None:
    server.answers = [status(code, reason, "the message")]
    with pytest.raises(error, match="the message"):
        await client.get(kinds.POD, "n", "a")
    assert len(server.requests) == 1


async def test_busy_servers_are_asked_again_and_their_pause_is_kept(server: Server, client: Client) -> None:
    server.answers = [
        (*status(429, "TooManyRequests"), {"Retry-After": "7"}),
        status(503, "ServiceUnavailable"),
        status(500, "InternalError"),
        (200, pod("a")),
    ]
    assert (await client.get(kinds.POD, "n", "a"))["metadata"]["name"] == "a"
    assert 7 <= server.pauses[0] <= 7 * 1.25
    assert all(0 < pause < 2 for pause in server.pauses[1:])


async def test_a_write_that_cannot_be_repeated_is_sent_once(server: Server, client: Client) -> None:
    server.answers = [status(500, "InternalError")]
    with pytest.raises(ApiError):
        await client.create(kinds.POD, pod("a"), namespace="n")
    server.answers = [status(503, "ServiceUnavailable")]
    with pytest.raises(ApiError):
        await client.create(kinds.POD, pod("a"), namespace="n")
    assert len(server.requests) == 2


async def test_creating_again_what_the_same_submission_made_is_success(server: Server, client: Client) -> None:
    mine = pod("a", **{"jupyterlab-kf.io/submission": "s1"})

    async def lost(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.answers = [lost, status(409, "AlreadyExists"), (200, mine)]
    assert (await client.create(kinds.POD, mine, namespace="n"))["metadata"]["uid"] == "u-a"
    assert [request[0] for request in server.requests] == ["POST", "POST", "GET"]
    assert server.requests[0][2] == {"fieldManager": "jupyterlab-kf"}


async def test_a_name_that_another_submission_took_is_refused(server: Server, client: Client) -> None:
    mine = pod("a", **{"jupyterlab-kf.io/submission": "s1"})
    other = pod("a", **{"jupyterlab-kf.io/submission": "s2"})
    server.answers = [status(409, "AlreadyExists"), (200, other)]
    with pytest.raises(AlreadyExistsError):
        await client.create(kinds.POD, mine, namespace="n")
    server.answers = [status(409, "AlreadyExists")]
    with pytest.raises(AlreadyExistsError):
        await client.create(kinds.POD, pod("a"), namespace="n")


async def test_apply_patch_and_delete_say_what_they_mean(server: Server, client: Client) -> None:
    server.answers = [(200, pod("a"))]
    await client.apply(kinds.POD, pod("a"), namespace="n")
    await client.patch(kinds.POD, "n", "a", {"metadata": {}})
    assert await client.delete(kinds.POD, "n", "a", uid="u-a")
    apply, patch, delete = server.requests
    assert apply[2] == {"fieldManager": "jupyterlab-kf", "force": "true"}
    assert apply[3]["kind"] == "Pod"
    assert [headers["Content-Type"] for headers in server.headers[:2]] == [
        "application/apply-patch+yaml",
        "application/merge-patch+json",
    ]
    assert patch[1] == "/api/v1/namespaces/n/pods/a"
    assert delete[3]["preconditions"] == {"uid": "u-a"}
    assert delete[3]["propagationPolicy"] == "Background"
    server.answers = [status(404, "NotFound")]
    assert not await client.delete(kinds.POD, "n", "a")


async def test_log_lines_of_any_length_come_whole(server: Server, client: Client) -> None:
    async def log(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for part in (b"one\ntw", b"o\n", b"x" * 300_000, b"\n\xff end"):
            await answer.write(part)
        return answer

    server.answers = [log]
    lines = [line async for line in client.logs("n", "a", container="c", follow=True, tail=3, timestamps=True)]
    assert lines == ["one", "two", "x" * 300_000, "\ufffd end"]
    assert server.requests[0][2] == {"container": "c", "follow": "true", "tailLines": "3", "timestamps": "true"}


async def test_a_server_that_is_not_there_is_named_and_opened_anew_once(server: Server, client: Client) -> None:
    alive = client.connection
    nowhere = Connection("gone", "http://127.0.0.1:9", "n", "")
    lone = Client(nowhere, sleep=server.sleep)
    with pytest.raises(UnreachableError, match=r"'gone' at http://127\.0\.0\.1:9 cannot be reached"):
        await lone.get(kinds.POD, "n", "a")
    await lone.close()
    server.answers = [(200, pod("a"))]
    revived = Client(nowhere, reopen=lambda: alive, sleep=server.sleep)
    assert (await revived.get(kinds.POD, "n", "a"))["kind"] == "Pod"
    await revived.close()
    server.answers = [(200, {"data": {"ndarray": [1]}})]
    asking = Client(nowhere, reopen=lambda: alive, sleep=server.sleep)
    assert (await asking.proxy("n", "iris", 80, "/predict", method="POST", body=b"{}")).status == 200
    await asking.close()
    still = Client(nowhere, reopen=lambda: nowhere, sleep=server.sleep)
    with pytest.raises(UnreachableError):
        await still.get(kinds.POD, "n", "a")
    await still.close()


async def test_answers_that_are_not_json_are_told(server: Server, client: Client) -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>login</html>")

    server.answers = [page]
    with pytest.raises(ApiError, match="not JSON"):
        await client.get(kinds.POD, "n", "a")


async def test_whether_a_kind_is_served_is_asked_for_its_version(server: Server, client: Client) -> None:
    server.answers = [(200, {"resources": [{"name": "tfjobs"}]})]
    assert await client.serves(kinds.TF_JOB)
    assert not await client.serves(kinds.MPI_JOB)
    server.answers = [status(404, "NotFound")]
    assert not await client.serves(kinds.MPI_JOB_V2)


async def test_a_service_is_spoken_to_through_the_server_and_once(server: Server, client: Client) -> None:
    heard: list[tuple[str, str, bytes, str | None]] = []

    async def program(request: web.Request) -> web.StreamResponse:
        heard.append((request.method, request.raw_path, await request.read(), request.headers.get("Content-Type")))
        return web.Response(status=500, text="the model is broken", headers={"X-Mine": "1"})

    server.answers = [program]
    reply = await client.proxy(
        "n",
        "digits",
        "http",
        "/v1/models/a b:predict",
        method="POST",
        params={"q": "1"},
        body=b"{}",
        headers={"Content-Type": "application/json"},
        scheme="https",
    )
    assert (reply.status, reply.content, reply.headers["X-Mine"]) == (500, b"the model is broken", "1")
    path = "/api/v1/namespaces/n/services/https:digits:http/proxy/v1/models/a%20b:predict?q=1"
    assert heard == [("POST", path, b"{}", "application/json")]
    await client.proxy("n", "worker-0", 8080, "metrics", pod=True)
    assert heard[1][1] == "/api/v1/namespaces/n/pods/worker-0:8080/proxy/metrics"
    server.answers = [status(503, "ServiceUnavailable", "no endpoints available for service")]
    with pytest.raises(ApiError, match="no endpoints"):
        await client.proxy("n", "digits", 80)
    assert len(server.requests) == 3, "what it does to the program is not known, so it is not repeated"


async def test_what_comes_alone_is_told_at_once_and_what_comes_thick_and_fast_together(
    server: Server, client: Client
) -> None:
    heard = asyncio.Event()
    sent = [b"%d" % number for number in range(500)]

    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"alone\n")
        await heard.wait()
        for line in sent:
            await response.write(line + b"\n")
        return response

    server.answers = [pour]
    async with client.stream("/flood", together=0.05) as lines:
        assert await anext(lines) == b"alone"
        assert server.pauses == [], "it did not wait for company"
        heard.set()
        assert [line async for line in lines] == sent
    assert set(server.pauses) == {0.05}


AWAY = (
    'Internal error occurred: failed calling webhook "validator.pytorchjob.training-operator.kubeflow.org": '
    'failed to call webhook: Post "https://training-operator.kubeflow.svc:443/validate-kubeflow-org-v1-pytorchjob?'
    'timeout=10s": dial tcp 127.0.0.1:9443: connect: connection refused'
)
DENIED = (
    'admission webhook "validator.pytorchjob.training-operator.kubeflow.org" denied the request: '
    "spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"
)


async def test_what_is_open_ends_when_the_client_speaks_through_another_connection(
    server: Server, client: Client
) -> None:
    over = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"one\n")
        await over.wait()
        return answer

    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        async with client.stream("/watch", together=0.05) as lines:
            async for line in lines:
                heard.put_nowait(line)

    server.answers = [silent]
    reading = asyncio.create_task(read())
    assert await heard.get() == b"one"
    await client.replace(client.connection)
    done, _ = await asyncio.wait({reading}, timeout=20)
    assert done, "it waits for what nobody will send"
    with pytest.raises(UnreachableError, match="closed"):
        await reading
    over.set()


async def test_a_client_that_was_closed_opens_nothing_any_more(server: Server, client: Client) -> None:
    server.answers = [(200, {"items": []})]
    await client.list(kinds.POD, "n")
    await client.close()
    with pytest.raises(ClusterError, match="closed"):
        await client.list(kinds.POD, "n")
    with pytest.raises(ClusterError, match="closed"):
        _ = [line async for line in client.logs("n", "p")]
    assert len(server.requests) == 1


async def test_a_rule_of_the_cluster_that_does_not_answer_is_told_as_such(server: Server, client: Client) -> None:
    server.answers = [status(500, "InternalError", AWAY)]
    with pytest.raises(OperatorAwayError) as raised:
        await client.create(kinds.PYTORCH_JOB, {"metadata": {"name": "a", "namespace": "n"}})
    assert raised.value.message == (
        "PyTorchJob n/a was not taken: the cluster's rule 'validator.pytorchjob.training-operator.kubeflow.org' "
        "does not answer (dial tcp 127.0.0.1:9443: connect: connection refused)"
    )
    assert "submit again when it is back" in raised.value.hint
    assert raised.value.cause is Cause.OPERATOR_ABSENT


async def test_a_job_that_a_rule_of_the_cluster_refuses_is_no_lack_of_rights(server: Server, client: Client) -> None:
    server.answers = [status(403, "Forbidden", DENIED)]
    with pytest.raises(InvalidError) as raised:
        await client.create(kinds.PYTORCH_JOB, {"metadata": {"name": "a", "namespace": "n"}})
    assert raised.value.message == (
        "the cluster's rule 'validator.pytorchjob.training-operator.kubeflow.org' refuses PyTorchJob n/a: "
        "spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"
    )
    assert "change what it names" in raised.value.hint
