"""A transformer or an explainer that is told of its predictor as KServe tells one; the standard library alone.

Flowers are measured in millimetres where the model was fitted in centimetres, and its classes have names. Explained is
what becomes of a prediction when one measure is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = ("setosa", "versicolor", "virginica")


class Part:
    """What is asked, and asks."""

    def __init__(self, name: str, predictor: str) -> None:
        self.name = name
        self.predictor = predictor

    def ask(self, rows: list[list[float]]) -> list[int]:
        """The predictor's classes."""
        url = f"http://{self.predictor}/v1/models/{self.name}:predict"
        body = json.dumps({"instances": rows}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return [int(one) for one in json.load(response)["predictions"]]

    def predict(self, rows: list[list[float]]) -> dict[str, Any]:
        """Names of classes for millimetres."""
        return {"predictions": [NAMES[one] for one in self.ask([[v / 10 for v in row] for row in rows])]}

    def explain(self, rows: list[list[float]]) -> dict[str, Any]:
        """For each row which measures its class hangs on."""
        found = []
        for row, before in zip(rows, self.ask(rows), strict=True):
            without = [[0.0 if at == left else v for at, v in enumerate(row)] for left in range(len(row))]
            found.append([after != before for after in self.ask(without)])
        return {"explanations": found}


def handler(part: Part) -> type[BaseHTTPRequestHandler]:
    """The server's side."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
            deeds = {f"/v1/models/{part.name}:predict": part.predict, f"/v1/models/{part.name}:explain": part.explain}
            deed = deeds.get(self.path)
            if deed is None:
                return self._answer(404, json.dumps({"error": f"nothing is at {self.path}"}).encode())
            try:
                return self._answer(200, json.dumps(deed(rows)).encode())
            except urllib.error.HTTPError as error:
                return self._answer(error.code, error.read())

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--predictor_host", required=True)
    parser.add_argument("--http_port", type=int, required=True)
    asked = parser.parse_args()
    server = ThreadingHTTPServer(("0.0.0.0", asked.http_port), handler(Part(asked.model_name, asked.predictor_host)))
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
