"""The fields of an InferenceService's parts: which are a pod's or a container's own, and which are not honoured. Pure.

A part has the fields of a pod beside KServe's own, and a model those of a container. What is in no table is told, too:
nobody is to wait for what a misspelt field would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


POD: Final = _names(
    "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases",
    "hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets initContainers nodeName",
    "nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims resources",
    "restartPolicy runtimeClassName schedulerName schedulingGates securityContext serviceAccount serviceAccountName",
    "setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations",
    "topologySpreadConstraints volumes",
)
"""Fields that are the pod's; containers are looked at one by one."""
CONTAINER: Final = _names(
    "env envFrom imagePullPolicy lifecycle livenessProbe ports readinessProbe resizePolicy resources restartPolicy",
    "securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices",
    "volumeMounts workingDir",
)
"""Fields of a model that are its container's."""
FORMATS: Final = _names("huggingface lightgbm onnx paddle pmml pytorch sklearn tensorflow triton xgboost")
"""Fields of a predictor that are a model of that format."""
_PART: Final = _names(
    "annotations autoScaling batcher containers deploymentStrategy labels logger maxReplicas minReplicas scaleMetric",
    "scaleMetricType scaleTarget",
)
_MODEL: Final = _names("args command image modelFormat name protocolVersion runtimeVersion storageUri")
_PARTS: Final = _names("predictor transformer explainer")
_UNMADE: Final[Mapping[str, str]] = {
    "canaryTrafficPercent": "it counts with Knative only",
    "storageContainerName": "models are fetched by the one initializer that there is",
    "storageUris": "one model is fetched, from its storageUri",
    "timeout": "a request may take as long as its server and whoever asks let it",
    "workerSpec": "a model is served by one machine",
}
_WORKERS: Final = "containerConcurrency"
_OF_SPEC: Final[Mapping[str, str]] = {"canary": "all requests go to the predictor"}
_OF_MODEL: Final[Mapping[str, str]] = {
    "confidential": "models are fetched as they are",
    "runtime": "a format has the one server that there is for it",
    "storage": "Secrets of storages are not read; give storageUri, and the keys in env or envFrom",
}
_OF_LOGGER: Final = _names("metadataHeaders mode url")
_LOGGER: Final[Mapping[str, str]] = dict.fromkeys(
    ("batchInterval", "batchSize", "marshallerUrl", "metadataAnnotations", "storage"),
    "copies go to its url only, as they come",
)
_OF_BATCHER: Final = _names("maxBatchSize maxLatency")
_BATCHER: Final[Mapping[str, str]] = {"timeout": "KServe hands it to nobody"}
_UNKNOWN: Final = "there is no such field"


def unhonoured(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields that are set and not honoured, each by its path with the reason; those of scaling not."""
    for name in sorted(_PARTS):
        yield from ((f"spec.{name}.{path}", why) for path, why in _of_part(spec.get(name) or {}, name))
    yield from ((f"spec.{path}", why) for path, why in _beside(spec, _PARTS, _OF_SPEC))


def _of_part(part: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    known = _PART | POD
    unmade = dict(_UNMADE)
    if name == "predictor":
        known = known | FORMATS | {"model", "name"}
        unmade[_WORKERS] = "it counts with Knative only, or with a transformer or explainer"
        for form in sorted(FORMATS | {"model"}):
            beside = _beside(part.get(form) or {}, _MODEL | CONTAINER, _OF_MODEL)
            yield from ((f"{form}.{path}", why) for path, why in beside)
    else:
        known = known | {_WORKERS}
        unmade.pop("canaryTrafficPercent")
        unmade.pop("workerSpec")
    yield from ((f"logger.{path}", why) for path, why in _beside(part.get("logger") or {}, _OF_LOGGER, _LOGGER))
    if part.get("logger") is not None and not part["logger"].get("url"):
        yield "logger", "it names no url that copies could be sent to"
    yield from ((f"batcher.{path}", why) for path, why in _beside(part.get("batcher") or {}, _OF_BATCHER, _BATCHER))
    if name == "explainer":
        unmade["art"] = "only an explainer that is a container is run; nothing explains predictions"
    yield from _beside(part, known, unmade)


def _beside(given: Mapping[str, Any], known: frozenset[str], unmade: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is set of fields that are not known, each with the reason why it is not honoured."""
    for field, value in given.items():
        if field not in known and value not in (None, "", [], {}, False):
            yield field, unmade.get(field, _UNKNOWN)
