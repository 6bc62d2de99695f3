from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf.embedded.apiserver import protobuf
from jupyterlab_kf.errors import ApiError

RECORDS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "apimachinery" / "protobuf.json").read_text()
)


@pytest.mark.parametrize("name", RECORDS)
def test_recorded_bodies(name: str) -> None:
    record = RECORDS[name]
    assert protobuf.decode(base64.b64decode(record["body"])) == record["object"]


def test_a_kind_that_is_not_known_is_named() -> None:
    body = protobuf.MAGIC + bytes([10, 12, 10, 2]) + b"v9" + bytes([18, 6]) + b"Cheese"
    with pytest.raises(ApiError, match="Cheese in v9") as caught:
        protobuf.decode(body)
    assert caught.value.code == 415


@pytest.mark.parametrize("body", [b"", b"{}", b"k8s\x00\xff", b"k8s\x00\x0a\x50"])
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode(body)
    assert caught.value.code in (400, 415)


@given(st.data())
def test_a_damaged_body_never_breaks_the_server(data: st.DataObject) -> None:
    body = bytearray(base64.b64decode(RECORDS[data.draw(st.sampled_from(sorted(RECORDS)))]["body"]))
    at = data.draw(st.integers(4, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(protobuf.decode(bytes(body)), dict)
    except ApiError as error:
        assert error.code in (400, 415)  # noqa: PT017  both outcomes are right
