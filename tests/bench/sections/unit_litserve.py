"""The peer: the same model behind LitServe, one worker, no batching. Run in an environment that has ``litserve``."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import litserve  # type: ignore[import-not-found]
import numpy as np


class Iris(litserve.LitAPI):  # type: ignore[misc]
    """The model by LitServe's conventions, in the words of the V2 protocol."""

    def setup(self, device: str) -> None:
        del device
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001  it reads the annotation
        told = request["inputs"][0]
        return np.asarray(told["data"]).reshape(told["shape"])

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)

    def encode_response(self, output: Any) -> Any:
        told = {"name": "output-0", "shape": list(output.shape), "datatype": "INT64", "data": output.tolist()}
        return {"model_name": "iris", "outputs": [told]}


if __name__ == "__main__":
    server = litserve.LitServer(
        Iris(api_path="/v2/models/iris/infer"), accelerator="cpu", workers_per_device=1, timeout=30
    )
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="warning")
