from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from jupyterlab_kf.embedded.kubelet import logs
from jupyterlab_kf.embedded.kubelet.logs import Wanted, read


def line(text: str, second: int = 0, tag: str = "F", stream: str = "stdout") -> str:
    return f"2026-11-23T20:53:{second:02}.5Z {stream} {tag} {text}\n"


async def text(path: Path, **wanted: object) -> str:
    pieces = [p async for p in read(path, Wanted(**wanted), lambda: True)]  # type: ignore[arg-type]
    return b"".join(pieces).decode()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("".join(line(f"l{i}", i) for i in range(10)))
    return path


async def test_everything_and_parts(log: Path) -> None:
    assert await text(log) == "".join(f"l{i}\n" for i in range(10))
    assert await text(log, tail_lines=3) == "l7\nl8\nl9\n"
    assert await text(log, tail_lines=99) == await text(log)
    assert await text(log, tail_lines=0) == ""
    assert await text(log, limit_bytes=4) == "l0\nl"
    assert await text(log, tail_lines=1, timestamps=True) == "2026-11-23T20:53:09.5Z l9\n"


async def test_since(log: Path) -> None:
    since = logs._seconds(b"2026-11-23T20:53:08.2Z")
    assert await text(log, since=since) == "l8\nl9\n"


async def test_partial_lines_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line("first") + line("50%", tag="P") + line(" 80%", tag="P") + line(" 100%") + line("end", tag="P"))
    assert await text(path) == "first\n50% 80% 100%\nend"
    assert await text(path, tail_lines=2) == "50% 80% 100%\nend"
    stamp = "2026-11-23T20:53:00.5Z"
    assert await text(path, tail_lines=2, timestamps=True) == f"{stamp} 50% 80% 100%\n{stamp} end"


async def test_a_rotated_part_is_read_first(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text(line("a") + line("b"))
    (tmp_path / "log").write_text(line("c"))
    assert await text(tmp_path / "log") == "a\nb\nc\n"
    assert await text(tmp_path / "log", tail_lines=2) == "b\nc\n"


async def test_torn_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026-11-2\n" + line("good") + "torn")
    assert await text(tmp_path / "log") == "good\n"


async def test_tails_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BLOCK", 64)
    path = tmp_path / "log"
    path.write_text("".join(line(f"number {i}") for i in range(50)))
    assert (await text(path, tail_lines=20)).splitlines() == [f"number {i}" for i in range(30, 50)]
    assert (await text(path)).splitlines() == [f"number {i}" for i in range(50)]


async def test_following_survives_a_rotation_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "PATIENCE", (0.001, 0.002))
    path = tmp_path / "log"
    over = False
    seen = b""

    async def follow() -> None:
        nonlocal seen
        async for piece in read(path, Wanted(follow=True), lambda: over):
            seen += piece

    async def until(expected: bytes) -> None:
        async with asyncio.timeout(5):
            while seen != expected:  # noqa: ASYNC110  what is followed has no event
                await asyncio.sleep(0.001)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    path.write_text(line("one") + line("tw")[:-1])
    await until(b"one\n")
    with path.open("a") as file:
        file.write("o\n")
    await until(b"one\ntwo\n")
    with path.open("a") as file:
        file.write(line("three"))
        path.rename(tmp_path / "log.1")
        file.write(line("four"))
    path.write_text(line("five"))
    await until(b"one\ntwo\nthree\nfour\nfive\n")
    with path.open("a") as file:
        file.write(line("six"))
    over = True
    await asyncio.wait_for(task, 5)
    assert seen.endswith(b"six\n")


async def test_a_log_that_never_comes(tmp_path: Path) -> None:
    assert await text(tmp_path / "log", follow=True) == ""
