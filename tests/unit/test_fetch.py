from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterlab_kf.runtime import fetch


def model(folder: Path) -> Path:
    (folder / "model" / "1").mkdir(parents=True)
    (folder / "model" / "1" / "weights").write_text("w")
    (folder / "model" / "about").write_text("a")
    return folder / "model"


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_the_content_of_a_folder_is_copied(tmp_path: Path, form: str) -> None:
    source, target = model(tmp_path), tmp_path / "target"
    assert fetch.main([form.format(source), str(target)]) == 0
    assert (target / "1" / "weights").read_text() == "w"
    (source / "about").write_text("b")
    assert fetch.fetch(str(source), target, {}) == 2
    assert (target / "about").read_text() == "b"


def test_a_file_is_copied_under_its_name(tmp_path: Path) -> None:
    source = model(tmp_path) / "about"
    assert fetch.fetch(str(source), tmp_path / "target", {}) == 1
    assert (tmp_path / "target" / "about").read_text() == "a"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("gs://bucket/model", "not from gs://"),
        ("https://host/model", "not from https://"),
        ("/nowhere/at/all", "there is nothing at /nowhere/at/all"),
        ("store:bucket/model", "RCLONE_CONFIG_STORE_TYPE is not set"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path: Path, source: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch.main([source, str(tmp_path)]) == fetch.FAILED
    assert told in capsys.readouterr().err


class Files:
    """A file system as fsspec gives one."""

    def __init__(self, found: dict[str, str]) -> None:
        self.found = found

    def find(self, path: str) -> list[str]:
        return [one for one in self.found if one == path or one.startswith(f"{path}/")]

    def get_file(self, source: str, target: str) -> None:
        Path(target).write_text(self.found[source])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """With which options S3 was asked; it has two files."""
    seen: dict[str, Any] = {}

    def filesystem(kind: str, **options: Any) -> Files:
        seen.update(kind=kind, **options)
        return Files({"bucket/model/1/weights": "w", "bucket/model/about": "a", "bucket/other": "o"})

    monkeypatch.setitem(sys.modules, "fsspec", SimpleNamespace(filesystem=filesystem))
    return seen


def test_what_is_under_a_key_of_s3_is_fetched(tmp_path: Path, asked: dict[str, Any]) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://store"}
    assert fetch.fetch("s3://bucket/model", tmp_path, environment) == 2
    assert (tmp_path / "1" / "weights").read_text() == "w"
    assert not (tmp_path / "other").exists()
    assert asked == {"kind": "s3", "key": "k", "secret": "s", "client_kwargs": {"endpoint_url": "http://store"}}


def test_a_remote_of_rclone_is_s3_under_another_name(tmp_path: Path, asked: dict[str, Any]) -> None:
    environment = {
        "RCLONE_CONFIG_STORE_TYPE": "s3",
        "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": "mine",
        "AWS_ACCESS_KEY_ID": "other",
    }
    assert fetch.fetch("store:bucket/model/about", tmp_path, environment) == 1
    assert (tmp_path / "about").read_text() == "a"
    assert asked["key"] == "mine"


def test_an_empty_place_in_s3_is_an_error(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(fetch.FetchError, match="there is nothing at s3://bucket/nothing"):
        fetch.fetch("s3://bucket/nothing", tmp_path, {})
    assert asked["kind"] == "s3"
