from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from jupyterlab_kf.embedded import supervisor
from jupyterlab_kf.embedded.supervisor import Log


def lines(path: Path) -> list[tuple[str, str, str]]:
    result = []
    for line in path.read_text().splitlines():
        stamp, stream, tag, text = line.split(" ", 3)
        assert stamp.endswith("Z")
        assert len(stamp) == len("2026-11-23T20:53:56.366871219Z")
        result.append((stream, tag, text))
    return result


def test_lines_are_stamped_and_streams_kept_apart(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    log.feed("stdout", b"one\ntw")
    log.feed("stderr", b"bad\n")
    log.feed("stdout", b"o\n\n")
    assert lines(tmp_path / "log") == [
        ("stdout", "F", "one"),
        ("stderr", "F", "bad"),
        ("stdout", "F", "two"),
        ("stdout", "F", ""),
    ]
    assert not log.waits


def test_a_line_without_end_is_written_in_parts(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    log.feed("stdout", b"50%")
    assert log.waits
    log.flush("stdout")
    log.feed("stdout", b" 100%\n")
    log.feed("stderr", b"last")
    log.flush("stderr", b"F")
    assert lines(tmp_path / "log") == [("stdout", "P", "50%"), ("stdout", "F", " 100%"), ("stderr", "F", "last")]


def test_a_very_long_line_is_cut(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    log.feed("stdout", b"x" * (supervisor.LINE_LIMIT + 1))
    log.feed("stdout", b"y\n")
    tags = [(tag, len(text)) for _, tag, text in lines(tmp_path / "log")]
    assert tags == [("P", supervisor.LINE_LIMIT), ("F", 2)]


def test_the_log_is_rotated_by_name_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 200)
    log = Log(str(tmp_path / "log"))
    for index in range(6):
        log.feed("stdout", f"line {index}\n".encode())
    texts = [text for name in ("log.1", "log") for _, _, text in lines(tmp_path / name)]
    assert texts[-4:] == [f"line {index}" for index in range(2, 6)]
    assert (tmp_path / "log").stat().st_size <= 200


def test_a_full_disk_costs_lines_and_not_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(str(tmp_path / "log"))
    real, full = os.write, [True]

    def write(fd: int, data: memoryview) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    log.feed("stdout", b"lost\n")
    full[0] = False
    log.feed("stdout", b"kept\n")
    texts = [text for _, _, text in lines(tmp_path / "log")]
    assert texts[0].endswith("bytes of output lost: the disk was full]")
    assert texts[1] == "kept"


def test_a_record_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "exit.json"
    supervisor.reserve(str(path))
    assert (tmp_path / "exit.json.tmp").stat().st_size == 4096
    supervisor.write_whole(str(path), {"exitCode": 3}, sync=True)
    assert json.loads(path.read_text()) == {"exitCode": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["exit.json"]


def test_who_a_process_is() -> None:
    assert supervisor.start_time(2**22 + 1) == 0
    if Path("/proc/self/stat").exists():
        assert supervisor.start_time(os.getpid()) > 0
        assert supervisor.boot_id()
    assert supervisor.memory([2**22 + 1]) == 0
    assert supervisor.proportional_memory([2**22 + 1]) == 0


@pytest.mark.parametrize("name", ["run.json", "exit.json", "abandoned"])
def test_a_folder_that_was_used_is_left_alone(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "chdir", lambda _: None)
    (tmp_path / name).touch()
    assert supervisor.main(str(tmp_path)) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["lock", name])
