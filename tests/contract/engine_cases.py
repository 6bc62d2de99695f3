"""The table of cases: graphs, and what is asked of each. Data only; see ``engine_bed``."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]


def _model(name: str, *children: Obj, **rest: Any) -> Obj:
    return {"name": name, "type": "MODEL", "children": list(children), **rest}


def _node(name: str, kind: str, *children: Obj, **rest: Any) -> Obj:
    return {"name": name, "type": kind, "children": list(children), **rest}


ASK: Obj = {"data": {"ndarray": [[1.0, 2.0]]}}
PREDICT, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"


def _ask(name: str, path: str = PREDICT, body: Any = ASK, **rest: Any) -> Obj:
    return {"name": name, "path": path, "body": body, **rest}


def _get(name: str, path: str, **rest: Any) -> Obj:
    return {"name": name, "path": path, "method": "GET", **rest}


def _feedback(name: str, routing: Obj | None, **rest: Any) -> Obj:
    meta = {} if routing is None else {"meta": {"routing": routing}}
    return _ask(name, FEEDBACK, {"request": ASK, "response": {**ASK, **meta}, "reward": 1.0}, **rest)


ROUTED = _node("r", "ROUTER", _model("a"), _node("c", "COMBINER", _model("b1"), _model("b2")))
GROUPS: list[Obj] = [
    {
        "name": "model",
        "graph": _model("m"),
        "cases": [
            _ask("prediction"),
            _ask("old path", "/api/v0.1/predictions"),
            _ask("not JSON", body="nonsense"),
            _ask("empty body", body=""),
            _ask("headers are handed on", headers={"X-Custom": "a", "Authorization": "Bearer b"}),
            _ask("another content type", headers={"Content-Type": "text/weird"}),
            _ask("cloud event", headers={"Ce-Specversion": "1.0", "Ce-Id": "5"}),
            _ask("compressed request", headers={"Content-Encoding": "gzip"}),
            _ask("compressed answer", headers={"X-Unit-m": "gzip", "Accept-Encoding": "gzip"}),
            _ask("answer with HTML", headers={"X-Unit-m": "html"}),
            _ask("answer that is no JSON", headers={"X-Unit-m": "text"}),
            _ask("answer that is an array", headers={"X-Unit-m": "[1]"}),
            _ask("answer without meta", headers={"X-Unit-m": '{"strData":"x"}'}),
            _ask("unit refuses", headers={"X-Unit-m": "418"}),
            _ask("unit has no such path", headers={"X-Unit-m": "404"}),
            _ask("unit fails", headers={"X-Unit-m": "503"}),
            _ask("unit accepts only", headers={"X-Unit-m": "202"}),
            _get("prediction by GET", PREDICT),
            _ask("preflight", method="OPTIONS"),
            _ask("trailing slash", PREDICT + "/"),
            _ask("no such path", "/api/v2.0/predictions"),
            _get("root", "/"),
            _get("double slash", "//ready"),
            _get("head of status", "/api/v1.0/status", method="HEAD"),
            _get("ready", "/ready"),
            _ask("ready by POST", "/ready"),
            _get("live", "/live"),
            _get("status", "/api/v1.0/status"),
            _get("health", "/api/v1.0/health/status"),
            _get("model status", "/api/v1.0/status/m"),
            _get("old model status", "/api/v0.1/status/m"),
            _get("status of nobody", "/api/v1.0/status/nobody"),
            _get("graph metadata", "/api/v1.0/metadata"),
            _get("model metadata", "/api/v1.0/metadata/m"),
            _get("metadata of nobody", "/api/v1.0/metadata/nobody"),
            _ask("status by POST", "/api/v1.0/status"),
            _feedback("feedback", None),
            _ask("feedback that is no JSON", FEEDBACK, "nonsense"),
            _feedback("feedback that is refused", None, headers={"X-Unit-m": "400"}),
        ],
    },
    {
        "name": "routed",
        "graph": ROUTED,
        "cases": [
            _ask("first branch"),
            _ask("second branch", headers={"X-Route-r": "1"}),
            _ask("all branches", headers={"X-Route-r": "-1", "X-Route-c": "0"}),
            _ask("no branch", headers={"X-Route-r": "-2"}),
            _ask("branch that is not there", headers={"X-Route-r": "7"}),
            _ask("route as an array", headers={"X-Unit-r": "[1]"}),
            _ask("route as a tensor", headers={"X-Unit-r": '{"data":{"tensor":{"shape":[1,1],"values":[1]}}}'}),
            _ask("route that is nothing", headers={"X-Unit-r": "[]"}),
            _ask("route that is text", headers={"X-Unit-r": "text"}),
            _ask("router refuses", headers={"X-Unit-r": "400"}),
            _ask("one branch of two refuses", headers={"X-Route-r": "1", "X-Unit-b2": "418"}),
            _ask("both branches refuse", headers={"X-Route-r": "1", "X-Unit-b1": "500", "X-Unit-b2": "418"}),
            _ask("one branch of two is no JSON", headers={"X-Route-r": "1", "X-Unit-b2": "text"}),
            _ask("combiner refuses", headers={"X-Route-r": "1", "X-Unit-c": "422"}),
            _feedback("feedback to the first", {"r": 0, "a": -1}),
            _feedback("feedback to the second", {"r": 1, "c": -1, "b1": -1, "b2": -1}),
            _feedback("feedback to all", {"r": -1}),
            _feedback("feedback without routing", None),
            _feedback("feedback to no branch", {"r": -2}),
            _feedback("feedback to a branch that is not there", {"r": 7}),
            _feedback("feedback that a child refuses", {"r": 0}, headers={"X-Unit-a": "500"}),
            _get("graph metadata", "/api/v1.0/metadata"),
        ],
    },
    {
        "name": "chain",
        "graph": _node("o", "OUTPUT_TRANSFORMER", _node("t", "TRANSFORMER", _model("a", _model("b")))),
        "cases": [
            _ask("order"),
            _ask("the middle refuses", headers={"X-Unit-a": "409"}),
            _feedback("feedback", None),
            _get("graph metadata", "/api/v1.0/metadata"),
        ],
    },
    {
        "name": "methods",
        "graph": _node(
            "u", "UNKNOWN_TYPE", _model("a"), _model("b"),
            methods=["TRANSFORM_INPUT", "ROUTE", "AGGREGATE", "TRANSFORM_OUTPUT", "SEND_FEEDBACK"],
        ),
        "cases": [_ask("all methods", headers={"X-Route-u": "1"}), _feedback("feedback", {"u": 1})],
    },
    {
        "name": "ab",
        "graph": {
            "name": "ab", "implementation": "RANDOM_ABTEST", "children": [_model("a"), _model("b")],
            "parameters": [{"name": "ratioA", "value": "1.0", "type": "FLOAT"}],
        },
        "cases": [_ask("always the first"), _feedback("feedback", {"ab": 0})],
    },
    {
        "name": "gone",
        "graph": _model("m", absent=True),
        "cases": [_ask("unit is not there"), _get("ready", "/ready"), _get("status", "/api/v1.0/status")],
    },
    {
        "name": "v2",
        "protocol": "v2",
        "graph": _model("m", _model("n")),
        "cases": [
            _ask("infer", "/v2/models/m/infer", {"inputs": [{"name": "x", "data": [1]}]}),
            _ask("infer without a name", "/v2/models/infer", {"inputs": []}),
            _ask("infer of another name", "/v2/models/cifar/infer", {"inputs": []}),
            _ask("neither inputs nor outputs", "/v2/models/m/infer", {"x": 1}),
            _ask("not JSON", "/v2/models/m/infer", "nonsense"),
            _ask("unit refuses", "/v2/models/m/infer", {"inputs": []}, headers={"X-Unit-n": "400"}),
            _ask("compressed request", "/v2/models/m/infer", {"inputs": []}, headers={"Content-Encoding": "gzip"}),
            _get("model ready", "/v2/models/m/ready"),
            _get("nobody ready", "/v2/models/nobody/ready"),
            _get("model metadata", "/v2/models/m"),
            _get("health", "/v2/health/ready"),
            _get("alive", "/v2/health/live"),
            _ask("Seldon's path", PREDICT),
            _get("infer by GET", "/v2/models/m/infer"),
        ],
    },
    {
        "name": "tensorflow",
        "protocol": "tensorflow",
        "graph": _model("half", _model("next")),
        "cases": [
            _ask("predict", "/v1/models/half:predict", {"instances": [1]}),
            _ask("predict with a slash", "/v1/models/half/:predict", {"instances": [1]}),
            _ask("predict without a name", "/v1/models:predict", {"instances": [1]}),
            _ask("predict without a name, with a slash", "/v1/models/:predict", {"instances": [1]}),
            _ask("columns", "/v1/models/half:predict", {"inputs": {"x": [1]}}),
            _ask("nothing to predict", "/v1/models/half:predict", {"x": 1}),
            _get("status", "/v1/models/half"),
            _get("metadata", "/v1/models/half/metadata"),
            _get("predict by GET", "/v1/models/half:predict"),
            _feedback("feedback", None),
        ],
    },
]  # fmt: skip
