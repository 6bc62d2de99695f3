"""How KServe is installed: the server of each format, images, what is asked for where nothing is said. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MODELS: Final = "/mnt/models"
"""Where a model lies in its container."""
HTTP: Final = 8080
"""Where a server listens that declares no port."""
_AGENT: Final = {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
_KSERVE: Final = ("--model_name={name}", f"--model_dir={MODELS}", f"--http_port={HTTP}")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The server of a format: its image, and its arguments with the model's name in them."""

    image: str
    args: tuple[str, ...] = _KSERVE
    command: tuple[str, ...] = ()


RUNTIMES: Final[Mapping[str, Runtime]] = {
    "sklearn": Runtime("kserve/sklearnserver:v0.15.2"),
    "xgboost": Runtime("kserve/xgbserver:v0.15.2"),
    "lightgbm": Runtime("kserve/lgbserver:v0.15.2"),
    "tensorflow": Runtime(
        "tensorflow/serving:2.19.1",
        ("--model_name={name}", "--port=9000", f"--rest_api_port={HTTP}", f"--model_base_path={MODELS}"),
    ),
    "triton": Runtime(
        "nvcr.io/nvidia/tritonserver:25.08-py3",
        (f"--model-repository={MODELS}", "--grpc-port=9000", f"--http-port={HTTP}"),
        ("tritonserver",),
    ),
}
"""KServe's own runtimes of these formats (config/runtimes of KServe 0.15)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How KServe is installed.

    Attributes:
        runtimes: the server of each format.
        initializer: image that fetches a model before its server starts.
        agent: image of what joins requests and sends copies of them, beside a server.
        agent_size: what that may use.
        forwarder: image of what leads requests to the pods behind a Service, for a machine whose programs cannot look
            up a Service's name; empty where they can. There, too, pods share the machine's ports.
        size: what a container asks for where its use of it is followed and it says nothing itself.
        patience: seconds before the first readiness probe.
        period: seconds between two of them.
    """

    runtimes: Mapping[str, Runtime] = field(default_factory=lambda: RUNTIMES)
    initializer: str = "kserve/storage-initializer:v0.15.2"
    agent: str = "kserve/agent:v0.15.2"
    agent_size: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _AGENT)
    forwarder: str = ""
    size: Mapping[str, str] = field(default_factory=lambda: {"cpu": "1", "memory": "2Gi"})
    patience: int = 1
    period: int = 5
