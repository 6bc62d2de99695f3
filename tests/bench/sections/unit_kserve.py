"""The peer: the same model behind KServe's own server for Python. Run in an environment that has ``kserve``."""

from __future__ import annotations

import sys
from typing import Any

import joblib
from kserve import InferOutput, InferResponse, Model, ModelServer  # type: ignore[import-not-found]


class Iris(Model):  # type: ignore[misc]
    """The model by KServe's conventions."""

    def load(self) -> bool:
        self.model = joblib.load(sys.argv[1])
        self.ready = True
        return True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        del headers, response_headers
        found = self.model.predict(payload.inputs[0].as_numpy())
        output = InferOutput(name="output-0", shape=list(found.shape), datatype="INT64", data=found.tolist())
        return InferResponse(response_id=payload.id or "1", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    model = Iris("iris")
    model.load()
    ModelServer(http_port=int(sys.argv[2]), enable_grpc=False, workers=1, access_log_format=None).start([model])
