"""KServe's InferenceService: a model and how it is served to the object, canaries in the way that takes effect. Pure.

KServe has two ways to deploy, and each divides traffic by a field that the other ignores without a word:
``canaryTrafficPercent`` counts with Knative only, ``spec.canary`` (KServe 0.20) in the mode Standard only. So the mode
is always written, and a canary is written where its mode looks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import ManifestError, UsageError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.serving.seldon import POD_IP
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.profiles import Hardware, pod_template

ANNOTATION_MODE: Final = "serving.kserve.io/deploymentMode"
CONTAINER: Final = "kserve-container"
FORMATS: Final = ("sklearn", "xgboost", "lightgbm", "tensorflow", "pytorch", "onnx", "triton", "mlflow", "huggingface")
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ALL: Final = 100
_OLD_NAMES: Final = {"RawDeployment": "Standard", "Serverless": "Knative"}
_POD_FIELDS: Final = ("nodeSelector", "tolerations", "affinity", "volumes", "priorityClassName", "runtimeClassName")


class Mode(StrEnum):
    """How KServe deploys: as plain Deployments, or by Knative, which scales to nothing."""

    STANDARD = "Standard"
    KNATIVE = "Knative"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model of a format that a runtime of the cluster serves, or a container of one's own.

    Attributes:
        format: such as ``sklearn``; empty for a container of one's own.
        uri: where the model is.
        protocol: ``v1`` or ``v2``; empty leaves it to the runtime.
        runtime: the ServingRuntime; empty lets KServe choose.
        container: a container of one's own (image, command, ports), instead of a format.
    """

    format: str = ""
    uri: str = ""
    version: str = ""
    protocol: str = ""
    runtime: str = ""
    container: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    resources: pods.Resources = field(default_factory=pods.Resources)
    hardware: Hardware | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A second model, and the percentage of requests that it answers.

    Attributes:
        name: of the canary among the predictors; with Knative, which keeps revisions by itself, it is not written.
    """

    name: str
    source: ModelSource
    percent: int
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSpec:
    """An InferenceService.

    Attributes:
        least: fewest replicas; 0 scales to nothing, which only Knative does.
        most: most replicas; 0 leaves it to KServe.
        scale_metric: ``cpu`` or ``memory``, with Knative ``concurrency`` or ``rps``; empty leaves it to KServe.
        timeout: seconds that a request may take; None leaves it to KServe.
    """

    name: str
    namespace: str
    source: ModelSource
    mode: Mode = Mode.STANDARD
    canary: Canary | None = None
    least: int = 1
    most: int = 0
    scale_metric: str = ""
    scale_target: int | None = None
    timeout: int | None = None
    service_account: str = ""
    transformer: Mapping[str, Any] = field(default_factory=dict)
    submission: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def encode(spec: InferenceSpec) -> Obj:
    """The object.

    Raises:
        UsageError: KServe would refuse it, or not do what is asked.
    """
    _check(spec)
    kind = kinds.INFERENCE_SERVICE
    stable, canary = spec.source, spec.canary
    body: Obj = {}
    if canary is not None and spec.mode == Mode.KNATIVE:
        # The object says what the newest revision is; the one that is ready keeps the rest of the requests.
        body["predictor"] = {**_predictor(spec, canary.source), "canaryTrafficPercent": canary.percent}
    else:
        body["predictor"] = _predictor(spec, stable)
    if canary is not None and spec.mode == Mode.STANDARD:
        second = {"name": canary.name, "minReplicas": canary.replicas, **_served(canary.source)}
        if "model" in second:
            # The definition demands it of canaries only.
            second["model"] = {"name": CONTAINER, **second["model"]}
        body["canary"] = [{"predictor": second, "trafficPercent": canary.percent}]
    if spec.transformer:
        body["transformer"] = {"containers": [_own(spec.transformer)]}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_SUBMISSION: spec.submission},
            "annotations": {
                ANNOTATION_MODE: str(spec.mode),
                names.ANNOTATION_PROVENANCE: json.dumps(spec.provenance, sort_keys=True),
            },
        },
        "spec": body,
    }


def _check(spec: InferenceSpec) -> None:
    names.check_job_name(spec.name)
    for source in (spec.source, *([spec.canary.source] if spec.canary else [])):
        if bool(source.format) == bool(source.container):
            raise UsageError(f"{spec.name} needs a model's format or a container", hint="give exactly one of the two")
        if source.format and not source.uri:
            raise UsageError(
                f"{spec.name} needs to be told where the model is", hint="uri: s3://, gs://, pvc://, hf://"
            )
    if spec.least == 0 and spec.mode == Mode.STANDARD:
        raise UsageError("plain Deployments do not scale to nothing", hint="use Mode.KNATIVE, or one replica or more")
    if spec.most and spec.most < spec.least:
        raise UsageError(f"most is {spec.most}, which is less than least ({spec.least})")
    if spec.scale_metric in ("concurrency", "rps") and spec.mode == Mode.STANDARD:
        raise UsageError(f"{spec.scale_metric} is counted by Knative only", hint="scale by cpu or memory")
    if spec.canary is not None:
        _check_canary(spec, spec.canary)


def _check_canary(spec: InferenceSpec, canary: Canary) -> None:
    if not 0 <= canary.percent <= _ALL:
        raise UsageError(f"the canary gets {canary.percent} percent; it must be a number from 0 to 100")
    if not _NAME.fullmatch(canary.name):
        raise UsageError(f"{canary.name!r} cannot be a canary's name")
    if spec.mode == Mode.STANDARD and canary.replicas > max(spec.least, 1):
        raise UsageError(
            f"the canary has {canary.replicas} replicas, more than the {max(spec.least, 1)} of the other",
            hint="KServe takes as many at most",
        )
    if spec.mode == Mode.STANDARD and not spec.source.format:
        raise UsageError("KServe divides requests between models of a format only", hint="use Mode.KNATIVE")


def _predictor(spec: InferenceSpec, source: ModelSource) -> Obj:
    body: Obj = {"minReplicas": spec.least, **_served(source)}
    if spec.most:
        body["maxReplicas"] = spec.most
    if spec.scale_metric:
        body["scaleMetric"] = spec.scale_metric
    if spec.scale_target is not None:
        body["scaleTarget"] = spec.scale_target
    if spec.timeout is not None:
        body["timeout"] = spec.timeout
    if spec.service_account:
        body["serviceAccountName"] = spec.service_account
    return body


def _served(source: ModelSource) -> Obj:
    """What serves a model, with what a hardware profile says of the pod."""
    shaped = _hardware(source)
    container = shaped.pop("container")
    if not source.format:
        return {**shaped, "containers": [{**_own(source.container), **container}]}
    model: Obj = {"modelFormat": {"name": source.format}, "storageUri": source.uri}
    if source.version:
        model["modelFormat"]["version"] = source.version
    if source.protocol:
        model["protocolVersion"] = source.protocol
    if source.runtime:
        model["runtime"] = source.runtime
    if source.env:
        container["env"] = [*pods.environment(source.env), *(container.get("env") or ())]
    return {**shaped, "model": {**model, **container}}


def _hardware(source: ModelSource) -> Obj:
    """Fields of the pod, and under ``container`` those of the container."""
    if source.hardware is None:
        wanted = source.resources.as_mapping()
        return {"container": {"resources": {"requests": wanted, "limits": dict(wanted)}} if wanted else {}}
    blank: Obj = {"spec": {"containers": [{"name": CONTAINER, "image": ""}]}}
    pod = pod_template(blank, source.hardware, container=CONTAINER)["spec"]
    (made,) = pod["containers"]
    container = {key: made[key] for key in ("resources", "volumeMounts", "env") if made.get(key)}
    return {**{key: pod[key] for key in _POD_FIELDS if pod.get(key)}, "container": container}


def _own(container: Mapping[str, Any]) -> Obj:
    env = [one for one in container.get("env") or () if one.get("name") != POD_IP["name"]]
    return {"name": CONTAINER, **container, "env": [dict(POD_IP), *env]}


def promoted(obj: Mapping[str, Any]) -> Obj:
    """The object with its canary in the place of the model that answers now.

    Raises:
        UsageError: it has none, or several.
    """
    spec: Obj = dict(obj.get("spec") or {})
    predictor: Obj = dict(spec.get("predictor") or {})
    if "canaryTrafficPercent" in predictor:
        del predictor["canaryTrafficPercent"]
        return {**obj, "spec": {**spec, "predictor": predictor}}
    canaries: list[Obj] = list(spec.pop("canary", None) or [])
    if len(canaries) != 1:
        raise UsageError(f"{Ref.of(obj)} has {len(canaries)} canaries; one can be promoted")
    kept = {key: value for key, value in predictor.items() if key not in ("model", "containers", "name")}
    # The name leads KServe to the pods that run already.
    return {**obj, "spec": {**spec, "predictor": {**dict(canaries[0]["predictor"]), **kept}}}


def with_percent(obj: Mapping[str, Any], percent: int) -> Obj:
    """The object with another share for its canary.

    Raises:
        UsageError: it has no canary, or the share is none.
        ManifestError: the share stands where the object's mode does not look.
    """
    if not 0 <= percent <= _ALL:
        raise UsageError(f"the canary gets {percent} percent; it must be a number from 0 to 100")
    spec: Obj = dict(obj.get("spec") or {})
    if (ignored := unheard(obj)) is not None:
        raise ManifestError(ignored, ref=Ref.of(obj))
    if "canaryTrafficPercent" in (spec.get("predictor") or {}):
        return {**obj, "spec": {**spec, "predictor": {**spec["predictor"], "canaryTrafficPercent": percent}}}
    canaries: Sequence[Obj] = spec.get("canary") or ()
    if len(canaries) != 1:
        raise UsageError(f"{Ref.of(obj)} has {len(canaries)} canaries; the share of one can be set")
    return {**obj, "spec": {**spec, "canary": [{**canaries[0], "trafficPercent": percent}]}}


def mode_of(obj: Mapping[str, Any]) -> Mode | None:
    """How an object is deployed; None where only the cluster's configuration knows."""
    written = (meta(obj).get("annotations") or {}).get(ANNOTATION_MODE)
    said = str(written or (obj.get("status") or {}).get("deploymentMode") or "")
    mode = _OLD_NAMES.get(said, said)
    return Mode(mode) if mode in tuple(Mode) else None


def unheard(obj: Mapping[str, Any]) -> str | None:
    """Why an object's canary gets no requests, though it says so; None when it gets them, or there is none."""
    spec, mode = obj.get("spec") or {}, mode_of(obj)
    if mode == Mode.STANDARD and "canaryTrafficPercent" in (spec.get("predictor") or {}):
        return "canaryTrafficPercent is ignored in the mode Standard: KServe divides requests there by spec.canary"
    if mode == Mode.KNATIVE and spec.get("canary"):
        return "spec.canary is refused with Knative, which divides requests by predictor.canaryTrafficPercent"
    return None
