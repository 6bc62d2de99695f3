"""What one would write by hand: a handler of starlette's that serves one model in V2's JSON, and nothing else."""

from __future__ import annotations

import sys

import joblib
import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MODEL = joblib.load(sys.argv[1])


async def infer(request: Request) -> Response:
    """Answer one request."""
    given = orjson.loads(await request.body())["inputs"][0]
    data = np.array(given["data"]).reshape(given["shape"])
    found = MODEL.predict(data)
    output = {"name": "predict", "datatype": "INT64", "shape": list(found.shape), "data": found}
    body = {"model_name": "iris", "outputs": [output]}
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v2/models/iris/infer", infer, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
