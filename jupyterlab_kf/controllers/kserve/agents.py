"""KServe's agent, a container beside a server: it joins requests to batches, and sends copies of payloads to a logger.

Requests come to it first. Its options are those that KServe gives it. Pure.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.kserve import containers
from jupyterlab_kf.controllers.kserve.options import Options
from jupyterlab_kf.controllers.support import name, namespace
from jupyterlab_kf.model import Obj

PORT: Final = 9081
_MODES: Final = ("all", "request", "response")
_POD_NAME: Final = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}


def agent(obj: Obj, component: str, part: Mapping[str, Any], server: Obj, options: Options) -> Obj | None:
    """The agent of a part; None where nothing is asked of one.

    Args:
        obj: the InferenceService.
        component: which part.
        part: what the object says of it.
        server: the container that requests are for, with its port and probe.
        options: the installation.

    Raises:
        ComponentError: KServe's webhook refuses what is asked.
    """
    args = [*_batching(part), *_copying(obj, component, part, options)]
    if not args:
        return None
    port = int(server["ports"][0]["containerPort"])
    env = [*containers.environment(None), dict(_POD_NAME)]
    probe = server["readinessProbe"]
    if probe.get("httpGet") or probe.get("tcpSocket"):
        env.append({"name": "SERVING_READINESS_PROBE", "value": json.dumps(probe, sort_keys=True)})
    if options.forwarder:
        env.append({"name": "KF_COMPONENT", "value": f"$(POD_IP):{port}"})
    asked = {
        "path": (probe.get("httpGet") or {}).get("path") or "/",
        "port": PORT,
        "scheme": "HTTP",
        "httpHeaders": [{"name": "K-Network-Probe", "value": "queue"}],
    }
    return {
        "name": "agent",
        "image": options.agent,
        "args": [f"--port={PORT}", *args, f"--component-port={port}"],
        "env": env,
        "ports": [{"name": "agent-port", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": asked, "periodSeconds": options.period},
        "resources": copied(options.agent_size),
    }


def _batching(part: Mapping[str, Any]) -> list[str]:
    batcher = part.get("batcher")
    if batcher is None:
        return []
    bounds = (("--max-batchsize", batcher.get("maxBatchSize")), ("--max-latency", batcher.get("maxLatency")))
    return ["--enable-batcher", *(f"{option}={value}" for option, value in bounds if value is not None)]


def _copying(obj: Obj, component: str, part: Mapping[str, Any], options: Options) -> list[str]:
    logger = part.get("logger")
    if logger is None or not logger.get("url"):
        return []
    mode = logger.get("mode") or _MODES[0]
    if mode not in _MODES:
        raise ComponentError(f"spec.{component}.logger.mode is {mode!r}; it can be {', '.join(_MODES)}")
    url = f"--log-url={logger['url']}"
    if options.forwarder:
        # Written plainly, the name of a Service would become the address of a pod that may go.
        url = f"--log-url-base64={base64.b64encode(str(logger['url']).encode()).decode()}"
    args = [
        url,
        "--source-uri=$(POD_NAME)",
        f"--log-mode={mode}",
        f"--inference-service={name(obj)}",
        f"--namespace={namespace(obj)}",
        f"--component={component}",
    ]
    if headers := logger.get("metadataHeaders"):
        args.append(f"--metadata-headers={','.join(headers)}")
    return args
