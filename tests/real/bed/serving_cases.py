"""SeldonDeployments that the real operator is recorded with: each way in which it makes objects, once at least."""

from __future__ import annotations

from typing import Any

_V2: dict[str, Any] = {"protocol": "v2"}


def _container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": f"example/{name}:1", **more}


def _component(*names: str, **more: Any) -> dict[str, Any]:
    return {"spec": {"containers": [_container(name) for name in names]}, **more}


def _predictor(name: str, graph: dict[str, Any], *components: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "graph": graph, "componentSpecs": list(components), **more}


def _unit(name: str, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, **({"children": list(children)} if children else {}), **more}


def _iris(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "graph": _unit("iris", implementation="SKLEARN_SERVER", modelUri="gs://models/iris"), **more}


_GRAPH = _unit(
    "router",
    _unit("scale", _unit("forest", type="MODEL"), type="TRANSFORMER"),
    _unit("both", _unit("left", type="MODEL"), _unit("right", type="MODEL"), type="COMBINER"),
    type="ROUTER",
)
_HPA_V1 = [
    {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}},
    {"type": "Pods", "pods": {"metricName": "rate", "targetAverageValue": "10"}},
]
_HPA_V2 = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
]
_RICH = {
    "metadata": {"name": "own", "labels": {"team": "a"}, "annotations": {"note": "b"}},
    "spec": {
        "terminationGracePeriodSeconds": 5,
        "containers": [
            {
                "name": "model",
                "image": "example/model:1",
                "env": [{"name": "A", "value": "1"}],
                "ports": [{"name": "http", "containerPort": 7000}],
                "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                "readinessProbe": {"httpGet": {"path": "/x", "port": 7000}},
            },
            {"name": "beside", "image": "example/beside:1"},
        ],
    },
}

CASES: dict[str, dict[str, Any]] = {
    "simple": {"predictors": [_predictor("default", _unit("model"), _component("model"))]},
    "sklearn": {"predictors": [_iris("default", replicas=2)]},
    "parameters": {
        "predictors": [
            _predictor(
                "default",
                _unit(
                    "model",
                    type="MODEL",
                    parameters=[{"name": "alpha", "value": "0.5", "type": "FLOAT"}],
                    modelUri="pvc://models/one/two",
                    envSecretRefName="keys",
                    storageInitializerImage="example/fetch:1",
                ),
                _RICH,
                svcOrchSpec={"env": [{"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}], "replicas": 3},
                labels={"stage": "test"},
                annotations={"seldon.io/svc-name": "called"},
            )
        ],
        "annotations": {
            "seldon.io/rest-timeout": "5000",
            "seldon.io/engine-log-level": "debug",
            "seldon.io/executor-logger-queue-size": "7",
        },
    },
    "graph": {
        "replicas": 2,
        "predictors": [
            _predictor(
                "main", _GRAPH, _component("router", "scale"), _component("forest"), _component("both", "left", "right")
            )
        ],
    },
    "canary": {"predictors": [_iris("main", traffic=75), _iris("canary", traffic=25)]},
    "shadow": {
        "predictors": [_iris("main", traffic=100), _iris("dark", shadow=True, traffic=20)],
        "annotations": {
            "seldon.io/istio-retries": "3",
            "seldon.io/istio-retries-timeout": "2",
            "seldon.io/istio-host": "models.example",
            "seldon.io/istio-gateway": "own/gateway",
        },
    },
    "separate": {
        "annotations": {"seldon.io/engine-separate-pod": "true"},
        "predictors": [
            _predictor("main", _unit("model"), _component("model"), svcOrchSpec={"replicas": 2}),
        ],
    },
    "engineless": {
        "predictors": [
            _predictor("default", _unit("model"), _component("model"), annotations={"seldon.io/no-engine": "true"})
        ]
    },
    "grpc": {"transport": "grpc", "predictors": [_predictor("default", _unit("model"), _component("model"))]},
    "scaled": {
        "predictors": [
            _predictor(
                "default",
                _unit("one", _unit("two")),
                _component("one", hpaSpec={"minReplicas": 1, "maxReplicas": 3, "metrics": _HPA_V1}),
                _component("two", hpaSpec={"maxReplicas": 2, "metricsv2": _HPA_V2}, pdbSpec={"maxUnavailable": 1}),
            )
        ]
    },
    "v2": {**_V2, "predictors": [_iris("default")]},
    "v2-own": {
        "protocol": "kfserving",
        "predictors": [
            _predictor(
                "default",
                _unit("iris", implementation="SKLEARN_SERVER", modelUri="s3://models/iris"),
                {"spec": {"containers": [{"name": "iris", "env": [{"name": "B", "value": "2"}]}]}},
            )
        ],
    },
    "xgboost": {
        "predictors": [{"name": "p", "graph": _unit("x", implementation="XGBOOST_SERVER", modelUri="/models/x")}]
    },
    "tensorflow": {
        "protocol": "tensorflow",
        "predictors": [
            {"name": "p", "graph": _unit("half", implementation="TENSORFLOW_SERVER", modelUri="gs://m/half")}
        ],
    },
    "tensorflow-proxy": {
        "predictors": [
            {"name": "p", "graph": _unit("half", implementation="TENSORFLOW_SERVER", modelUri="gs://m/half")}
        ]
    },
    "triton": {
        **_V2,
        "predictors": [
            {"name": "p", "graph": _unit("simple", implementation="TRITON_SERVER", modelUri="gs://m/triton")}
        ],
    },
    "huggingface": {
        **_V2,
        "predictors": [
            {
                "name": "p",
                "graph": _unit(
                    "text",
                    implementation="HUGGINGFACE_SERVER",
                    parameters=[{"name": "task", "value": "text-generation", "type": "STRING"}],
                ),
            }
        ],
    },
    "explained": {
        "predictors": [
            _iris(
                "default",
                explainer={
                    "type": "AnchorTabular",
                    "modelUri": "gs://models/explainer",
                    "config": {"seed": "1", "path": "gs://models/explainer/x"},
                    "replicas": 2,
                },
            )
        ]
    },
    "explained-v2": {
        **_V2,
        "predictors": [
            _iris("default", explainer={"type": "TreeShap", "modelUri": "gs://m/e", "initParameters": '{"a":1}'})
        ],
    },
    "secure": {
        "predictors": [_predictor("default", _unit("model"), _component("model"), ssl={"certSecretName": "tls"})]
    },
    "abtest": {
        "predictors": [
            _predictor(
                "default",
                _unit(
                    "ab",
                    _unit("a"),
                    _unit("b"),
                    implementation="RANDOM_ABTEST",
                    parameters=[{"name": "ratioA", "value": "0.5", "type": "FLOAT"}],
                ),
                _component("a", "b"),
            )
        ]
    },
    "a-name-that-is-so-long-that-nothing-fits-with-it": {
        "predictors": [_predictor("a-long-predictor", _unit("a-long-container"), _component("a-long-container"))]
    },
}
