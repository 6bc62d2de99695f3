"""What Seldon's webhook refuses, in its words, and what only then turns out not to serve."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registries import begun

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.seldon import validation
from jupyterlab_kf.embedded.registry import MERGE_PATCH, Registry
from jupyterlab_kf.errors import InvalidError
from jupyterlab_kf.model import Obj


def container(name: str) -> Obj:
    return {"name": name, "image": "me/unit:1"}


def predictor(name: str = "default", graph: Obj | None = None, **more: Any) -> Obj:
    tree = graph or {"name": "model", "type": "MODEL"}
    plain = [unit["name"] for unit in validation.units(tree) if not unit.get("implementation")]
    pods = [{"spec": {"containers": [container(one) for one in plain]}}] if plain else []
    return {"name": name, "graph": tree, "componentSpecs": pods, **more}


def sdep(*predictors: Obj, **spec: Any) -> Obj:
    kind = kinds.SELDON_DEPLOYMENT
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "iris", "namespace": "default"},
        "spec": {"predictors": list(predictors or [predictor()]), **spec},
    }


def ready_made(server: str = "SKLEARN_SERVER", **more: Any) -> Obj:
    return {"name": "model", "implementation": server, "modelUri": "gs://models/iris", **more}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store, clock=lambda: 1_800_000_000.0)
    store.close()


KAFKA = [{"name": name, "value": "x"} for name in ("KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC")]
GOOD = {
    "one model": sdep(),
    "a ready-made server": sdep(predictor(graph=ready_made())),
    "a server that loads from the hub": sdep(predictor(graph={"name": "t", "implementation": "HUGGINGFACE_SERVER"})),
    "a canary": sdep(predictor("a", traffic=90), predictor("b", traffic=10)),
    "a shadow": sdep(predictor("a", traffic=100), predictor("b", shadow=True, traffic=5)),
    "one predictor with all traffic said": sdep(predictor(traffic=100)),
    "kafka": sdep(predictor(svcOrchSpec={"env": KAFKA}), serverType="kafka"),
    "no engine": sdep(predictor(annotations={"seldon.io/no-engine": "true"})),
    "another server with an image of its own": sdep(
        {**predictor(graph=ready_made("MY_SERVER")), "componentSpecs": [{"spec": {"containers": [container("model")]}}]}
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_seldon_takes_is_taken(name: str, registry: Registry) -> None:
    assert validation.refused(GOOD[name]) == []
    registry.create(kinds.SELDON_DEPLOYMENT, GOOD[name])


CHILD = {"name": "model", "type": "MODEL"}
BAD = {
    'spec: Invalid value: "soap": Invalid protocol': sdep(protocol="soap"),
    'spec: Invalid value: "pigeon": Invalid transport': sdep(transport="pigeon"),
    'spec: Invalid value: "mail": Invalid serverType': sdep(serverType="mail"),
    'spec.predictors[0]: Invalid value: "default": For kafka please supply svcOrchSpec envs': sdep(serverType="kafka"),
    'spec.predictors[0]: Invalid value: "default": Shadow can not exist as only predictor': sdep(
        predictor(shadow=True)
    ),
    'spec.predictors[1]: Invalid value: "b": Found duplicate service name in seldon.io/svc-name with value s': sdep(
        predictor("a", traffic=50, annotations={"seldon.io/svc-name": "s"}),
        predictor("b", traffic=50, annotations={"seldon.io/svc-name": "s"}),
    ),
    "Running without engine only valid for single element graphs": sdep(
        predictor(
            graph={"name": "router", "type": "ROUTER", "children": [CHILD]},
            annotations={"seldon.io/no-engine": "true"},
        )
    ),
    "Duplicate predictor name": sdep(predictor("a", traffic=50), predictor("a", traffic=50)),
    'spec.predictors[0].graph: Invalid value: "model": Can\'t find container for Predictive Unit': sdep(
        {"name": "default", "graph": CHILD}
    ),
    'spec.predictors[0].graph[0]: Invalid value: "leaf": Can\'t find container': sdep(
        {**predictor(), "graph": {"name": "model", "children": [{"name": "leaf"}]}}
    ),
    "Predictive Unit has no implementation methods defined": sdep(
        predictor(graph={"name": "model", "type": "UNKNOWN_TYPE"})
    ),
    "modelUri required when using standalone servers": sdep(predictor(graph=ready_made(modelUri=""))),
    "Prepackaged server does not handle tensorflow protocol SKLEARN_SERVER": sdep(
        predictor(graph=ready_made()), protocol="tensorflow"
    ),
    "No entry in predictors map for SPARK_SERVER": sdep(predictor(graph=ready_made("SPARK_SERVER"))),
    "No logger mode specified": sdep(predictor(graph={**CHILD, "logger": {"url": "http://log"}})),
    "Multiple endpoint.types found": sdep(
        predictor("a", traffic=50, graph={**CHILD, "endpoint": {"type": "REST"}}),
        predictor("b", traffic=50, graph={**CHILD, "endpoint": {"type": "GRPC"}}),
    ),
    "Mixed transport types found": sdep(predictor(graph={**CHILD, "endpoint": {"type": "REST"}}), transport="grpc"),
    'spec: Invalid value: "a": Traffic must sum to 100 for multiple predictors': sdep(
        predictor("a", traffic=90), predictor("b", traffic=20)
    ),
    "Traffic must sum be 100 for a single predictor when set": sdep(predictor(traffic=50)),
    "Multiple shadows are not allowed": sdep(predictor("a"), predictor("b", shadow=True), predictor("c", shadow=True)),
    "shadow traffic is illegal, the traffic number should be between [0, 100]": sdep(
        predictor("a"), predictor("b", shadow=True, traffic=101)
    ),
    "Graph contains no predictors": {**sdep(), "spec": {"predictors": []}},
    "cannot unmarshal str into Go struct field of type slice": sdep(
        {**predictor(), "graph": {**CHILD, "children": [{"name": "x", "children": "y"}]}}
    ),
}


@pytest.mark.parametrize("words", BAD)
def test_what_seldon_refuses_is_refused_in_its_words(words: str, registry: Registry) -> None:
    with pytest.raises(InvalidError) as caught:
        registry.create(kinds.SELDON_DEPLOYMENT, BAD[words])
    assert words in caught.value.message
    assert caught.value.message.startswith(
        'admission webhook "v1.vseldondeployment.kb.io" denied the request: '
        'SeldonDeployment.machinelearing.seldon.io "" is invalid: '
    )
    assert caught.value.code == 422
    assert any(words.partition(": ")[2] in one["message"] or words in one["message"] for one in _causes(caught.value))


def _causes(error: InvalidError) -> list[dict[str, str]]:
    return [{**one, "message": f"{one['field']}: {one['message']}"} for one in error.details["causes"]]


def test_an_update_is_looked_at_like_a_creation(registry: Registry) -> None:
    registry.create(kinds.SELDON_DEPLOYMENT, sdep())
    with pytest.raises(InvalidError, match="Invalid protocol"):
        registry.patch(kinds.SELDON_DEPLOYMENT, "default", "iris", {"spec": {"protocol": "soap"}}, MERGE_PATCH)


AB = {
    "name": "ab",
    "implementation": "RANDOM_ABTEST",
    "parameters": [{"name": "ratioA", "value": "0.5", "type": "FLOAT"}],
}
TWO = [{"name": "a", "type": "MODEL"}, {"name": "b", "type": "MODEL"}]
LATE = {
    "it becomes a label and a Service's name": sdep(predictor("Default")),
    "two units have this name": sdep(
        predictor(graph={"name": "model", "type": "COMBINER", "children": [{"name": "model"}]})
    ),
    "it becomes a container's name": sdep(predictor(graph={"name": "My Model", "type": "MODEL"})),
    "a RANDOM_ABTEST needs two children": sdep(predictor(graph={**AB, "children": TWO[:1]})),
    "a ROUTER needs children": sdep(predictor(graph={"name": "router", "type": "ROUTER"})),
    "Seldon's executor has RANDOM_ABTEST only": sdep(predictor(graph={"name": "m", "implementation": "SIMPLE_MODEL"})),
    "it speaks v2, and spec.protocol is seldon": sdep(predictor(graph=ready_made("TRITON_SERVER"))),
    "the first child's share, from 0 to 1": sdep(
        predictor(graph={**AB, "children": TWO, "parameters": [{"name": "ratioA", "value": "50", "type": "FLOAT"}]})
    ),
    "it is no INT": sdep(predictor(graph={**CHILD, "parameters": [{"name": "n", "value": "ten", "type": "INT"}]})),
    'Unsupported value: "everything": supported values: "all", "request", "response"': sdep(
        predictor(graph={**CHILD, "logger": {"mode": "everything"}})
    ),
    'Unsupported value: "MODELL"': sdep(predictor(graph={"name": "model", "type": "MODELL"})),
    'Unsupported value: "PREDICT"': sdep(predictor(graph={**CHILD, "methods": ["PREDICT"]})),
    "must be greater than or equal to `minReplicas`": sdep(
        {**predictor(), "componentSpecs": [{**predictor()["componentSpecs"][0], "hpaSpec": {"maxReplicas": 0}}]}
    ),
}


@pytest.mark.parametrize("words", LATE)
def test_what_would_never_serve_is_told_before_it_is_created(words: str) -> None:
    assert validation.refused(LATE[words]) == []
    found = validation.unworkable(LATE[words])
    assert any(words in text for _, text in found), found


def test_a_graph_that_serves_is_not_spoken_against() -> None:
    graph = {
        **AB,
        "children": [TWO[0], {"name": "mean", "type": "COMBINER", "children": [{"name": "c"}, {"name": "d"}]}],
    }
    assert validation.unworkable(sdep(predictor(graph=graph))) == []
    assert validation.unworkable(sdep(predictor(graph=ready_made("TRITON_SERVER")), protocol="kfserving")) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "graph",
                    "children",
                    "traffic",
                    "predictors",
                    "componentSpecs",
                    "spec",
                    "containers",
                    "parameters",
                    "logger",
                    "endpoint",
                    "type",
                    "implementation",
                    "annotations",
                    "svcOrchSpec",
                    "env",
                    "shadow",
                    "hpaSpec",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    graph=st.dictionaries(
        st.sampled_from(
            ["name", "children", "type", "implementation", "methods", "logger", "endpoint", "parameters", "modelUri"]
        ),
        json_values,
        max_size=6,
    )
)
def test_no_graph_of_whatever_shape_makes_the_rules_fail(graph: Obj) -> None:
    obj = sdep({**predictor(), "graph": graph})
    before = copy.deepcopy(obj)
    validation.denial(obj)
    if not validation.refused(obj):
        validation.unworkable(obj)
    assert obj == before
