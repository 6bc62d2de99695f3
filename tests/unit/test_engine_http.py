"""The client that asks units, against servers that answer byte for byte what a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from jupyterlab_kf.runtime.serving.engine.http import LostError, Pool, UnreachedError

ASK = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-More: 1\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request with the next of its bytes; what is None is never answered, what ends with ! is the last."""

    def __init__(self, *answers: bytes | None, close: bool = False) -> None:
        self.answers = list(answers)
        self.close = close
        self.connections = 0
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                await reader.readexactly(len(ASK))
                self.requests += 1
                answer = self.answers.pop(0)
                if answer is None:
                    await reader.read()
                    break
                for part in answer.split(b"|"):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.close:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def pool(server: Server) -> AsyncIterator[Pool]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    made = Pool("127.0.0.1", listening.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        made.close()
        listening.close()
        await asyncio.sleep(0)


async def test_a_connection_is_used_again() -> None:
    server = Server(OK, OK, OK)
    async with pool(server) as units:
        for _ in range(3):
            answer = await units.ask(ASK, None)
            assert (answer.code, answer.body, answer.headers) == (200, b"hi", {b"content-type": "a/b"})
    assert server.connections == 1


async def test_requests_at_once_have_connections_of_their_own() -> None:
    server = Server(*[OK] * 6)
    async with pool(server) as units:
        await asyncio.gather(*(units.ask(ASK, None) for _ in range(3)))
        await asyncio.gather(*(units.ask(ASK, None) for _ in range(3)))
    assert server.connections == 3


async def test_a_fresh_connection_is_not_kept() -> None:
    server = Server(OK, OK)
    async with pool(server) as units:
        await units.ask(ASK, None, fresh=True)
        await units.ask(ASK, None)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nh|i\r\n1\r\n!\r\n0\r\n\r\n", b"hi!"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\n|" + OK, b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-|Length: 2\r\n|\r\nh|i", b"hi"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
async def test_answers_come_in_all_forms(answer: bytes, body: bytes) -> None:
    server = Server(answer, OK)
    async with pool(server) as units:
        assert (await units.ask(ASK, None)).body == body
        assert (await units.ask(ASK, None)).body == b"hi"
    assert server.connections == 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async with pool(Server(b"HTTP/1.1 200 OK\r\n\r\nall of it", close=True)) as units:
        assert (await units.ask(ASK, None)).body == b"all of it"


async def test_a_unit_that_says_close_is_believed() -> None:
    server = Server(OK.replace(b"X-More: 1", b"Connection: close"), OK)
    async with pool(server) as units:
        assert (await units.ask(ASK, None)).body == b"hi"
        assert (await units.ask(ASK, None)).body == b"hi"
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        b"HTTP/1.1 200",
    ],
)
async def test_an_answer_that_does_not_come_whole_is_lost(answer: bytes) -> None:
    async with pool(Server(answer, close=True)) as units:
        with pytest.raises(LostError):
            await units.ask(ASK, None)


async def test_what_comes_unasked_is_no_answer_to_the_next_request() -> None:
    server = Server(OK + b"|" + OK, OK)
    async with pool(server) as units:
        assert (await units.ask(ASK, None)).body == b"hi"
        await until(lambda: not any(one.open for one in units._idle))
        assert (await units.ask(ASK, None)).body == b"hi"
    assert server.connections == 2


async def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come so far")


async def test_a_unit_that_does_not_answer_in_time_is_given_up_with_its_connection() -> None:
    server = Server(None, OK)
    async with pool(server) as units:
        with pytest.raises(asyncio.TimeoutError):
            await units.ask(ASK, 0.01)
        assert (await units.ask(ASK, None)).body == b"hi"
    assert server.connections == 2


async def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    server = Server(None, OK)
    async with pool(server) as units:
        asking = asyncio.create_task(units.ask(ASK, None))
        await until(lambda: server.requests == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await units.ask(ASK, None)).body == b"hi"
    assert server.connections == 2


async def test_of_several_places_the_first_that_takes_the_connection_is_asked() -> None:
    async with pool(Server(OK)) as units:
        here = ("127.0.0.1", units._port)
        service = Pool("m.ns.svc", 9000, lambda _host, _port: [("127.0.0.1", 1), here])
        assert (await service.ask(ASK, None)).body == b"hi"
        service.close()


async def test_a_service_without_ready_pods_is_said() -> None:
    with pytest.raises(OSError, match=r"nothing behind m\.ns\.svc:9000 is ready"):
        await Pool("m.ns.svc", 9000, lambda _host, _port: []).ask(ASK, None)


async def test_nobody_there_is_said() -> None:
    with pytest.raises(UnreachedError, match="Connect call failed"):
        await Pool("127.0.0.1", 1).ask(ASK, None)
