"""What Seldon's webhook says about a SeldonDeployment, and what its operator stumbles over afterwards. Pure.

The rules of :func:`refused`, their order and their sentences are those of Seldon Core 1.17.1, down to the misspelled
group in :func:`denial`. :func:`unworkable` has what the webhook lets through and nothing then serves; the API server
takes such an object, so that only who is about to create one is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.controllers.training.problems import Problem, aggregate, invalid, not_supported, required
from jupyterlab_kf.model import Obj

READY_MADE: Final[Mapping[str, tuple[str, ...]]] = {
    "SKLEARN_SERVER": ("seldon", "v2"),
    "XGBOOST_SERVER": ("seldon", "v2"),
    "MLFLOW_SERVER": ("seldon", "v2"),
    "TENSORFLOW_SERVER": ("seldon", "tensorflow"),
    "TRITON_SERVER": ("v2",),
    "HUGGINGFACE_SERVER": ("v2",),
    "TEMPO_SERVER": ("v2",),
}
"""The ready-made servers of an installation as it comes, and the protocols that each speaks."""
PROTOCOLS: Final = ("seldon", "tensorflow", "kfserving", "v2")
UNKNOWN: Final = "UNKNOWN_IMPLEMENTATION"
BUILT_IN: Final = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
TYPES: Final = ("UNKNOWN_TYPE", "ROUTER", "COMBINER", "MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")
METHODS: Final = ("TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK")
LOGGED: Final = ("all", "request", "response")

_WEBHOOK: Final = "v1.vseldondeployment.kb.io"
_NO_TENSORFLOW: Final = ("SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER")
_KAFKA: Final = frozenset({"KAFKA_BROKER", "KAFKA_INPUT_TOPIC", "KAFKA_OUTPUT_TOPIC"})
_NO_ENGINE: Final = "seldon.io/no-engine"
_SERVICE_NAME: Final = "seldon.io/svc-name"
_NO_METHODS: Final = "Predictive Unit has no implementation methods defined"
_ALL: Final = 100
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SHAPES: Final[Mapping[str, type]] = {
    "name": str,
    "type": str,
    "implementation": str,
    "modelUri": str,
    "serviceAccountName": str,
    "envSecretRefName": str,
    "storageInitializerImage": str,
    "methods": list,
    "parameters": list,
    "children": list,
    "endpoint": dict,
    "logger": dict,
}
_GO: Final[Mapping[type, str]] = {str: "string", list: "slice", dict: "struct"}


def denial(obj: Obj, servers: Collection[str] = tuple(READY_MADE)) -> str:
    """What the API server answers when the webhook refuses an object (422); empty when it does not."""
    found = refused(obj, servers)
    if not found:
        return ""
    # The webhook knows the deprecated spec.name only, and its group is written so.
    named = str(_map(obj.get("spec")).get("name") or "")
    what = f'SeldonDeployment.machinelearing.seldon.io "{named}" is invalid: {aggregate(found)}'
    return f'admission webhook "{_WEBHOOK}" denied the request: {what}'


def refused(obj: Obj, servers: Collection[str] = tuple(READY_MADE)) -> list[Problem]:
    """Why Seldon's webhook refuses an object; empty when it does not.

    Args:
        obj: the object, as it is written.
        servers: the ready-made servers that the installation has.
    """
    spec = _map(obj.get("spec"))
    predictors = _maps(spec.get("predictors"))
    shapes = [one for at, predictor in enumerate(predictors) for one in _shapes(predictor, f"spec.predictors[{at}]")]
    if shapes:
        return shapes
    found = [*_words(spec), *_kafka(spec, predictors)]
    if len(predictors) == 1 and predictors[0].get("shadow"):
        found.append(_of(predictors, 0, "Shadow can not exist as only predictor"))
    found += _service_names(predictors)
    if not predictors:
        found.append(invalid("spec", spec.get("transport") or "", "Graph contains no predictors"))
    seen: set[str] = set()
    for at, predictor in enumerate(predictors):
        graph = _map(predictor.get("graph"))
        if _NO_ENGINE in _map(predictor.get("annotations")) and len(list(units(graph))) > 1:
            found.append(_of(predictors, at, "Running without engine only valid for single element graphs"))
        name = str(predictor.get("name") or "")
        if name in seen:
            found.append(_of(predictors, at, "Duplicate predictor name"))
        seen.add(name)
        found += _unit(graph, predictor, f"spec.predictors[{at}].graph", str(spec.get("protocol") or ""), servers)
    return list(dict.fromkeys([*found, *_transports(spec, predictors), *_traffic(predictors)]))


def units(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The units of a graph, each before its children."""
    yield graph
    for child in _maps(graph.get("children")):
        yield from units(child)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _of(predictors: Sequence[Mapping[str, Any]], at: int, text: str) -> Problem:
    return invalid(f"spec.predictors[{at}]", predictors[at].get("name") or "", text)


def _shapes(predictor: Mapping[str, Any], path: str) -> list[Problem]:
    """Values that Go could not even read: the schema says nothing of what lies below a graph's first children."""
    found: list[Problem] = []

    def look(unit: Any, place: str) -> None:
        if not isinstance(unit, Mapping):
            found.append((place, f"json: cannot unmarshal {type(unit).__name__} into Go struct PredictiveUnit"))
            return
        for field, kind in _SHAPES.items():
            value = unit.get(field)
            if value is not None and not isinstance(value, kind):
                text = f"json: cannot unmarshal {type(value).__name__} into Go struct field of type {_GO[kind]}"
                found.append((f"{place}.{field}", text))
        children = unit.get("children")
        for at, child in enumerate(children if isinstance(children, list) else ()):
            look(child, f"{place}.children[{at}]")

    look(predictor.get("graph") or {}, f"{path}.graph")
    return found


def _words(spec: Mapping[str, Any]) -> list[Problem]:
    allowed = {"protocol": PROTOCOLS, "transport": ("rest", "grpc"), "serverType": ("rpc", "kafka")}
    return [
        invalid("spec", spec[field], f"Invalid {field}")
        for field, words in allowed.items()
        if spec.get(field) and spec[field] not in words
    ]


def _kafka(spec: Mapping[str, Any], predictors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    if spec.get("serverType") != "kafka":
        return []
    text = "For kafka please supply svcOrchSpec envs KAFKA_BROKER, KAFKA_INPUT_TOPIC, KAFKA_OUTPUT_TOPIC"
    found = []
    for at, predictor in enumerate(predictors):
        given = [one.get("name") for one in _maps(_map(predictor.get("svcOrchSpec")).get("env"))]
        if sum(name in _KAFKA for name in given) < len(_KAFKA):
            found.append(_of(predictors, at, text))
    return found


def _service_names(predictors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    found, seen = [], set()
    for at, predictor in enumerate(predictors):
        own = _map(predictor.get("annotations")).get(_SERVICE_NAME)
        if isinstance(own, str) and own in seen:
            found.append(_of(predictors, at, f"Found duplicate service name in {_SERVICE_NAME} with value {own}"))
        seen.add(str(own))
    return found


def container_of(predictor: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The container of that name in any of a predictor's pods."""
    for component in _maps(predictor.get("componentSpecs")):
        for container in _maps(_map(component.get("spec")).get("containers")):
            if container.get("name") == name:
                return container
    return None


def is_ready_made(unit: Mapping[str, Any]) -> bool:
    """Whether a unit is one of the installation's servers, with a model of the user's."""
    implementation = unit.get("implementation") or UNKNOWN
    return implementation != UNKNOWN and implementation not in BUILT_IN


def _unit(
    unit: Mapping[str, Any], predictor: Mapping[str, Any], path: str, protocol: str, servers: Collection[str]
) -> list[Problem]:
    name, found = unit.get("name") or "", []
    container = container_of(predictor, str(name))
    if (unit.get("implementation") or UNKNOWN) == UNKNOWN:
        if container is None:
            found.append(invalid(path, name, "Can't find container for Predictive Unit"))
        if unit.get("type") == "UNKNOWN_TYPE" and not unit.get("methods"):
            found.append(invalid(path, name, f"{_NO_METHODS}. Change to a known type or add what methods it defines"))
    elif is_ready_made(unit):
        found += _server(unit, container, path, protocol, servers)
    if unit.get("logger") is not None and not _map(unit["logger"]).get("mode"):
        found.append(invalid(path, "", "No logger mode specified"))
    for at, child in enumerate(_maps(unit.get("children"))):
        found += _unit(child, predictor, f"{path}[{at}]", protocol, servers)
    return found


def _server(
    unit: Mapping[str, Any], container: Mapping[str, Any] | None, path: str, protocol: str, servers: Collection[str]
) -> list[Problem]:
    name, server, found = unit.get("name") or "", unit["implementation"], []
    if not unit.get("modelUri") and server != "HUGGINGFACE_SERVER":
        found.append(invalid(path, name, "Predictive unit modelUri required when using standalone servers"))
    if protocol == "tensorflow" and server in _NO_TENSORFLOW:
        found.append(invalid(path, name, f"Prepackaged server does not handle tensorflow protocol {server}"))
    if not (container and container.get("image")) and server not in servers:
        found.append(invalid(path, name, f"No entry in predictors map for {server}"))
    return found


def _transports(spec: Mapping[str, Any], predictors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    every = [unit for predictor in predictors for unit in units(_map(predictor.get("graph")))]
    kinds = {str(kind) for unit in every if (kind := _map(unit.get("endpoint")).get("type"))}
    if len(kinds) > 1:
        text = "Multiple endpoint.types found - can only have 1 type in graph. Please use spec.transport"
        return [invalid("spec", "", text)]
    transport = spec.get("transport")
    if transport and kinds & {"REST", "GRPC"} and kinds != {str(transport).upper()}:
        text = "Mixed transport types found. Remove graph endpoint.types if transport set at deployment level"
        return [invalid("spec", "", text)]
    return []


def _traffic(predictors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    found, live, shadows = [], 0, 0
    for predictor in predictors:
        name, share = predictor.get("name") or "", _int(predictor.get("traffic"))
        if not predictor.get("shadow"):
            live += share
            continue
        shadows += 1
        if shadows > 1:
            found.append(invalid("spec", name, "Multiple shadows are not allowed"))
        if not 0 <= share <= _ALL:
            text = "shadow traffic is illegal, the traffic number should be between [0, 100]"
            found.append(invalid("spec", name, text))
    first = (predictors[0].get("name") or "") if predictors else ""
    if live != _ALL and len(predictors) - shadows > 1:
        found.append(invalid("spec", first, "Traffic must sum to 100 for multiple predictors"))
    if 0 < live < _ALL and len(predictors) == 1:
        found.append(invalid("spec", first, "Traffic must sum be 100 for a single predictor when set"))
    return found


# What the webhook lets through


def unworkable(obj: Obj) -> list[Problem]:
    """Why an object that the webhook takes would never serve as it is meant; empty when nothing is known against it."""
    spec, found = _map(obj.get("spec")), []
    protocol = str(spec.get("protocol") or "seldon").replace("kfserving", "v2")
    for at, predictor in enumerate(_maps(spec.get("predictors"))):
        path, name = f"spec.predictors[{at}]", str(predictor.get("name") or "")
        if not _LABEL.fullmatch(name):
            found.append(invalid(f"{path}.name", name, "it becomes a label and a Service's name, and cannot be one"))
        found += _repeated(predictor, path)
        for place, unit in _placed(_map(predictor.get("graph")), f"{path}.graph"):
            found += [*_names(unit, place), *_workable(unit, place, protocol), *_parameters(unit, place)]
        found += _scaling(predictor, path)
    return found


def _placed(unit: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, unit
    for at, child in enumerate(_maps(unit.get("children"))):
        yield from _placed(child, f"{path}.children[{at}]")


def _repeated(predictor: Mapping[str, Any], path: str) -> list[Problem]:
    names = [str(unit.get("name") or "") for unit in units(_map(predictor.get("graph")))]
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    text = "two units have this name: they would be one container, on one port"
    return [invalid(f"{path}.graph", name, text) for name in twice]


def _names(unit: Mapping[str, Any], path: str) -> list[Problem]:
    name = str(unit.get("name") or "")
    if _LABEL.fullmatch(name):
        return []
    return [invalid(f"{path}.name", name, "it becomes a container's name, and cannot be one")]


def _workable(unit: Mapping[str, Any], path: str, protocol: str) -> list[Problem]:
    found, implementation = [], str(unit.get("implementation") or UNKNOWN)
    for field, words in (("type", TYPES), ("implementation", (UNKNOWN, *BUILT_IN, *READY_MADE))):
        if unit.get(field) and unit[field] not in words and not (field == "implementation" and is_ready_made(unit)):
            found.append(not_supported(f"{path}.{field}", unit[field], words))
    methods = unit.get("methods") or ()
    found += [
        not_supported(f"{path}.methods[{at}]", one, METHODS) for at, one in enumerate(methods) if one not in METHODS
    ]
    if implementation in BUILT_IN and implementation != "RANDOM_ABTEST":
        found.append(invalid(f"{path}.implementation", implementation, "Seldon's executor has RANDOM_ABTEST only"))
    if implementation in READY_MADE and protocol not in READY_MADE[implementation]:
        text = f"it speaks {' and '.join(READY_MADE[implementation])}, and spec.protocol is {protocol}"
        found.append(invalid(f"{path}.implementation", implementation, text))
    least = 2 if implementation == "RANDOM_ABTEST" else 1 if unit.get("type") in ("ROUTER", "COMBINER") else 0
    children = _maps(unit.get("children"))
    if len(children) < least or (implementation == "RANDOM_ABTEST" and len(children) > least):
        count = "two children" if least > 1 else "children"
        found.append(required(f"{path}.children", f"a {implementation if least > 1 else unit['type']} needs {count}"))
    mode = _map(unit.get("logger")).get("mode")
    if mode and mode not in LOGGED:
        found.append(not_supported(f"{path}.logger.mode", mode, LOGGED))
    return found


_FITS: Final[Mapping[str, re.Pattern[str]]] = {
    "INT": re.compile(r"[+-]?\d+"),
    "FLOAT": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "DOUBLE": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "BOOL": re.compile(r"y|yes|t|true|on|1|n|no|f|false|off|0", re.IGNORECASE),
    "STRING": re.compile(r".*", re.DOTALL),
}


def _parameters(unit: Mapping[str, Any], path: str) -> list[Problem]:
    found = []
    for at, one in enumerate(_maps(unit.get("parameters"))):
        place, kind = f"{path}.parameters[{at}]", str(one.get("type") or "")
        if kind not in _FITS:
            found.append(not_supported(f"{place}.type", kind, tuple(_FITS)))
        elif not _FITS[kind].fullmatch(str(one.get("value"))):
            found.append(invalid(f"{place}.value", one.get("value"), f"it is no {kind}"))
        elif _is_ratio(unit, one) and (kind in ("STRING", "BOOL") or not 0 <= float(one["value"]) <= 1):
            found.append(invalid(f"{place}.value", one.get("value"), "it is the first child's share, from 0 to 1"))
    return found


def _is_ratio(unit: Mapping[str, Any], parameter: Mapping[str, Any]) -> bool:
    return unit.get("implementation") == "RANDOM_ABTEST" and parameter.get("name") == "ratioA"


def _scaling(predictor: Mapping[str, Any], path: str) -> list[Problem]:
    found = []
    for at, component in enumerate(_maps(predictor.get("componentSpecs"))):
        place, limits = f"{path}.componentSpecs[{at}]", _map(component.get("hpaSpec"))
        low, high = limits.get("minReplicas"), limits.get("maxReplicas")
        if isinstance(high, int) and high < (low if isinstance(low, int) else 1):
            found.append(
                invalid(f"{place}.hpaSpec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
            )
        if limits and component.get("kedaSpec"):
            found.append(invalid(f"{place}.kedaSpec", "", "hpaSpec and kedaSpec would scale the same Deployment"))
    return found
