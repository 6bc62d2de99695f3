from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import apply, patches
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj, parse_time

GOLDEN = Path(__file__).parents[1] / "golden" / "apimachinery"
SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "namespace")


def replay(live: Obj | None, record: dict[str, Any], now: float) -> Obj:
    """One recorded PATCH, as a server would do it with the pure functions."""
    url = urlsplit(record["request"].split(" ")[1])
    query = {k: v[0] for k, v in parse_qs(url.query).items()}
    kind = kinds.TF_JOB if "/tfjobs/" in url.path else kinds.CONFIG_MAP
    body = record["request_body"]
    if record["content_type"].startswith("application/apply-patch"):
        done = apply.server_side_apply(
            live, body, kind=kind, manager=query["fieldManager"], force=query.get("force") == "true", now=now
        )
    else:
        done = patches.merge_patch(live or {}, body)
        done["metadata"] = {
            **done["metadata"],
            "managedFields": apply.track_update(live, done, kind=kind, manager=query["fieldManager"], now=now),
        }
    return done


def test_recorded_server_side_apply() -> None:
    records = json.loads((GOLDEN / "server-side-apply.json").read_text())
    stored: dict[str, Obj] = {}
    compared = 0
    for record in records:
        place = urlsplit(record["request"].split(" ")[1]).path
        answer = record["response_body"]
        if record["status"] == 422:
            continue  # query options: the server's business
        times = [e.get("time") for e in (answer.get("metadata") or {}).get("managedFields") or ()]
        now = parse_time(next((t for t in times if t), "2026-11-23T14:57:50Z")) or 0.0
        if record["status"] not in (200, 201):
            with pytest.raises(ApiError) as caught:
                replay(stored.get(place), record, now)
            error = caught.value
            assert (error.code, error.reason, error.message) == (answer["code"], answer["reason"], answer["message"])
            assert dict(error.details) == answer.get("details", {})
        else:
            done = replay(stored.get(place), record, now)
            done["metadata"] |= {name: answer["metadata"][name] for name in SERVER if name in answer["metadata"]}
            assert done == answer
            stored[place] = done
        compared += 1
    assert compared >= 12
