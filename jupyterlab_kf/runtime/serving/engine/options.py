"""What the engine is told: the command line and environment of Seldon's executor 1.17.1, read once.

Flags are written as Go's are (one dash or two, underscores, durations as ``1m30s``). What stands for a part that we
do not have (Kafka) is refused by name; what would only change Go's own machinery is taken and does nothing. Units
of the same pod are named ``localhost`` in a graph: where the pod has an address of its own (``POD_IP``) they are
there, and so are we.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .graph import Graph, GraphError, plan

PROTOCOLS = ("seldon", "tensorflow", "v2", "kfserving")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_ANNOTATION = re.compile(r'^([^=\s]+)=(".*")$', re.MULTILINE)
_ANNOTATIONS_FILE = "/etc/podinfo/annotations"


class OptionError(ValueError):
    """The engine cannot be started like this."""


@dataclass(frozen=True)
class Options:
    """All that is fixed when the engine starts."""

    deployment: str
    namespace: str
    protocol: str
    graph: Graph
    address: str
    http_port: int
    grpc_port: int
    hostname: str
    prometheus_path: str
    full_health_checks: bool
    graceful_seconds: float
    delay_seconds: float
    log_workers: int
    log_queue: int
    annotations: Mapping[str, str]
    cors_origins: str
    cors_headers: str
    certificate: tuple[str, str] | None
    fused: Mapping[str, Any]
    services: str
    log_sample: float = 1.0

    def number(self, annotation: str) -> float | None:
        """An annotation that is a number; none and 0 are no limit."""
        text = self.annotations.get(annotation, "")
        try:
            return float(text or 0) or None
        except ValueError:
            raise OptionError(f"annotation {annotation} is {text!r}: it must be a number") from None

    def milliseconds(self, annotation: str) -> float | None:
        """The seconds that an annotation gives in milliseconds."""
        value = self.number(annotation)
        return None if value is None else value / 1000


def read(argv: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options, or an :class:`OptionError` that says what is missing."""
    given = _parser().parse_args(argv)
    for name in ("sdep", "namespace", "predictor"):
        if not getattr(given, name):
            raise OptionError(f"Required argument {name} missing")
    if given.protocol not in PROTOCOLS:
        raise OptionError(f"Protocol must be one of {', '.join(PROTOCOLS)}, not {given.protocol!r}")
    if given.transport not in ("rest", "grpc"):
        raise OptionError("Only rest and grpc supported")
    if given.server_type != "rpc" or given.log_kafka_broker:
        raise OptionError("Kafka is not supported: use server_type rpc, and loggers with a url")
    address = environment.get("POD_IP", "")
    graph = plan(
        _from_file(given.file, given.predictor) if given.file else _from_environment(environment),
        localhost=address or "localhost",
        logger=environment.get("REQUEST_LOGGER_DEFAULT_ENDPOINT", ""),
    )
    return Options(
        deployment=given.sdep,
        namespace=given.namespace,
        protocol=given.protocol,
        graph=graph,
        address=address or "0.0.0.0",
        http_port=given.http_port,
        grpc_port=given.grpc_port,
        hostname=given.hostname or environment.get("POD_NAME") or "localhost",
        prometheus_path=given.prometheus_path,
        full_health_checks=given.full_health_checks,
        graceful_seconds=given.graceful_timeout,
        delay_seconds=given.shutdown_delay,
        log_workers=given.logger_workers,
        log_queue=given.log_work_buffer_size,
        annotations={**graph.annotations, **_annotations(environment)},
        cors_origins=environment.get("CORS_ALLOWED_ORIGINS", "*"),
        cors_headers=environment.get("CORS_ALLOWED_HEADERS", _CORS_HEADERS),
        certificate=_certificate(environment),
        fused=_fused(environment, graph),
        services=environment.get("KF_SERVICES", ""),
        log_sample=_share(environment.get("KF_LOG_SAMPLE", "")),
    )


_CORS_HEADERS = "Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("engine", description=__doc__, allow_abbrev=False)

    def add(name: str, text: str, **rest: Any) -> None:
        names = [name, *rest.pop("also", ())]
        flags = [f"{dashes}{one}" for one in names for dashes in ("--", "-")]
        parser.add_argument(*flags, dest=name, help=text, **rest)

    def switch(name: str, text: str) -> None:
        add(name, text, nargs="?", const=True, default=False, type=_truth)

    add("sdep", "name of the SeldonDeployment", default="")
    add("namespace", "its namespace", default="")
    add("predictor", "name of the predictor in it", default="")
    add("http_port", "port of REST", type=int, default=8080, also=["port"])
    add("grpc_port", "port of gRPC", type=int, default=5000)
    add("protocol", "protocol of the payloads", default="seldon")
    add("transport", "rest or grpc; both are served", default="rest")
    add("file", "a SeldonDeployment instead of ENGINE_PREDICTOR", default="")
    add("hostname", "how events name this server", default="")
    add("prometheus_path", "path of the metrics", default="/metrics")
    add("graceful_timeout", "how long requests may end after a signal", type=_seconds, default=15.0)
    add("shutdown_delay", "how long to serve on after a signal", type=_seconds, default=0.0)
    add("logger_workers", "how many post copies of payloads", type=int, default=10)
    add("log_work_buffer_size", "how many copies may wait", type=int, default=10000)
    add("log_write_timeout_ms", "taken and not used: a copy that finds no room is dropped at once", type=int)
    add("server_type", "rpc", default="rpc")
    add("log_kafka_broker", "refused", default="")
    for name in ("config", "log_level", "log_kafka_topic", "kafka_broker", "kafka_input_topic", "kafka_output_topic"):
        add(name, "taken and not used")
    for name in ("kafka_workers",):
        add(name, "taken and not used", type=int)
    switch("full_health_checks", "ask units for their health instead of connecting to them")
    for name in ("debug", "kafka_full_graph", "kafka_auto_commit"):
        switch(name, "taken and not used")
    return parser


def _seconds(text: str) -> float:
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 15s or 1m30s")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _share(text: str) -> float:
    try:
        share = float(text or 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise OptionError(f"KF_LOG_SAMPLE is {text!r}: it must be above 0, and at most 1")
    return share


def _truth(text: str) -> bool:
    if text.lower() in ("1", "t", "true"):
        return True
    if text.lower() in ("0", "f", "false"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    text = environment.get("ENGINE_PREDICTOR", "")
    if not text:
        raise OptionError("Predictor not found: environment variable ENGINE_PREDICTOR is not set, and no --file given")
    try:
        predictor = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise OptionError(f"ENGINE_PREDICTOR is not the base64 of a predictor's JSON: {error}") from None
    if not isinstance(predictor, dict):
        raise OptionError("ENGINE_PREDICTOR holds no JSON object")
    return predictor


def _from_file(name: str, wanted: str) -> dict[str, Any]:
    file = Path(name)
    if not file.is_file():
        raise OptionError(f"--file {name} does not exist")
    if file.suffix in (".yaml", ".yml"):
        import yaml

        deployment = yaml.safe_load(file.read_text(encoding="utf-8"))
    elif file.suffix == ".json":
        deployment = json.loads(file.read_text(encoding="utf-8"))
    else:
        raise OptionError(f"Unsupported file type {name}: it must be .yaml or .json")
    predictors: list[dict[str, Any]] = (deployment.get("spec") or {}).get("predictors") or []
    for predictor in predictors:
        if predictor.get("name") == wanted:
            return predictor
    names = ", ".join(repr(one.get("name")) for one in predictors) or "none"
    raise OptionError(f"Predictor not found {wanted}; {name} has: {names}")


def _annotations(environment: Mapping[str, str]) -> dict[str, str]:
    file = Path(environment.get("KF_ANNOTATIONS_FILE", _ANNOTATIONS_FILE))
    if not file.is_file():
        return {}
    lines = _ANNOTATION.findall(file.read_text(encoding="utf-8"))
    return {key: json.loads(value) for key, value in lines}


def _certificate(environment: Mapping[str, str]) -> tuple[str, str] | None:
    folder = environment.get("SELDON_CERT_MOUNT_PATH", "")
    if not folder:
        return None
    certificate = Path(folder, environment.get("SELDON_CERT_FILE_NAME", "tls.crt"))
    key = Path(folder, environment.get("SELDON_CERT_KEY_FILE_NAME", "tls.key"))
    for file in (certificate, key):
        if not file.is_file():
            raise OptionError(f"SELDON_CERT_MOUNT_PATH is set, but {file} does not exist")
    return str(certificate), str(key)


def _fused(environment: Mapping[str, str], graph: Graph) -> dict[str, Any]:
    text = environment.get("KF_FUSED", "")
    if not text:
        return {}
    try:
        fused = json.loads(text)
    except ValueError as error:
        raise OptionError(f"KF_FUSED is no JSON: {error}") from None
    if not isinstance(fused, dict):
        raise OptionError("KF_FUSED must be a JSON object: the names of nodes, and what each is")
    if unknown := sorted(name for name in fused if graph.root.find(name) is None):
        raise GraphError(f"KF_FUSED names {unknown[0]!r}, which is no node of the graph")
    return fused
