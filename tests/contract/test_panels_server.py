"""The server side of the panels in a real Jupyter server, over the running cluster: every route, and who may not."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import re
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.serverapp import ServerApp

# Its fixtures, for this module alone: as a plugin it would bring its loop to every test of a session.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError, HTTPResponse

from jupyterlab_kf.handlers import routes
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.settings import Settings

pytestmark = [
    # The terminals extension, which the fixture brings, has a route that is guarded in a way of its own.
    pytest.mark.filterwarnings("ignore:Extension endpoints"),
    # The fixture ends the server's loop with connections of the test's client open.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]

Fetch = Callable[..., Awaitable[HTTPResponse]]
ONE = ("jobs", "PyTorchJob", "default", "nobody")
CALLS = [
    (("cluster",), "GET", "read", "kf:cluster"),
    (("cluster",), "POST", "execute", "kf:cluster"),
    (("jobs",), "GET", "read", "kf:jobs"),
    (("jobs",), "POST", "write", "kf:jobs"),
    (("plans",), "POST", "write", "kf:jobs"),
    (ONE, "GET", "read", "kf:jobs"),
    (ONE, "PUT", "write", "kf:jobs"),
    (ONE, "DELETE", "write", "kf:jobs"),
    ((*ONE, "suspend"), "POST", "write", "kf:jobs"),
    ((*ONE, "resume"), "POST", "write", "kf:jobs"),
    ((*ONE, "rerun"), "POST", "write", "kf:jobs"),
    ((*ONE, "events"), "GET", "read", "kf:jobs"),
    ((*ONE, "copies"), "GET", "read", "kf:jobs"),
    ((*ONE, "form"), "GET", "read", "kf:jobs"),
    ((*ONE, "logs"), "GET", "read", "kf:jobs"),
]
CODE = "import time\nfor epoch in range(3):\n    print(f'epoch={epoch} loss={1 / (epoch + 1)}', flush=True)\n"
LONG = "import time\ntime.sleep(600)\n"
PATIENCE = 60


def served(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in the server's own loop."""

    @functools.wraps(test)
    def run(jp_asyncio_loop: asyncio.AbstractEventLoop, **given: Any) -> None:
        jp_asyncio_loop.run_until_complete(asyncio.wait_for(test(**given), PATIENCE))

    own = inspect.signature(test)
    loop = inspect.Parameter("jp_asyncio_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), loop])  # type: ignore[attr-defined]
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {}, "allow_unauthenticated_access": False}}


@pytest.fixture
def desk(jp_serverapp: ServerApp, jp_asyncio_loop: asyncio.AbstractEventLoop, cluster: Settings) -> Iterator[Desk]:
    assert cluster
    shared = Desk()
    routes.install(jp_serverapp, shared)
    yield shared
    jp_asyncio_loop.run_until_complete(shared.close())


@pytest.fixture(autouse=True, scope="module")
def _left_here() -> Iterator[None]:
    """What the fixtures leave unclosed is found here, and in no later module."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class NoDesk:
    """Whoever is refused must not have reached anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a refused request reached {name}")


def said(answer: HTTPResponse) -> Any:
    return json.loads(answer.body)


async def until(condition: Callable[[], bool]) -> None:
    """Until it holds; the test's own patience bounds it."""
    for _ in range(20 * PATIENCE):
        if condition():
            return
        await asyncio.sleep(0.05)


async def call(fetch: Fetch, path: tuple[str, ...], method: str, body: Any = None, **more: Any) -> HTTPResponse:
    text = json.dumps(body or {}) if method in ("POST", "PUT") else None
    return await fetch("jupyterlab-kf", *path, method=method, body=text, **more)


async def until_it_is(desk: Desk, key: dict[str, str], phase: str) -> None:
    board = await desk.ready()
    await until(lambda: key["uid"] in board.rows and board.rows[key["uid"]].phase == phase)


@pytest.mark.parametrize("case", CALLS, ids=lambda case: f"{case[1]} {case[0][-1]}")
@served
async def test_no_route_without_leave(
    jp_fetch: Fetch, jp_serverapp: ServerApp, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, ...]
) -> None:
    path, method, action, resource = case
    routes.install(jp_serverapp, NoDesk())  # type: ignore[arg-type]
    asked: list[tuple[str, str]] = []

    def deny(_: Any, __: Any, wanted: str, what: str) -> bool:
        asked.append((wanted, what))
        return False

    with pytest.raises(HTTPClientError) as refused:
        await call(jp_fetch, path, method, headers={"Authorization": "token wrong"})
    assert refused.value.code == 403
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", deny)
    with pytest.raises(HTTPClientError) as denied:
        await call(jp_fetch, path, method)
    assert denied.value.code == 403
    assert asked == [(action, resource)]


def test_every_route_is_in_the_list_above() -> None:
    listed = {("/".join(path), method.lower()) for path, method, _, _ in CALLS}
    for pattern, handler in routes.ROUTES:
        if pattern == "stream":
            continue
        for method in {"get", "post", "put", "delete"} & set(vars(handler)):
            assert any(re.fullmatch(pattern, path) and method == one for path, one in listed), (pattern, method)


@served
async def test_the_stream_needs_leave(
    jp_ws_fetch: Fetch, jp_serverapp: ServerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes.install(jp_serverapp, NoDesk())  # type: ignore[arg-type]
    with pytest.raises(HTTPClientError) as refused:
        await jp_ws_fetch("jupyterlab-kf", "stream", headers={"Authorization": "token wrong"})
    assert refused.value.code == 403
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", lambda *_: False)
    with pytest.raises(HTTPClientError) as denied:
        await jp_ws_fetch("jupyterlab-kf", "stream")
    assert denied.value.code == 403


@served
async def test_a_launch_from_plan_to_end(jp_fetch: Fetch, desk: Desk) -> None:
    form = {"code": CODE, "workers": 1, "filename": "fast.py", "submission": "00112233aabb"}
    plan = said(await call(jp_fetch, ("plans",), "POST", form))
    assert plan["name"] == "fast-00112"
    assert "%%kf_train pytorch -n 1" in plan["magic"]
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    assert said(await call(jp_fetch, ("jobs",), "POST", form)) == key, "what is sent twice is created once"
    await until_it_is(desk, key, "Succeeded")
    one = ("jobs", key["kind"], key["namespace"], key["name"])
    log = (await jp_fetch("jupyterlab-kf", *one, "logs")).body.decode()
    assert log.splitlines()[0] == "master-0\tepoch=0 loss=1.0"
    detail = said(await jp_fetch("jupyterlab-kf", *one))
    assert detail["code"] == CODE
    assert not detail["suspendable"]
    assert {event["reason"] for event in said(await jp_fetch("jupyterlab-kf", *one, "events"))} >= {"Scheduled"}
    copies = said(await jp_fetch("jupyterlab-kf", *one, "copies"))
    assert copies["magic"].endswith(CODE)
    assert copies["yaml"].startswith("apiVersion: kubeflow.org/v1\nkind: PyTorchJob")
    form = said(await jp_fetch("jupyterlab-kf", *one, "form"))
    assert (form["code"], form["workers"], form["framework"]) == (CODE, 1, "pytorch")
    rerun = said(await call(jp_fetch, (*one, "rerun"), "POST"))
    assert rerun["name"].startswith("fast-")
    assert rerun["name"] != key["name"]
    for name in (key["name"], rerun["name"]):
        await jp_fetch("jupyterlab-kf", "jobs", "PyTorchJob", "default", name, method="DELETE")
    board = await desk.ready()
    await until(lambda: not board.rows)
    page = said(await jp_fetch("jupyterlab-kf", "jobs", params={"text": "fast-"}))
    assert (page["matched"], page["items"]) == (0, [])


@served
async def test_stop_resume_and_an_edit_that_comes_too_late(jp_fetch: Fetch, desk: Desk) -> None:
    form = {"code": LONG, "workers": 1, "name": "stopped", "replace": True}
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    one = ("jobs", key["kind"], key["namespace"], key["name"])
    await until_it_is(desk, key, "Running")
    before = said(await jp_fetch("jupyterlab-kf", *one))
    await call(jp_fetch, (*one, "suspend"), "POST")
    await until_it_is(desk, key, "Suspended")
    with pytest.raises(HTTPClientError) as late:
        await call(jp_fetch, one, "PUT", {"manifest": before["manifest"], "version": before["version"]})
    assert late.value.code == 409
    now = said(await jp_fetch("jupyterlab-kf", *one))
    edited = now["manifest"].replace("suspend: true", "suspend: false")
    await call(jp_fetch, one, "PUT", {"manifest": edited, "version": now["version"]})
    await until_it_is(desk, key, "Running")
    await jp_fetch("jupyterlab-kf", *one, method="DELETE", params={"uid": key["uid"]})


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"code": "x ="}, "invalid syntax"),
        ({"code": "  "}, "no code"),
        ({"path": "../secret.py"}, "outside"),
        ({"code": "x = 1", "folder": "/../.."}, "outside"),
        ({"code": "x = 1", "colour": "red"}, "no field"),
    ],
)
@served
async def test_what_is_refused_says_why(jp_fetch: Fetch, desk: Desk, form: dict[str, Any], word: str) -> None:
    assert desk
    with pytest.raises(HTTPClientError) as refused:
        await call(jp_fetch, ("plans",), "POST", form)
    assert refused.value.code == 400
    assert refused.value.response is not None
    assert word in said(refused.value.response)["message"]


@served
async def test_text_from_a_browser_never_names_a_file(jp_fetch: Fetch, desk: Desk, jp_root_dir: Path) -> None:
    assert desk
    (jp_root_dir / "secret.py").write_text("token = 'xyz'\n")
    plan = said(await call(jp_fetch, ("plans",), "POST", {"code": "secret.py"}))
    assert "Code: cell.py" in plan["summary"]


@pytest.mark.parametrize("path", [("jobs", "Pod", "default", "x"), ("jobs", "PyTorchJob", "default", "..%2Fx")])
@served
async def test_only_training_jobs_can_be_named(jp_fetch: Fetch, desk: Desk, path: tuple[str, ...]) -> None:
    assert desk
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch("jupyterlab-kf", *path)
    assert refused.value.code in (400, 404)


async def read_until(socket: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while True:
        frame = json.loads(await socket.read_message())
        if wanted(frame):
            return dict(frame)


@served
async def test_the_stream_shows_rows_a_job_and_its_log(jp_fetch: Fetch, jp_ws_fetch: Fetch, desk: Desk) -> None:
    assert desk
    socket: Any = await jp_ws_fetch("jupyterlab-kf", "stream")
    await socket.write_message(json.dumps({"type": "rows", "id": "r", "query": {"text": "streamed", "limit": 5}}))
    await read_until(socket, lambda f: f["type"] == "link" and f["link"]["state"] == "live")
    form = {"code": CODE, "workers": 1, "name": "streamed", "replace": True}
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    seen = await read_until(socket, lambda f: f["type"] == "rows" and bool(f["rows"]))
    assert seen["rows"][0]["name"] == "streamed"
    await socket.write_message(json.dumps({"type": "job", "id": "j", "key": key}))
    await socket.write_message(json.dumps({"type": "lines", "id": "l", "key": key}))
    first = await read_until(socket, lambda f: f["type"] == "lines" and bool(f["lines"]))
    assert first["lines"][0]["r"] == "master-0"
    await until_it_is(desk, key, "Succeeded")
    await call(jp_fetch, ("jobs", key["kind"], key["namespace"], key["name"]), "DELETE")
    gone = await read_until(socket, lambda f: f["type"] == "job" and f["gone"])
    assert gone["id"] == "j"
    socket.close()


@pytest.mark.parametrize("message", ["no json", "[]", '{"type": "job", "id": "1", "key": {"kind": "Pod"}}'])
@served
async def test_what_is_not_understood_closes_the_stream(jp_ws_fetch: Fetch, desk: Desk, message: str) -> None:
    assert desk
    socket: Any = await jp_ws_fetch("jupyterlab-kf", "stream")
    await socket.write_message(message)
    while await socket.read_message() is not None:
        pass
