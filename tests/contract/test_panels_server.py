"""The server side of the panels in a real Jupyter server, over the running cluster: every route, and who may not.

On the embedded cluster alone: routes and rights of the Jupyter server are the same; tests/real/day.py does a day's
work of it on a real cluster.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from jupyter_server.serverapp import ServerApp

# Its fixtures, for this module alone: as a plugin it would bring its loop to every test of a session.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.web import RequestHandler
from tornado.websocket import websocket_connect

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
STUDY = ("studies", "default", "nobody")
ENDPOINT = ("endpoints", "default", "nobody")
CALLS = [
    (("cluster",), "GET", "read", "kf:cluster"),
    (("cluster",), "POST", "execute", "kf:cluster"),
    (("contexts",), "GET", "read", "kf:cluster"),
    (("use",), "POST", "execute", "kf:cluster"),
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
    ((*STUDY, "stop"), "POST", "write", "kf:studies"),
    ((*STUDY, "stop-trial"), "POST", "write", "kf:studies"),
    ((*STUDY, "resume"), "POST", "write", "kf:studies"),
    ((*STUDY, "extend"), "POST", "write", "kf:studies"),
    ((*STUDY, "promote"), "POST", "write", "kf:studies"),
    ((*STUDY, "copies"), "GET", "read", "kf:studies"),
    ((*STUDY, "csv"), "GET", "read", "kf:studies"),
    (("trials", "default", "nobody"), "GET", "read", "kf:studies"),
    (("trials", "default", "nobody", "logs"), "GET", "read", "kf:studies"),
    (ENDPOINT, "GET", "read", "kf:endpoints"),
    (ENDPOINT, "DELETE", "write", "kf:endpoints"),
    ((*ENDPOINT, "graph"), "GET", "read", "kf:endpoints"),
    ((*ENDPOINT, "logs"), "GET", "read", "kf:endpoints"),
    ((*ENDPOINT, "plan"), "POST", "write", "kf:endpoints"),
    ((*ENDPOINT, "change"), "POST", "write", "kf:endpoints"),
    ((*ENDPOINT, "predict"), "POST", "execute", "kf:endpoints"),
    ((*ENDPOINT, "feedback"), "POST", "execute", "kf:endpoints"),
    (("servers", "Deployment", "default", "nobody", "predict"), "POST", "execute", "kf:endpoints"),
]
CODE = "import time\nfor epoch in range(3):\n    print(f'epoch={epoch} loss={1 / (epoch + 1)}', flush=True)\n"
LONG = "import time\ntime.sleep(600)\n"
PATIENCE = 60


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    """What a test does, within its patience; who waits for what is told when it is not done."""
    running = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({running}, timeout=PATIENCE)
    if not done:
        for task in asyncio.all_tasks():
            task.print_stack(limit=6)
        running.cancel()
        await asyncio.wait({running})
        pytest.fail(f"not done in {PATIENCE} s")
    await running


def served(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in the server's own loop."""

    @functools.wraps(test)
    def run(jp_asyncio_loop: asyncio.AbstractEventLoop, **given: Any) -> None:
        jp_asyncio_loop.run_until_complete(_in_time(test(**given)))

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
        for method in ("get", "post", "put", "delete"):
            if getattr(handler, method) is getattr(RequestHandler, method):
                continue  # what it has from another route, it would answer as well
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


@pytest.mark.parametrize("family", ["kf:jobs", "kf:studies", "kf:endpoints"])
@served
async def test_the_stream_tells_only_what_its_user_may_read(
    jp_ws_fetch: Fetch, jp_serverapp: ServerApp, desk: Desk, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", lambda *asked: asked[-1] == family)
    await desk.ready()
    place = {"namespace": "default", "name": "nobody"}
    asked = {
        "kf:jobs": ["rows", "job", "lines of a job"],
        "kf:studies": ["studies", "study", "lines of a trial"],
        "kf:endpoints": ["endpoints", "endpoint"],
    }
    socket: Any = await jp_ws_fetch("jupyterlab-kf", "stream")
    for id_ in [one for several in asked.values() for one in several]:
        kind = "Trial" if id_ == "lines of a trial" else "PyTorchJob"
        await socket.write_message(json.dumps({"type": id_.split()[0], "id": id_, "key": {**place, "kind": kind}}))
    refused: set[str] = set()
    others = {one for name, several in asked.items() if name != family for one in several}
    while refused != others:
        for frame in json.loads(await socket.read_message()):
            if frame.get("id") in others:
                assert "does not let you read" in frame["error"]
                refused.add(frame["id"])
            elif frame.get("id"):
                assert "does not let you read" not in frame.get("error", "")
    socket.close()


@dataclass(frozen=True)
class Visit:
    """Someone logged in by a cookie, as a browser is, and never by a token; what the authorizer was asked."""

    fetch: Callable[..., Awaitable[HTTPResponse]]
    socket: Callable[..., Awaitable[Any]]
    asked: list[tuple[str, str]]
    xsrf: str
    origin: str


@pytest.fixture
def visit(
    jp_serverapp: ServerApp,
    jp_asyncio_loop: asyncio.AbstractEventLoop,
    http_server_client: Any,
    jp_base_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Visit:
    """A browser's visit to a server that nobody has leave to use: who passes all checks before that is in ``asked``."""
    routes.install(jp_serverapp, NoDesk())  # type: ignore[arg-type]
    asked: list[tuple[str, str]] = []

    def deny(_: Any, __: Any, wanted: str, what: str) -> bool:
        asked.append((wanted, what))
        return False

    cookies = SimpleCookie()

    def jar() -> str:
        return "; ".join(f"{name}={one.coded_value}" for name, one in cookies.items())

    async def log_in() -> None:
        form = await http_server_client.fetch(f"{jp_base_url}login")
        cookies.load("; ".join(form.headers.get_list("Set-Cookie")))
        body = urlencode({"password": jp_serverapp.identity_provider.token, "_xsrf": cookies["_xsrf"].value})
        entered = await http_server_client.fetch(
            f"{jp_base_url}login",
            method="POST",
            body=body,
            headers={"Cookie": jar()},
            follow_redirects=False,
            raise_error=False,
        )
        assert entered.code == 302
        for header in entered.headers.get_list("Set-Cookie"):
            cookies.load(header)

    jp_asyncio_loop.run_until_complete(log_in())
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", deny)

    async def fetch(path: tuple[str, ...], method: str, **headers: str) -> HTTPResponse:
        address = "/".join((f"{jp_base_url}jupyterlab-kf", *path))
        body = "{}" if method in ("POST", "PUT") else None
        found = await http_server_client.fetch(
            address, method=method, body=body, headers={"Cookie": jar(), **headers}, raise_error=False
        )
        assert isinstance(found, HTTPResponse)
        return found

    async def socket(**headers: str) -> Any:
        address = f"{own.replace('http', 'ws', 1)}{jp_base_url}jupyterlab-kf/stream"
        return await websocket_connect(HTTPRequest(address, headers={"Cookie": jar(), **headers}))

    own = http_server_client.get_url("").rstrip("/")
    return Visit(fetch, socket, asked, cookies["_xsrf"].value, own)


@pytest.mark.parametrize("case", CALLS, ids=lambda case: f"{case[1]} {case[0][-1]}")
@served
async def test_no_route_from_another_site(visit: Visit, case: tuple[Any, ...]) -> None:
    path, method, action, resource = case
    ours = {"X-XSRFToken": visit.xsrf}
    foreign = await visit.fetch(path, method, Origin="https://elsewhere.example", **ours)
    assert foreign.code in (403, 404)
    assert not visit.asked, "a page of another site got past the checks"
    if method != "GET":
        forged = await visit.fetch(path, method)
        assert (forged.code, b"_xsrf" in forged.body) == (403, True)
        wrong = await visit.fetch(path, method, **{"X-XSRFToken": "2|00000000|00|0"})
        assert wrong.code == 403
        assert not visit.asked, "a forged request got past the checks"
    same = await visit.fetch(path, method, Origin=visit.origin, **ours)
    assert same.code == 403
    assert visit.asked == [(action, resource)], "the browser's own request is refused by leave alone"


@served
async def test_no_stream_to_another_site(
    visit: Visit, jp_serverapp: ServerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HTTPClientError) as denied:
        await visit.socket(Origin=visit.origin)
    each = [("read", "kf:jobs"), ("read", "kf:studies"), ("read", "kf:endpoints")]
    assert (denied.value.code, visit.asked) == (403, each)
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", lambda *_: True)
    with pytest.raises(HTTPClientError) as foreign:
        await visit.socket(Origin="https://elsewhere.example")
    assert foreign.value.code == 403
    socket = await visit.socket(Origin=visit.origin)
    socket.close()


@served
async def test_a_change_of_phase_is_an_event_of_jupyter(jp_fetch: Fetch, jp_ws_fetch: Fetch, desk: Desk) -> None:
    """A browser subscribes when it is loaded: before anything was asked of this extension."""
    socket: Any = await jp_ws_fetch("api", "events", "subscribe")
    # The board is up before the job is made: what it finds at its first look has not changed, and is no event.
    await call(jp_fetch, ("cluster",), "GET")
    await desk.ready()
    # Long enough that an operator on a busy machine sees it run.
    form = {"code": CODE + "time.sleep(2)\n", "workers": 1, "name": "told", "replace": True}
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    try:
        phases: list[str] = []
        while "Succeeded" not in phases:
            event = json.loads(await socket.read_message())
            if event["schema_id"] != routes.EVENT:
                continue
            assert event["uid"] == key["uid"]
            assert (event["kind"], event["namespace"], event["name"]) == (key["kind"], "default", "told")
            assert not phases or event["before"] == phases[-1], "each change follows the one before"
            phases.append(event["phase"])
        assert phases[-2:] == ["Running", "Succeeded"]
        socket.close()
    finally:
        await jp_fetch("jupyterlab-kf", "jobs", key["kind"], "default", "told", method="DELETE")


def test_a_server_starts_without_what_is_heavy() -> None:
    heavy = ("kubernetes", "aiohttp", "numpy", "IPython", "pandas")
    script = f"""
import importlib, json, sys
from jupyter_server.serverapp import ServerApp
app = ServerApp.instance(open_browser=False, jpserver_extensions={{}})
app.initialize(argv=[], find_extensions=False, new_httpserver=False)
before = set(sys.modules)
points = importlib.import_module("jupyterlab_kf.handlers")._jupyter_server_extension_points()
for point in points:
    importlib.import_module(point["module"])._load_jupyter_server_extension(app)
brought = set(sys.modules) - before
print(json.dumps([len(points), "jupyterlab_kf.handlers.routes" in brought,
                  sorted(name for name in brought if name.split(".")[0] in {heavy!r})]))
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert json.loads(told.stdout.splitlines()[-1]) == [1, True, []]


@served
async def test_another_cluster_is_chosen_by_name(
    jp_fetch: Fetch, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "away", "context": {"cluster": "c", "namespace": "far"}}],
    }
    config = tmp_path / "kubeconfig"
    config.write_text(json.dumps(away))
    monkeypatch.setenv("KUBECONFIG", str(config))
    await desk.ready()
    found = said(await call(jp_fetch, ("contexts",), "GET"))
    assert found["current"] == "embedded"
    names = [(one["name"], one["namespace"], one["server"]) for one in found["contexts"]]
    assert names == [("away", "far", "http://127.0.0.1:9"), ("embedded", "default", "")]
    with pytest.raises(HTTPClientError) as wrong:
        await call(jp_fetch, ("use",), "POST", {"context": "awy"})
    assert wrong.value.code == 400
    assert "did you mean 'away'?" in json.loads(wrong.value.response.body)["hint"]  # type: ignore[union-attr]
    now = said(await call(jp_fetch, ("use",), "POST", {"context": "away"}))
    assert (now["name"], now["namespace"]) == ("away", "far")
    await until(lambda: desk.link.state == "unreachable")
    back = said(await call(jp_fetch, ("use",), "POST", {"context": "embedded", "namespace": "default"}))
    assert back["name"] == "embedded"
    await desk.ready()
    await until(lambda: desk.link.state == "live")


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
async def test_a_notebook_is_launched_by_its_path_and_changed_for_another_run(
    jp_fetch: Fetch, desk: Desk, jp_root_dir: Path
) -> None:
    assert desk
    sources = (("lr = 1", ["parameters"]), ("%kf_jobs\nimport beside\nprint(lr)", []))
    cells = [{"cell_type": "code", "metadata": {"tags": tags}, "source": text} for text, tags in sources]
    (jp_root_dir / "sub").mkdir()
    (jp_root_dir / "sub" / "beside.py").write_text("")
    (jp_root_dir / "sub" / "train.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    form = {"path": "sub/train.ipynb", "folder": "sub", "workers": 1, "name": "by-path", "replace": True}
    plan = said(await call(jp_fetch, ("plans",), "POST", {**form, "params": {"lr": 2}}))
    assert plan["dropped"] == ["cell 2: %kf_jobs"]
    assert "# Parameters\nlr = 2\n" in plan["code"]
    assert plan["magic"] == "%kf_train pytorch train.ipynb -n 1 --name by-path --param lr=2\n"
    key = said(await call(jp_fetch, ("jobs",), "POST", {**form, "params": {"lr": 2}}))
    job = ("jobs", key["kind"], key["namespace"], key["name"])
    detail = said(await call(jp_fetch, job, "GET"))
    assert (detail["filename"], detail["files"]) == ("train.ipynb", ["beside.py", "train.ipynb"])
    filled = said(await call(jp_fetch, (*job, "form"), "GET"))
    assert (filled["filename"], filled["params"]) == ("train.ipynb", {"lr": 2})
    again = {key: filled[key] for key in ("code", "filename", "framework")}
    plan = said(await call(jp_fetch, ("plans",), "POST", {**again, "workers": 1, "params": {"lr": 3}}))
    assert ("lr = 3" in plan["yaml"], "cell 2" in plan["yaml"]) == (False, True), (
        "the code is packed, its cells are named"
    )
    (jp_root_dir / "sub" / "beside.py").unlink()
    changed = {**again, "workers": 1, "name": "by-form", "replace": True, "like": filled["like"]}
    made = said(await call(jp_fetch, ("jobs",), "POST", changed))
    other = ("jobs", made["kind"], made["namespace"], made["name"])
    assert said(await call(jp_fetch, other, "GET"))["files"] == ["beside.py", "train.ipynb"], "its modules came along"
    for one in (job, other):
        await call(jp_fetch, one, "DELETE")


@served
async def test_a_plan_says_what_the_image_lacks_and_a_form_may_have_it_installed(jp_fetch: Fetch, desk: Desk) -> None:
    await desk.ready()
    form: dict[str, Any] = {"code": "import kf_absent\nimport yaml\n", "image": "plain-python", "workers": 1}
    plan = said(await call(jp_fetch, ("plans",), "POST", form))
    (gap,) = plan["gaps"]
    assert gap["sentence"] == "the image plain-python has no kf-absent (not here either; cell.py, line 1)"
    assert gap["requirements"] == ["kf-absent"]
    plan = said(await call(jp_fetch, ("plans",), "POST", form | {"install": ["kf-absent", "yaml"]}))
    assert plan["gaps"] == []
    assert "--install kf-absent yaml" in plan["magic"]
    assert "Installed at start, unless the image has it: kf-absent, pyyaml==" in plan["summary"]


@served
async def test_hardware_is_offered_by_name_with_the_room_there_is(
    jp_fetch: Fetch, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        "profiles:\n"
        "  - {slug: small, display_name: Small, cpu: 100m, memory: 64Mi}\n"
        "  - {slug: far, cpu: 1, node_selector: {pool: far}}\n"
        "  - {slug: desk, used_for: [server]}\n"
    )
    monkeypatch.setenv("KF_PROFILES", str(file))
    await desk.ready()
    small, far = said(await call(jp_fetch, ("cluster",), "GET"))["profiles"]
    assert (small["slug"], small["title"], small["fits"]) == ("small", "Small", True)
    assert small["room"].startswith("Starts at once")
    assert (far["slug"], far["fits"], far["ever"]) == ("far", False, False)
    assert far["room"] == "No machine of this cluster has what it needs."
    form = {"code": CODE, "workers": 1, "profile": "small"}
    plan = said(await call(jp_fetch, ("plans",), "POST", form))
    assert "cpu: 100m" in plan["yaml"]
    assert "Hardware profile: Small (small)" in plan["summary"]
    nowhere = said(await call(jp_fetch, ("plans",), "POST", {**form, "profile": "far"}))
    assert (nowhere["room"], nowhere["fits"]) == (False, far["room"]), "the form never says two things at once"
    with pytest.raises(HTTPClientError) as wrong:
        await call(jp_fetch, ("plans",), "POST", {**form, "profile": "smal"})
    assert wrong.value.response is not None
    assert wrong.value.code == 400
    assert said(wrong.value.response)["hint"].startswith("did you mean small?")
    file.write_text("profiles: [{slug: small, cpu: much}]\n")
    broken = said(await call(jp_fetch, ("cluster",), "GET"))
    assert broken["profiles"] == []
    assert "much" in broken["fault"]
    assert broken["link"]["state"] == "live"


@served
async def test_stop_resume_and_an_edit_that_comes_too_late(jp_fetch: Fetch, desk: Desk) -> None:
    form = {"code": LONG, "workers": 1, "name": "stopped", "replace": True}
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    one = ("jobs", key["kind"], key["namespace"], key["name"])
    await until_it_is(desk, key, "Running")
    before = said(await jp_fetch("jupyterlab-kf", *one))
    await call(jp_fetch, (*one, "suspend"), "POST")
    await until_it_is(desk, key, "Suspended")
    mine = before["manifest"].replace("cleanPodPolicy: Running", "cleanPodPolicy: All")
    assert mine != before["manifest"]
    edit = {"manifest": mine, "version": before["version"], "base": before["manifest"]}
    with pytest.raises(HTTPClientError) as late:
        await call(jp_fetch, one, "PUT", edit)
    assert late.value.code == 409
    assert late.value.response is not None
    told = said(late.value.response)
    now = said(await jp_fetch("jupyterlab-kf", *one))
    assert told["now"] == now, "what the server has now is told with the refusal"
    assert "suspend: true" in now["manifest"]
    assert "cleanPodPolicy: All" not in now["manifest"], "nothing was applied"
    both = now["manifest"].replace("cleanPodPolicy: Running", "cleanPodPolicy: All")
    assert told["both"] == both, "what each of the two changed is in it"
    now = said(await call(jp_fetch, one, "PUT", {"manifest": told["both"], "version": told["now"]["version"]}))
    assert now["manifest"] == both
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
        for frame in json.loads(await socket.read_message()):
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


@served
async def test_all_that_changed_travels_in_one_message(jp_fetch: Fetch, jp_ws_fetch: Fetch, desk: Desk) -> None:
    await desk.ready()
    socket: Any = await jp_ws_fetch("jupyterlab-kf", "stream")
    every = {str(number) for number in range(12)}
    for one in every:
        await socket.write_message(json.dumps({"type": "rows", "id": one, "query": {"text": "together", "limit": 5}}))
    seen: set[str] = set()
    while seen != every:
        seen |= {frame["id"] for frame in json.loads(await socket.read_message()) if frame["type"] == "rows"}
    form = {"code": CODE, "workers": 1, "name": "together", "replace": True}
    key = said(await call(jp_fetch, ("jobs",), "POST", form))
    changed = {frame["id"] for frame in json.loads(await socket.read_message()) if frame["type"] == "rows"}
    assert changed == every
    await jp_fetch("jupyterlab-kf", "jobs", key["kind"], "default", "together", method="DELETE")
    socket.close()


@pytest.mark.parametrize("message", ["no json", "[]", '{"type": "job", "id": "1", "key": {"kind": "Pod"}}'])
@served
async def test_what_is_not_understood_closes_the_stream(jp_ws_fetch: Fetch, desk: Desk, message: str) -> None:
    assert desk
    socket: Any = await jp_ws_fetch("jupyterlab-kf", "stream")
    await socket.write_message(message)
    while await socket.read_message() is not None:
        pass


def test_a_server_that_nobody_looks_at_loads_no_service() -> None:
    code = (
        "import sys, jupyter_server.serverapp; before = set(sys.modules); import jupyterlab_kf.handlers.routes; "
        "print(sorted(m for m in set(sys.modules) - before if m.startswith('jupyterlab_kf')))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert "jupyterlab_kf.handlers.routes" in done.stdout
    assert "jupyterlab_kf.services" not in done.stdout
