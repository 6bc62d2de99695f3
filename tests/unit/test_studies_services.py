"""What runs beside Katib's controllers: the suggestion worker, and event files without TensorFlow."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.reports import parsed
from jupyterlab_kf.errors import ClusterError
from jupyterlab_kf.studies.oracle import Oracle
from jupyterlab_kf.studies.tfevents import Reader

QUESTION: dict[str, Any] = {
    "algorithm": "random",
    "settings": {},
    "parameters": [{"name": "x", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}}],
    "objective": "minimize",
    "seed": 1,
    "count": 2,
    "history": [],
}


async def test_the_worker_answers_and_is_replaced_when_it_dies() -> None:
    oracle = Oracle()
    try:
        first = await oracle(QUESTION)
        assert len(first["suggestions"]) == 2
        process = oracle._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        assert await oracle(QUESTION) == first
        assert oracle._process is not process
    finally:
        await oracle.close()


async def test_a_question_that_breaks_the_worker_is_an_error_and_the_next_is_answered() -> None:
    oracle = Oracle()
    try:
        answer = await oracle({**QUESTION, "count": "many"})
        assert answer["fault"]
        assert "ValueError" in answer["error"]
        assert len((await oracle(QUESTION))["suggestions"]) == 2
    finally:
        await oracle.close()


async def test_an_answer_that_does_not_come_is_not_the_next_questions() -> None:
    oracle = Oracle(patience=0.0)
    try:
        with pytest.raises(ClusterError, match="no suggestion within"):
            await oracle(QUESTION)
        assert oracle._process is None
    finally:
        await oracle.close()


async def test_a_worker_that_nobody_asks_ends() -> None:
    oracle = Oracle(idle=0.0)
    await oracle(QUESTION)
    await asyncio.sleep(0.01)
    assert oracle._process is None
    await oracle.close()


# --- event files, as TensorBoard's writers lay them out


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def event(tag: str, value: bytes, when: float, step: int) -> bytes:
    summary = field(1, field(1, tag.encode()) + value)
    return b"\x09" + struct.pack("<d", when) + b"\x10" + varint(step) + field(5, summary)


def record(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + b"\0\0\0\0" + data + b"\0\0\0\0"


def simple(value: float) -> bytes:
    return b"\x15" + struct.pack("<f", value)


def tensor(value: float) -> bytes:
    """A float tensor of TensorFlow 2: dtype, shape, content."""
    return field(8, b"\x08\x01" + field(2, b"") + field(4, struct.pack("<f", value)))


def test_scalars_are_read_as_they_come(tmp_path: Path) -> None:
    train = tmp_path / "train"
    train.mkdir()
    path = train / "events.out.tfevents.1.host"
    version = record(b"\x09" + struct.pack("<d", 1.0) + field(3, b"brain.Event:2"))
    first, second = record(event("loss", simple(0.5), 10.0, 1)), record(event("loss", tensor(0.25), 11.0, 300))
    other = record(event("rate", simple(9.0), 11.0, 1))
    path.write_bytes(version + first + other + second[:-7])
    reader = Reader(tmp_path, ["train/loss", "acc"])
    assert list(reader.read()) == [("train/loss", "0.5", 10.0)]
    assert list(reader.read()) == []
    path.write_bytes(version + first + other + second)
    assert list(reader.read()) == [("train/loss", "0.25", 11.0)]
    (tmp_path / "events.out.tfevents.2.host").write_bytes(record(event("acc", simple(1.0), 12.0, 1)))
    assert list(reader.read()) == [("acc", "1.0", 12.0)]


def test_a_damaged_file_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(record(b"\xff\xff\xff\x07rubbish") + b"\x01")
    assert list(Reader(tmp_path, ["loss"]).read()) == []
    assert list(Reader(tmp_path / "missing", ["loss"]).read()) == []


def test_what_katibs_sdk_sends_is_read() -> None:
    def log(stamp: str, name: str, value: str) -> bytes:
        return field(1, field(1, stamp.encode()) + field(2, field(1, name.encode()) + field(2, value.encode())))

    now = 1_767_225_600.5  # half a second into 2026
    logs = log("2026-01-01T00:00:00Z", "loss", "0.5") + log("2025-01-01T00:00:00Z", "acc", "1") + log("", "f1", "2")
    trial, values = parsed(field(1, b"study-abc") + field(2, logs), now)
    assert trial == "study-abc"
    assert values == [("loss", "0.5", now), ("acc", "1", 1_735_689_600.0), ("f1", "2", now)]
