"""Where our engine answers otherwise than Seldon's executor 1.17.1 on purpose: docs/serving-engine.md for tests.

:func:`expected` turns a recorded answer into ours. Rules hold wherever they fit; of :data:`CASES` each is one row of
the table. What differs and is in neither is a fault.
"""

from __future__ import annotations

import copy
import json
from typing import Any

Obj = dict[str, Any]


def _failure(code: int) -> Obj:
    """An error of the engine's own, whose words are ours."""
    return {"code": code, "body": {"status": {"code": code, "info": ..., "status": "FAILURE"}}}


#: What is answered instead, by group and case; ``...`` stands for any text.
CASES: dict[tuple[str, str], Obj] = {
    # A message whose feedback cannot be read must not teach every branch; the executor sends it to all.
    ("model", "feedback that is no JSON"): {**_failure(400), "calls": []},
    # Paths are not cleaned: no client of ours sends such.
    ("model", "double slash"): {
        "code": 404,
        "headers": {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"},
        "body": "404 page not found\n",
    },
    # The executor panics and drops the connection.
    ("routed", "branch that is not there"): _failure(500),
    ("routed", "route that is nothing"): _failure(500),
    ("routed", "feedback to no branch"): {"code": 200, "asked": ["r"], "body": {"meta": {"tags": {"told": "r"}}}},
    ("routed", "feedback to a branch that is not there"): {**_failure(400), "calls": []},
    # The unit's own words, also where it is a router.
    ("routed", "router refuses"): {"body": {"status": {"code": 400, "info": "r refuses", "status": "FAILURE"}}},
    # The same in other words: which unit, where, and why.
    ("routed", "route that is text"): _failure(500),
    ("routed", "one branch of two is no JSON"): _failure(500),
    ("gone", "unit is not there"): _failure(500),
    # Not ready says why.
    ("gone", "ready"): {"body": ..., "content-type": "text/plain; charset=utf-8"},
    ("gone", "status"): {"body": ..., "content-type": "text/plain; charset=utf-8"},
    # A client's fault is not the server's: Envoy would eject the replica for it.
    ("v2", "neither inputs nor outputs"): _failure(400),
    ("v2", "not JSON"): _failure(400),
    ("tensorflow", "nothing to predict"): _failure(400),
    # A compressed request is served.
    ("v2", "compressed request"): {"like": "infer", "asked": ["m", "n"]},
    # What standard clients of the protocol ask.
    ("v2", "alive"): {"like": "health"},
    # The router's choice is recorded, not the -1 of its own combining, which would send feedback to all.
    ("methods", "all methods"): {"routing": {"b": -1, "u": 1}},
}


def expected(group: Obj, name: str, record: dict[str, Obj]) -> Obj:
    """What ours is to answer."""
    answer = copy.deepcopy(record[name])
    change = dict(CASES.get((group["name"], name), {}))
    if "like" in change:
        answer = {**copy.deepcopy(record[change.pop("like")]), "calls": answer["calls"]}
    if "routing" in change:
        answer["body"]["meta"]["routing"] = change.pop("routing")
    if "content-type" in change:
        answer["headers"]["content-type"] = change.pop("content-type")
    if answer.pop("aborted", False):
        answer["headers"] = None  # there were none to compare with
    answer |= change
    _rules(group, answer)
    return answer


def _rules(group: Obj, answer: Obj) -> None:
    headers = answer["headers"] or {}
    if isinstance(answer["body"], dict) and headers.get("content-type", "").startswith("text/plain"):
        # The executor says the code before the type, so that Go guesses one.
        headers["content-type"] = "application/json"
    if "access-control-allow-methods" in headers:
        # The executor names methods twice where two of its routes fit.
        methods = headers["access-control-allow-methods"].split(",")
        headers["access-control-allow-methods"] = ",".join(dict.fromkeys(methods))
    # Answers are opened to say the way they took; the client is not obliged to take a compressed one.
    if headers.pop("content-encoding", None):
        answer["body"].setdefault("meta", {})
    for call in answer["calls"]:
        _call(group, call)


def _call(group: Obj, call: Obj) -> None:
    """Routing is told to the client, not to units; and a chain's second model is asked by its own name."""
    for message in call["body"] if isinstance(call["body"], list) else [call["body"]]:
        if isinstance(message, dict):
            message.get("meta", {}).pop("routing", None)
    if group.get("protocol"):
        call["ask"] = call["ask"].replace(f"models/{group['graph']['name']}", f"models/{call['unit']}")


def compare(group: Obj, case: Obj, ours: Obj, record: dict[str, Obj]) -> list[str]:
    """What is not as it should be, in words."""
    wanted = expected(group, case["name"], record)
    found = [_differs("code", wanted["code"], ours.get("code")), _body(group, case, wanted["body"], ours.get("body"))]
    if wanted["headers"] is not None:
        found.append(_differs("headers", wanted["headers"], _typed(ours["headers"])))
    if "asked" in wanted:
        found.append(_differs("asked", wanted["asked"], [call["unit"] for call in ours["calls"]]))
    else:
        found.append(_differs("calls", wanted["calls"], ours["calls"]))
    return [one for one in found if one]


def _typed(headers: Obj) -> Obj:
    kind = headers.get("content-type", "")
    return {**headers, "content-type": kind.split(";")[0]} if kind.startswith("application/json") else headers


def _body(group: Obj, case: Obj, wanted: Any, ours: Any) -> str:
    if wanted is ...:
        return ""
    if isinstance(wanted, dict) and isinstance(ours, dict):
        wanted, ours = copy.deepcopy(wanted), copy.deepcopy(ours)
        if isinstance(wanted.get("status"), dict) and wanted["status"].get("info") is ...:
            wanted["status"]["info"] = ours["status"]["info"]
        if group.get("protocol") and "refuses" not in wanted.get("status", {}).get("info", "refuses"):
            wanted["error"] = wanted["status"]["info"]  # where clients of these protocols look for it
        if not group.get("protocol") and case["path"].endswith("predictions") and "status" not in wanted:
            return _meta(wanted.pop("meta", {}), ours.pop("meta", {})) or _differs("body", wanted, ours)
    return _differs("body", wanted, ours)


def _meta(wanted: Obj, ours: Obj) -> str:
    """The way is always told; what units say on it is handed on, more of it than the executor does."""
    if ours.get("puid") != "case" or not isinstance(ours.get("routing"), dict):
        return f"meta: {ours} lacks the number or the way"
    told = {name: ours.get("tags", {}).get(name) for name in wanted.get("tags", {})}
    return _differs("tags", wanted.get("tags", {}), told) or (
        _differs("routing", wanted["routing"], ours["routing"]) if "routing" in wanted else ""
    )


def _differs(what: str, wanted: Any, ours: Any) -> str:
    if what == "headers":
        wanted = _typed(wanted)
    if wanted == ours:
        return ""
    return f"{what}: wanted {json.dumps(wanted, default=str)}\n  got {json.dumps(ours, default=str)}"


#: What is answered instead over gRPC, by group and case; ``...`` stands for any text.
RPC_CASES: dict[tuple[str, str], Obj] = {
    # The executor ends with all its requests: a message without meta has no place for the routing.
    ("none", "no branch"): {
        "code": "OK",
        "message": {"meta": {"routing": [{"key": "r", "value": -2}]}, "strData": "x"},
    },
    ("refused", "router refuses"): {"code": "NOT_FOUND", "details": "r refuses"},
    # A feedback that no unit at the root takes is answered with an empty message.
    ("chain", "feedback"): {"code": "OK", "message": {}, "puid": "case"},
    ("gone", "unit is not there"): {"details": ...},
    # The number comes back with every answer.
    ("chain", "graph metadata"): {"puid": "case"},
    ("routed", "metadata"): {"puid": "case"},
}


def compare_rpc(group: Obj, case: Obj, ours: Obj, record: dict[str, Obj]) -> list[str]:
    """What is not as it should be over gRPC, in words."""
    wanted = copy.deepcopy(record[case["name"]]) | RPC_CASES.get((group["name"], case["name"]), {})
    ours = copy.deepcopy(ours)
    for call in wanted["calls"]:
        for message in call["message"].get("seldonMessages", [call["message"]]) if call["message"] else []:
            if not call["ask"].endswith("SendFeedback"):
                message.get("meta", {}).pop("routing", None)
    found = [_differs("calls", wanted["calls"], ours["calls"]), _differs("code", wanted["code"], ours["code"])]
    if wanted["code"] != "OK":
        return [one for one in [*found, *_details(wanted, ours)] if one]
    if case["method"] == "Predict":
        told, said = wanted["message"].pop("meta"), ours["message"].pop("meta")
        found.append(_differs("routing", told["routing"], said["routing"]))
        found += [f"tag {tag} is missing" for tag in told.get("tags", []) if tag not in said.get("tags", [])]
        found.append(_differs("puid", "case", said["puid"]))
    found.append(_differs("message", wanted["message"], ours["message"]))
    found.append(_differs("puid", wanted.get("puid", "case"), ours["puid"]))
    return [one for one in found if one]


def _details(wanted: Obj, ours: Obj) -> list[str]:
    return [] if wanted["details"] is ... else [_differs("details", wanted["details"], ours["details"])]
