"""The schema of SeldonDeployments, written out by hand: every field of Seldon Core 1.17.1, and of what type it is.

It says what the definition accepts that Seldon installs. Pod specs refer to the core component instead of repeating
it, and what lies below a graph's first children is left open there too. Rules beyond the schema are the webhook's
(:mod:`jupyterlab_kf.controllers.seldon.validation`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

Schema = dict[str, Any]

_CORE: Final = "#/components/schemas/io.k8s.api.core.v1."
_SCALING: Final = "#/components/schemas/io.k8s.api.autoscaling.v2."
_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def _text(says: str) -> Schema:
    return {"type": "string", "description": says}


def _count(says: str) -> Schema:
    return {"type": "integer", "format": "int32", "description": says}


def _flag(says: str) -> Schema:
    return {"type": "boolean", "description": says}


def _texts(says: str) -> Schema:
    return {**_TEXTS, "description": says}


def _list(says: str, items: Schema) -> Schema:
    return {"type": "array", "items": items, "description": says}


def _map(says: str, properties: Schema, *required: str) -> Schema:
    found: Schema = {"type": "object", "description": says, "properties": properties}
    return {**found, "required": list(required)} if required else found


def _ref(name: str, says: str) -> Schema:
    return {"allOf": [{"$ref": name}], "description": says}


def _amount(says: str) -> Schema:
    kinds = [{"type": "integer"}, {"type": "string"}]
    return {"anyOf": kinds, "x-kubernetes-int-or-string": True, "description": says}


def _endpoint() -> Schema:
    return _map(
        "Where the unit is called. The operator fills it in.",
        {
            "grpcPort": _count("Port for gRPC."),
            "httpPort": _count("Port for HTTP."),
            "service_host": _text("Host: localhost beside the executor, else the unit's Service."),
            "service_port": _count("Port that is asked whether the unit is ready."),
            "type": _text("REST or GRPC. Superseded by spec.transport."),
        },
    )


def _unit(children: Schema) -> Schema:
    parameter = _map(
        "One value that the unit is made with.",
        {
            "name": _text("Name of the parameter."),
            "type": _text("INT, FLOAT, DOUBLE, STRING or BOOL."),
            "value": _text("The value, as text."),
        },
        "name",
        "type",
        "value",
    )
    logger = _map(
        "Where requests and responses are sent.",
        {"mode": _text("all, request or response."), "url": _text("Address that takes CloudEvents.")},
    )
    return _map(
        "A unit of the graph, with what it passes requests on to.",
        {
            "children": _list("The units below.", children),
            "endpoint": _endpoint(),
            "envSecretRefName": _text("Secret with the credentials for fetching the model."),
            "implementation": _text("A ready-made server, or RANDOM_ABTEST; else the container of the unit's name."),
            "logger": logger,
            "methods": _list(
                "What the unit can, where its type does not say: TRANSFORM_INPUT, TRANSFORM_OUTPUT, ROUTE, AGGREGATE, "
                "SEND_FEEDBACK.",
                {"type": "string"},
            ),
            "modelUri": _text("Where the model is: gs://, s3://, pvc://."),
            "name": _text("Name of the unit, and of its container."),
            "parameters": _list("What the unit is made with.", parameter),
            "serviceAccountName": _text("Account under which the model is fetched."),
            "storageInitializerImage": _text("Image that fetches the model."),
            "type": _text("MODEL, ROUTER, COMBINER, TRANSFORMER, OUTPUT_TRANSFORMER or UNKNOWN_TYPE."),
        },
        "name",
    )


def _metadata() -> Schema:
    names = ("clusterName", "generateName", "name", "namespace", "resourceVersion", "selfLink", "uid")
    times = {"type": "string", "format": "date-time", "nullable": True}
    whole = {"type": "integer", "format": "int64"}
    owner = {"name": {"type": "string"}, "kind": {"type": "string"}, "apiVersion": {"type": "string"}}
    owners = {**owner, "uid": {"type": "string"}, "controller": {"type": "boolean"}}
    return _map(
        "Metadata of the pods; its name becomes part of the Deployment's.",
        {
            **{name: {"type": "string"} for name in names},
            "annotations": _texts("Annotations of the pods."),
            "creationTimestamp": times,
            "deletionGracePeriodSeconds": whole,
            "deletionTimestamp": times,
            "finalizers": {"type": "array", "items": {"type": "string"}},
            "generation": whole,
            "labels": _texts("Labels of the pods."),
            "ownerReferences": {
                "type": "array",
                "items": {"type": "object", "properties": {**owners, "blockOwnerDeletion": {"type": "boolean"}}},
            },
        },
    )


def _scaling() -> Schema:
    metric = {**_OPEN, "properties": {"type": {"type": "string"}}, "required": ["type"]}
    return _map(
        "Scaling by a HorizontalPodAutoscaler.",
        {
            "maxReplicas": _count("Most replicas."),
            "metrics": _list("Metrics in the shape of autoscaling/v2beta1.", metric),
            "metricsv2": _list("Metrics in the shape of autoscaling/v2.", {"$ref": f"{_SCALING}MetricSpec"}),
            "minReplicas": _count("Fewest replicas."),
        },
        "maxReplicas",
    )


def _keda() -> Schema:
    account = _map("Credentials of the trigger.", {"kind": _text("Their kind."), "name": _text("Their name.")}, "name")
    trigger = _map(
        "One trigger.",
        {
            "authenticationRef": account,
            "metadata": _texts("Settings of the trigger."),
            "metricType": _text("Type of the metric."),
            "name": _text("Name of the trigger."),
            "type": _text("Type of the trigger, such as prometheus."),
        },
        "metadata",
        "type",
    )
    return _map(
        "Scaling by KEDA.",
        {
            "advanced": {**_OPEN, "description": "Advanced settings of KEDA."},
            "cooldownPeriod": _count("Seconds before it scales to nothing."),
            "fallback": {**_OPEN, "description": "Replicas while metrics cannot be had."},
            "idleReplicaCount": _count("Replicas while nothing is asked."),
            "maxReplicaCount": _count("Most replicas."),
            "minReplicaCount": _count("Fewest replicas."),
            "pollingInterval": _count("Seconds between two looks at the triggers."),
            "triggers": _list("What is scaled by.", trigger),
        },
        "triggers",
    )


def _component() -> Schema:
    budget = {
        "maxUnavailable": _amount("Pods that may be missing, as a number or percentage."),
        "minAvailable": _amount("Pods that must be there, as a number or percentage."),
    }
    return _map(
        "The pods of one or more units; each component becomes a Deployment.",
        {
            "hpaSpec": _scaling(),
            "kedaSpec": _keda(),
            "metadata": _metadata(),
            "pdbSpec": _map("How many pods may be missing while machines are drained.", budget),
            "replicas": _count("Number of pods."),
            "spec": _ref(f"{_CORE}PodSpec", "Specification of the pods."),
        },
    )


def _explainer() -> Schema:
    return _map(
        "An explainer beside the predictor.",
        {
            "config": _texts("Settings of the explainer."),
            "containerSpec": _ref(f"{_CORE}Container", "A container of one's own."),
            "endpoint": _endpoint(),
            "envSecretRefName": _text("Secret with the credentials for fetching the explainer."),
            "initParameters": _text("JSON, what the explainer is made with."),
            "modelUri": _text("Where the explainer is."),
            "replicas": _count("Number of pods."),
            "serviceAccountName": _text("Account under which the explainer is fetched."),
            "storageInitializerImage": _text("Image that fetches the explainer."),
            "type": _text("AnchorTabular, AnchorImages, AnchorText, KernelShap, TreeShap and others of Alibi."),
        },
    )


def _predictor() -> Schema:
    orchestrator = {
        "env": _list("Environment of the executor.", {"$ref": f"{_CORE}EnvVar"}),
        "replicas": _count("Replicas of an executor in pods of its own."),
        "resources": _ref(f"{_CORE}ResourceRequirements", "Resources of the executor."),
    }
    certificate = {"certSecretName": _text("Secret with the certificate.")}
    return _map(
        "A version of the endpoint: a graph, its pods and its share of the traffic.",
        {
            "annotations": _texts("Annotations of the predictor, some of which the operator reads."),
            "componentSpecs": _list("The pods of the units.", _component()),
            "engineResources": _ref(f"{_CORE}ResourceRequirements", "Superseded by svcOrchSpec.resources."),
            "explainer": _explainer(),
            "graph": _unit(_OPEN),
            "labels": _texts("Labels of the predictor's objects."),
            "name": _text("Name of the predictor."),
            "progressDeadlineSeconds": _count("Seconds that a Deployment may take to progress."),
            "replicas": _count("Number of pods of each component."),
            "shadow": _flag("It gets copies of requests and answers none."),
            "ssl": _map("Certificates of the units.", certificate),
            "svcOrchSpec": _map("The executor, which leads requests through the graph.", orchestrator),
            "traffic": _count("Percentage of the requests."),
        },
        "graph",
        "name",
    )


def _status() -> Schema:
    names = ("lastTransitionTime", "message", "reason", "severity", "status", "type")
    condition = _map("One observation.", {name: {"type": "string"} for name in names}, "status", "type")
    deployment = {
        "availableReplicas": _count("Pods that answer."),
        "description": _text("What is wrong with it."),
        "explainerFor": _text("The predictor that it explains."),
        "name": _text("Its name."),
        "replicas": _count("Pods that there should be."),
        "status": _text("Its state."),
    }
    service = {name: {"type": "string"} for name in ("explainerFor", "grpcEndpoint", "httpEndpoint", "svcName")}
    return _map(
        "What was last observed. Written by the operator.",
        {
            "address": _map("Where the endpoint is.", {"url": _text("Its address inside the cluster.")}),
            "annotations": _TEXTS,
            "conditions": _list("Its conditions.", condition),
            "deploymentStatus": {"type": "object", "additionalProperties": _map("A Deployment.", deployment)},
            "description": _text("Why it is not available."),
            "observedGeneration": {"type": "integer", "format": "int64"},
            "replicas": _count("Number of pods."),
            "serviceStatus": {"type": "object", "additionalProperties": _map("A Service.", service)},
            "state": _text("Available, Creating or Failed."),
        },
    )


@lru_cache(maxsize=1)
def schema() -> Schema:
    """The schema; all versions of the kind have the same."""
    spec = _map(
        "What is served, and how.",
        {
            "annotations": _texts("Settings that the operator reads, such as seldon.io/rest-timeout."),
            "name": _text("Superseded by metadata.name."),
            "oauth_key": _text("Not used any more."),
            "oauth_secret": _text("Not used any more."),
            "predictors": _list("The versions that are served.", _predictor()),
            "protocol": _text("seldon, tensorflow or v2 (kfserving is the same)."),
            "replicas": _count("Number of pods of each component of each predictor."),
            "serverType": _text("rpc or kafka."),
            "transport": _text("rest or grpc; both when it is left out."),
        },
        "predictors",
    )
    return _map(
        "An endpoint: one or more predictors, each a graph of models, and how traffic is divided.",
        {
            "apiVersion": _text("The version of the schema that this object is written in."),
            "kind": _text("The REST resource that this object represents."),
            "metadata": {"type": "object"},
            "spec": spec,
            "status": _status(),
        },
    )
