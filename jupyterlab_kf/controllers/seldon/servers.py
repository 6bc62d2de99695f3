"""Ready-made servers: what the container of such a unit gets, for each protocol. Pure.

A container of the unit's name that the user wrote keeps what it says; the rest is filled in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.seldon import graph, names, pods
from jupyterlab_kf.controllers.seldon.initializer import inject
from jupyterlab_kf.controllers.seldon.options import Options, server_image
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

_TF_GRPC, _TF_REST = 2000, 2001
_ACTIONS: Final = ("tcpSocket", "exec", "grpc", "httpGet")
_READY: Final = "/v2/health/ready"
_LIVE: Final = "/v2/health/live"
_RUNTIMES: Final = {
    "SKLEARN_SERVER": "mlserver_sklearn.SKLearnModel",
    "XGBOOST_SERVER": "mlserver_xgboost.XGBoostModel",
    "TEMPO_SERVER": "tempo.mlserver.InferenceRuntime",
    "MLFLOW_SERVER": "mlserver_mlflow.MLflowRuntime",
    "HUGGINGFACE_SERVER": "mlserver_huggingface.HuggingFaceRuntime",
}
_CONTROL: Final = {
    "model_control_mode": "--model-control-mode=",
    "load_model": "--load-model=",
    "strict_model_config": "--strict-model-config=",
}

Server: TypeAlias = Callable[[Obj, Obj, Obj, Options], None]


def equip(obj: Obj, unit: Obj, made: Obj, options: Options) -> None:
    """Make the unit's container the ready-made server that it is, and have its model fetched.

    Raises:
        ComponentError: the installation has no such server.
    """
    implementation = str(unit["implementation"])
    if implementation not in options.servers:
        raise ComponentError(f"Failed to get server config for {implementation}")
    if unit.get("serviceAccountName"):
        pods.pod_of(made)["serviceAccountName"] = unit["serviceAccountName"]
    own: dict[str, Server] = {"TENSORFLOW_SERVER": _tensorflow, "TRITON_SERVER": _triton}
    usual = _mlserver if graph.spoken(obj) == "v2" else _wrapped
    own.get(implementation, usual)(obj, unit, made, options)


def fetch(unit: Obj, made: Obj, container: str, options: Options) -> None:
    """Have a unit's model fetched for one of its containers."""
    inject(
        made,
        container,
        str(unit.get("modelUri") or ""),
        options=options,
        secret=str(unit.get("envSecretRefName") or ""),
        image=str(unit.get("storageInitializerImage") or ""),
    )


def _own(unit: Obj, made: Obj) -> Obj:
    container = pods.container(made, str(unit["name"]))
    if container is None:
        raise ComponentError(f"there is no container for the unit {unit['name']}")
    return container


def _image(obj: Obj, unit: Obj, options: Options) -> str:
    return server_image(options, str(unit["implementation"]), str(obj["spec"].get("protocol") or ""))


def _wrapped(obj: Obj, unit: Obj, made: Obj, options: Options) -> None:
    """Seldon's Python servers: the model's place is one of the parameters."""
    unit["type"] = "MODEL"
    container = _own(unit, made)
    container["image"] = container.get("image") or _image(obj, unit, options)
    parameters = [*(unit.get("parameters") or ()), graph.parameter("model_uri", names.MODEL_PATH)]
    pods.set_variable(container, "PREDICTIVE_UNIT_PARAMETERS", graph.parameters_text(parameters))
    fetch(unit, made, str(container["name"]), options)


def _tensorflow(obj: Obj, unit: Obj, made: Obj, options: Options) -> None:
    """TensorFlow Serving; for Seldon's protocol with a proxy before it, which is the unit then."""
    unit["type"] = "MODEL"
    own = _own(unit, made)
    speaks = graph.spoken(obj) == "tensorflow"
    wanted = _tf_container(unit, options, alone=speaks)
    if speaks:
        server: Obj | None = own
    else:
        own["image"] = _image(obj, unit, options)
        pods.set_variable(own, "PREDICTIVE_UNIT_PARAMETERS", graph.parameters_text(_proxied(unit)))
        server = pods.container(made, names.TF_SERVING)
    if server is None:
        server = wanted
        pods.containers(made).append(server)
    for field in ("image", "args", "ports"):
        server[field] = server.get(field) or wanted[field]
    fetch(unit, made, str(server["name"]), options)


def _tf_container(unit: Obj, options: Options, *, alone: bool) -> Obj:
    grpc, rest = (graph.port(unit, "grpcPort"), graph.port(unit, "httpPort")) if alone else (_TF_GRPC, _TF_REST)
    return {
        "name": unit["name"] if alone else names.TF_SERVING,
        "image": server_image(options, str(unit["implementation"]), "tensorflow"),
        "args": [
            f"--port={grpc}",
            f"--rest_api_port={rest}",
            f"--model_name={unit['name']}",
            f"--model_base_path={names.MODEL_PATH}",
        ],
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": number, "protocol": "TCP"} for number in (grpc, rest)],
        **pods.FILE,
    }


def _proxied(unit: Obj) -> list[Obj]:
    parameters = list(unit.get("parameters") or ())
    if not any(one.get("name") in ("rest_endpoint", "grpc_endpoint") for one in parameters):
        parameters.append(graph.parameter("rest_endpoint", f"http://0.0.0.0:{_TF_REST}"))
        parameters.append(graph.parameter("grpc_endpoint", f"0.0.0.0:{_TF_GRPC}"))
    return [*parameters, graph.parameter("model_name", str(unit["name"]))]


def _ports(unit: Obj) -> list[Obj]:
    pairs = (("grpc", "grpcPort"), ("http", "httpPort"))
    return [pods.container_port(graph.port(unit, field), name) for name, field in pairs]


def _asks(path: str) -> Obj:
    return {"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}}


def _triton(obj: Obj, unit: Obj, made: Obj, options: Options) -> None:
    container = _own(unit, made)
    container["image"] = container.get("image") or _image(obj, unit, options)
    itself = names.is_set(obj["spec"].get("annotations"), names.NO_INITIALIZER)
    args = [
        "/opt/tritonserver/bin/tritonserver",
        f"--grpc-port={graph.port(unit, 'grpcPort')}",
        f"--http-port={graph.port(unit, 'httpPort')}",
    ]
    if itself:
        args.append(f"--model-repository={unit.get('modelUri') or ''}")
        asked = [(_CONTROL.get(str(one.get("name")).lower()), one.get("value")) for one in unit.get("parameters") or ()]
        args += [f"{option}{value}" for option, value in asked if option]
    else:
        args += [f"--model-repository={names.MODEL_PATH}", "--strict-model-config=false"]
    container["args"] = container.get("args") or args
    # Longer than usual, as the operator has it: 10 seconds.
    period = 2 * options.period
    ready = pods.probe(_asks(_READY), delay=options.patience, period=period)
    container["readinessProbe"] = container.get("readinessProbe") or ready
    container["livenessProbe"] = container.get("livenessProbe") or pods.probe(_asks(_LIVE), delay=60, period=10)
    container["ports"] = _ports(unit)
    secret = str(unit.get("envSecretRefName") or options.secret)
    if not itself:
        fetch(unit, made, str(container["name"]), options)
    elif secret and not container.get("envFrom"):
        container["envFrom"] = [{"secretRef": {"name": secret}}]


def _mlserver(obj: Obj, unit: Obj, made: Obj, options: Options) -> None:
    container = _own(unit, made)
    container["image"] = container.get("image") or _image(obj, unit, options)
    wanted: Obj = {"env": _mlserver_env(obj, unit)}
    for one in container.get("env") or ():
        _put(wanted, one)
    container["env"] = wanted["env"]
    # Every container has probes by now; what they ask is the protocol's.
    for field, path in (("readinessProbe", _READY), ("livenessProbe", _LIVE)):
        have = container.get(field) or {}
        container[field] = {**{key: value for key, value in have.items() if key not in _ACTIONS}, **_asks(path)}
    container["ports"] = _ports(unit)
    fetch(unit, made, str(container["name"]), options)


def _put(container: Obj, variable: Obj) -> None:
    """Put a variable, as it is, in the place of one of its name or at the end."""
    env = container["env"]
    have = next((at for at, one in enumerate(env) if one["name"] == variable["name"]), None)
    if have is None:
        env.append(variable)
    else:
        env[have] = variable


def _mlserver_env(obj: Obj, unit: Obj) -> list[Obj]:
    runtime = {"k8s_options": {"defaultRuntime": "tempo.seldon.SeldonKubernetesRuntime", "namespace": namespace(obj)}}
    values: list[tuple[str, Any]] = [
        ("MLSERVER_HTTP_PORT", graph.port(unit, "httpPort")),
        ("MLSERVER_GRPC_PORT", graph.port(unit, "grpcPort")),
        ("MLSERVER_MODEL_IMPLEMENTATION", _RUNTIMES.get(str(unit["implementation"]), "")),
        ("MLSERVER_MODEL_NAME", unit["name"]),
        ("MLSERVER_MODEL_VERSION", "v1"),
        ("MLSERVER_MODEL_URI", names.MODEL_PATH),
        ("TEMPO_RUNTIME_OPTIONS", json.dumps(runtime)),
    ]
    if unit["implementation"] == "HUGGINGFACE_SERVER":
        values += [("MLSERVER_PARALLEL_WORKERS", 0), ("XDG_CACHE_HOME", "/opt/mlserver")]
    return [{"name": key, "value": str(value)} for key, value in values]
