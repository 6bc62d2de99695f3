"""A unit in front of another server: TensorFlow Serving behind Seldon's protocol, as Seldon's ``tfserving-proxy`` is.

Arrays go on as ``instances`` and come back as ``predictions``; what the server says against them is the client's to
read. Its address is that of the pod where the graph says ``0.0.0.0``, as both stand in one pod.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

import numpy as np

from .messages import Refusal

_SECONDS = 60.0
_REST_PORT = 2001


class TfServingProxy:
    """The class of the unit; its parameters are the proxy's.

    Args:
        rest_endpoint: where the server is.
        grpc_endpoint: taken and not used: the server is asked over REST.
        model_name: the model that is asked for.
        signature_name: one of its signatures, when not the usual one.
        model_input, model_output: names of one input and one output, where the signature has several.
    """

    def __init__(
        self,
        rest_endpoint: str = f"http://0.0.0.0:{_REST_PORT}",
        grpc_endpoint: str = "",
        *,
        model_name: str,
        signature_name: str = "",
        model_input: str = "",
        model_output: str = "",
    ) -> None:
        del grpc_endpoint
        host = os.environ.get("POD_IP") or "127.0.0.1"
        base = rest_endpoint.replace("0.0.0.0", host).rstrip("/")
        self._url = f"{base}/v1/models/{model_name}:predict"
        self._signature, self._input, self._output = signature_name, model_input, model_output

    def predict(self, X: Any, names: Any, meta: Any = None) -> Any:  # noqa: N803  Seldon's word
        """Ask the server."""
        del names, meta
        rows = np.asarray(X).tolist()
        asked: dict[str, Any] = {"instances": [{self._input: row} for row in rows] if self._input else rows}
        if self._signature:
            asked["signature_name"] = self._signature
        found = self._ask(json.dumps(asked).encode())["predictions"]
        if self._output and found and isinstance(found[0], dict):
            found = [one[self._output] for one in found]
        return np.asarray(found)

    def _ask(self, body: bytes) -> dict[str, Any]:
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                told: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise Refusal(f"{self._url} answered {error.code}: {said}", code=error.code) from error
        except OSError as error:
            raise Refusal(f"{self._url} cannot be asked: {error}", code=503) from error
        return told
