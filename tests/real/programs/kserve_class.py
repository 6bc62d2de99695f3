"""The same transformer as a class of KServe's own Python package, for an environment that has it."""

from __future__ import annotations

import argparse
from typing import Any

import kserve
from kserve import Model, ModelServer, model_server
from kserve.predictor_config import PredictorConfig

NAMES = ("setosa", "versicolor", "virginica")


class Millimetres(Model):
    """Millimetres in, names out."""

    def __init__(self, name: str, config: PredictorConfig) -> None:
        super().__init__(name, config)
        self.ready = True

    async def preprocess(self, payload: Any, headers: Any = None) -> Any:  # noqa: ARG002  by KServe
        return {"instances": [[value / 10 for value in row] for row in payload["instances"]]}

    async def postprocess(self, result: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002
        return {"predictions": [NAMES[int(one)] for one in result["predictions"]]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    args, _ = parser.parse_known_args()
    config = PredictorConfig(args.predictor_host, args.predictor_protocol)
    kserve.logging.configure_logging()
    ModelServer().start([Millimetres(args.model_name, config)])
