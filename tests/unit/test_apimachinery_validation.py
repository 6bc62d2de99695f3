from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import defaults, failures, validation
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

GOLDEN = Path(__file__).parents[1] / "golden" / "apimachinery"
REFUSALS: list[dict[str, Any]] = json.loads((GOLDEN / "refusals.json").read_text())


def served(request: str) -> Kind:
    plural = urlsplit(request.split(" ")[1]).path.rsplit("/", 1)[1]
    return next(kind for kind in kinds.ALL if kind.plural == plural and kind != kinds.MPI_JOB_V2)


def submit(kind: Kind, obj: Obj, *, strict: bool = False) -> Obj:
    """A create, as far as it is pure."""
    unknown = validation.unknown_fields(kind, obj)
    if strict and unknown:
        why = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: '
        raise failures.bad_request(why + ", ".join(unknown))
    complete = defaults.default(kind, validation.prune(kind, obj))
    if causes := validation.validate(kind, complete):
        raise failures.invalid(kind, (complete.get("metadata") or {}).get("name") or "", causes)
    return complete


@pytest.mark.parametrize("record", REFUSALS, ids=lambda r: r["response_body"]["message"][:50])
def test_recorded_refusal(record: dict[str, Any]) -> None:
    kind, answer = served(record["request"]), record["response_body"]
    if record["request_body"].get("data") == {"a": "<1100000 bytes>"}:
        record["request_body"]["data"]["a"] = "x" * 1100000
    with pytest.raises(ApiError) as caught:
        submit(kind, record["request_body"], strict="Strict" in record["request"])
    assert caught.value.message == answer["message"]
    assert (caught.value.code, caught.value.reason) == (answer["code"], answer["reason"])
    assert dict(caught.value.details) == answer.get("details", {})
